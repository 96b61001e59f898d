"""A net's name, taken apart and put together."""

from __future__ import annotations

import pytest

from peer.gan.net_name import PAIR, NetName, pair_of
from topology.errors import UserError


@pytest.mark.parametrize("prefix", ["", "global_", "generator", "discriminator_"])
@pytest.mark.parametrize("role", PAIR)
def test_a_name_is_the_string_that_it_was_parsed_from(prefix: str, role: str) -> None:
    assert NetName.parse(prefix + role) == (prefix, role)
    assert str(NetName.parse(prefix + role)) == prefix + role


def test_the_names_of_a_pair() -> None:
    assert pair_of("") == PAIR == ("generator", "discriminator")
    assert pair_of("global_") == ("global_generator", "global_discriminator")


@pytest.mark.parametrize("name", ["", "critic", "generator_2", "Generator"])
def test_what_ends_in_neither_role_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"called '{name}'; a name ends in generator or discrim"):
        NetName.parse(name)

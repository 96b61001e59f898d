"""Names that users type: their plain form, and what they may have meant."""

import pytest

from topology import plain, suggestion


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ring", "ring"),
        ("Watts_Strogatz", "watts-strogatz"),
        (" random  REGULAR ", "random-regular"),
    ],
)
def test_plain_names_have_small_letters_and_hyphens(typed, expected):
    assert plain(typed) == expected


def test_a_name_that_is_nearly_known_is_suggested():
    known = ("ring", "star", "watts-strogatz")
    assert suggestion("rings", known) == "; did you mean 'ring'?"
    assert suggestion("WATTS_STROGATS", known) == "; did you mean 'watts-strogatz'?"
    assert suggestion("hypercube", known) == ""
    assert suggestion("ring", ()) == ""
    assert suggestion("local-step", ("local_steps", "n_d")) == "; did you mean 'local_steps'?"
    assert suggestion("nd", ("local_steps", "n_d")) == "; did you mean 'n_d'?"

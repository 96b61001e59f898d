"""The names of a peer's nets: what stands before the role, and the role itself.

A peer holds a ``generator`` and a ``discriminator``, and perhaps further pairs of them, which a
prefix distinguishes: Ditto's second pair is ``global_generator`` and ``global_discriminator``. In
effects, in letters, on the wire and in files a net's name is a plain string.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from topology.errors import UserError

Role = Literal["generator", "discriminator"]

PAIR: tuple[Role, Role] = ("generator", "discriminator")
"""The two roles of a GAN; also the names of the nets in a peer's first pair."""


class NetName(NamedTuple):
    """The name of one net; ``str()`` gives the string that it was parsed from."""

    prefix: str  # "" for the first pair
    role: Role

    @classmethod
    def parse(cls, name: str) -> NetName:
        """The parts of ``name``.

        Raises:
            UserError: it ends in neither role, as only a program of the user's own can have it.
        """
        return _parsed(name)

    def __str__(self) -> str:
        return self.prefix + self.role


@lru_cache
def _parsed(name: str) -> NetName:
    for role in PAIR:
        if name.endswith(role):
            return NetName(name.removesuffix(role), role)
    raise UserError(
        f"algorithm: a net cannot be called '{name}'; a name ends in {' or '.join(PAIR)}, "
        "such as 'second_generator'"
    )


def pair_of(prefix: str) -> tuple[str, str]:
    """The names of the generator and the discriminator that train each other under ``prefix``."""
    generator, discriminator = (str(NetName(prefix, role)) for role in PAIR)
    return generator, discriminator

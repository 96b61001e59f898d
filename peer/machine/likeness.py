"""What a machine tells of itself to whoever asks: its clock, and the build of torch it has.

Neither is part of the experiment: peers with other clocks and other builds train together, but
records cannot be laid side by side, and bits differ.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch


class Likeness(NamedTuple):
    """A machine, as it tells of itself.

    Attributes:
        clock: seconds since 1970, UTC.
        torch: the version of torch, with its build.
    """

    clock: float
    torch: str

    def to_word(self) -> str:
        """As one short word of a message."""
        return f"{self.clock:.0f} {self.torch}"[:64]

    @classmethod
    def from_word(cls, word: str) -> Likeness | None:
        """What the word says; None where it tells nothing, as an older peer's."""
        clock, _, build = word.partition(" ")
        try:
            return cls(float(clock), build) if build else None
        except ValueError:
            return None


def likeness() -> Likeness:
    """This machine, now."""
    return Likeness(time.time(), str(torch.__version__))


def likeness_word() -> str:
    """This machine, now, as one short word of a message."""
    return likeness().to_word()

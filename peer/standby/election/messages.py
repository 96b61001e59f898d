"""What hosts and voters say to each other, and what an election keeps on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Position(NamedTuple):
    """A round that the server has completed; a later term's comes after every earlier term's.

    Attributes:
        term: in which it was completed, or taken over.
        round: rounds completed.
    """

    term: int
    round: int


BEGINNING = Position(0, 0)
"""Before the first round: what the experiment's seed says, which every host can make."""


@dataclass(frozen=True)
class Ballot:
    """What a voter must not forget, whatever becomes of its process.

    Attributes:
        term: the newest that it takes part in; whatever is of an older one is refused.
        vote: the host that has its vote in that term; None where it is still free.
        known: the newest round of which it was told that it is held; no host without it is elected.
    """

    term: int = 0
    vote: int | None = None
    known: Position = BEGINNING


@dataclass(frozen=True, slots=True)
class Ask:
    """A host that hears no server asks for a vote in ``term``; a trial binds nobody."""

    term: int
    held: Position
    is_trial: bool


@dataclass(frozen=True, slots=True)
class Vote:
    """The answer to an :class:`Ask` for the term ``asked``."""

    term: int  # the voter's
    asked: int
    is_trial: bool
    is_granted: bool


@dataclass(frozen=True, slots=True)
class Beat:
    """The server of ``term`` is alive; its process has that ``session`` (0: not yet one)."""

    term: int
    session: int
    known: Position


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer to a :class:`Beat`: what the voter now knows, and has on its disk."""

    term: int
    known: Position


@dataclass(frozen=True, slots=True)
class Copy:
    """A piece of the server's state after ``position``, of ``size`` bytes in all."""

    term: int
    position: Position
    size: int
    offset: int
    piece: bytes


@dataclass(frozen=True, slots=True)
class Holds:
    """The answer of a host: the newest state on its disk, and how much it has of the one sent."""

    term: int
    held: Position
    of: Position
    received: int


Message = Ask | Vote | Beat | Heard | Copy | Holds

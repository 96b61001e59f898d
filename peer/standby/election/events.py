"""What an election tells whoever drives it."""

from __future__ import annotations

from dataclasses import dataclass

from peer.standby.election.messages import Position


@dataclass(frozen=True)
class Seat:
    """Who is the server: the host of a term, and the session of its process (0: not yet one)."""

    term: int
    host: int
    session: int


@dataclass(frozen=True)
class Promoted:
    """We are the server of that term, and propose the state that we hold before anything else."""

    term: int


@dataclass(frozen=True)
class Deposed:
    """We are the server no more; of the round at hand nothing will be acknowledged."""

    term: int


@dataclass(frozen=True)
class Store:
    """A state of the server's is here; once it is on the disk, :meth:`Election.stored` says so."""

    position: Position
    content: bytes


@dataclass(frozen=True)
class Acknowledged:
    """That round of ours is not lost any more: the next may begin."""

    position: Position


Event = Promoted | Deposed | Store | Acknowledged | Seat

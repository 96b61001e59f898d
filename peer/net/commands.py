"""What an endpoint is told to do, beside receiving bytes and letting time pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peer.effects import Moment
from peer.net.transfer.chunks import Payload


@dataclass(frozen=True)
class Held:
    """A neighbour's ``value``, whole and sound, that came before this process began.

    It was offered as ``net``, by the process of session ``sender``.
    """

    net: str
    value: memoryview
    sender: int


@dataclass(frozen=True)
class Part:
    """One link's part in an exchange: what goes out, if anything, and whether anything comes in.

    What comes in may be ``held`` already. What goes out may have to be ``conserved``: it is taken
    exactly once, or not at all, and we are told which.
    """

    t: Moment
    net: str
    payload: Payload | None
    wants: bool = True
    held: Held | None = None
    conserved: bool = False


@dataclass(frozen=True)
class Begin:
    """An exchange begins with the neighbours in ``parts``.

    The last outstanding value of floats may be handed on in pieces, while it is on its way, where
    ``in_pieces`` says so.
    """

    parts: Mapping[int, Part]
    in_pieces: bool = False


@dataclass(frozen=True)
class Finish:
    """We leave after ``round`` rounds; what is still owed is sent for ``patience`` seconds."""

    round: int
    patience: float
    reason: str = "finished"  # one of peer.net.wire.REASONS


@dataclass(frozen=True)
class Recorded:
    """These values, each a neighbour's for an exchange, are on the disk."""

    values: tuple[tuple[int, Moment], ...]


@dataclass(frozen=True)
class Hurry:
    """We are to stop: exchanges wait ``seconds`` more, and not at all for who is silent."""

    seconds: float


@dataclass(frozen=True)
class GoOn:
    """We were left behind, and go on in ``round`` with the others."""

    round: int

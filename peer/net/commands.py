"""What an endpoint is told to do, beside receiving bytes and letting time pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peer.effects import Moment
from peer.net.transfer.chunks import Payload


@dataclass(frozen=True)
class Part:
    """One link's part in an exchange: what goes out, if anything, and whether anything comes in."""

    t: Moment
    net: str
    payload: Payload | None
    wants: bool = True


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
class Hurry:
    """We are to stop: exchanges wait ``seconds`` more, and not at all for who is silent."""

    seconds: float


@dataclass(frozen=True)
class Reseat:
    """That neighbour's place is taken by another process.

    Attributes:
        neighbour: the server.
        session: of the process that has been elected; nobody else is heard.
        address: where it is.
        key: its public key (Z85); empty in plain text.
    """

    neighbour: int
    session: int
    address: str
    key: bytes = b""


@dataclass(frozen=True)
class GoOn:
    """We were left behind, and go on in ``round`` with the others."""

    round: int

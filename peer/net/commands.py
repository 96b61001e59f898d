"""What an endpoint is told to do, beside receiving bytes and letting time pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peer.effects import Moment
from peer.net.link import Link
from peer.net.transfer.chunks import Payload
from peer.net.transfer.receive_buffers import Held
from topology.membership import Change, Kind


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
    epoch: int = 0  # of who takes part in that round, as we know it
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


@dataclass(frozen=True)
class Release:
    """What is in doubt with that neighbour will never be known, and blocks the link no more."""

    neighbour: int


@dataclass(frozen=True)
class Wish:
    """We ask to take part, by these links; by those of the file, if there are none."""

    links: tuple[int, ...]


@dataclass(frozen=True)
class Admit:
    """There is another neighbour: its end of the link, its address and its public key, if any.

    Where there is a link already, the neighbour has another address or key.
    """

    link: Link
    address: str
    key: bytes | None


@dataclass(frozen=True)
class Expect:
    """That neighbour is going to have that public key."""

    neighbour: int
    key: bytes


@dataclass(frozen=True)
class Invite:
    """The holders of these keys may ask to be let in, and no other guests."""

    keys: frozenset[bytes]


@dataclass(frozen=True)
class TurnAway:
    """That neighbour is let in no more, until it is admitted anew."""

    neighbour: int


@dataclass(frozen=True)
class TakeKeys:
    """We have that pair of keys from now on."""

    public: bytes
    secret: bytes


@dataclass(frozen=True)
class Propose:
    """From a round on of which all can hear before, a peer takes part, or takes part no more.

    ``round`` is what we have completed, and ``links`` are those of who joins; ``told`` is called
    with the change, once it is made.
    """

    kind: Kind
    peer: int
    round: int
    told: Callable[[Change], None]
    links: tuple[int, ...] = ()


Command = (
    Admit
    | Begin
    | Expect
    | Finish
    | GoOn
    | Hurry
    | Invite
    | Propose
    | Recorded
    | Release
    | Reseat
    | TakeKeys
    | TurnAway
    | Wish
)
"""All that an I/O thread is told."""

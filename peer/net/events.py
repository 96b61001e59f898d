"""What an endpoint tells, beside bytes: what came of an exchange, and what else happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from peer.data.agreement import News
from peer.effects import Moment
from peer.net.admission import Answer, Note
from peer.net.exchange import Piece, Unrecorded
from peer.net.members.roster import Known
from peer.net.session import Phase
from peer.net.status.overheard import Overheard
from peer.net.transfer.send_buffers import Released
from peer.net.waiting.isolation import Isolated
from topology.errors import UserError


@dataclass
class Outcome:
    """An exchange, once every link has settled its part."""

    received: dict[int, memoryview] = field(default_factory=dict)  # but what came in pieces
    missing: set[int] = field(default_factory=set)  # sent nothing, or did not get ours
    in_doubt: dict[int, memoryview] = field(default_factory=dict)  # not told yet whether it counts
    unsure: set[int] = field(default_factory=set)  # not told yet whether our letter is taken
    senders: dict[int, int] = field(default_factory=dict)  # sessions that sent what is used


@dataclass(frozen=True)
class Arriving:
    """A piece of the last value that is awaited; the ``others`` are here."""

    neighbour: int
    piece: Piece
    others: Mapping[int, memoryview]


@dataclass(frozen=True)
class Resolved:
    """It is decided whether both ends use what they swapped at ``t``, which was in doubt."""

    neighbour: int
    t: Moment
    is_used: bool


@dataclass(frozen=True)
class Arrived:
    """A neighbour's value, which counts once it is on the disk: answered by ``Recorded``."""

    neighbour: int
    what: Unrecorded


@dataclass(frozen=True)
class Failed:
    """The run cannot go on."""

    problem: UserError


@dataclass(frozen=True)
class Redial:
    """The connection to that neighbour should be made anew."""

    neighbour: int


@dataclass(frozen=True)
class InPhase:
    """How we stand with that neighbour has changed."""

    neighbour: int
    phase: Phase


Event = (
    Outcome
    | Arriving
    | Resolved
    | Arrived
    | Failed
    | Released
    | Redial
    | InPhase
    | Answer
    | Isolated
    | Note
    | News
    | Known
    | Overheard
)

"""One simulated peer: its coroutine, the exchange that it is in, and what others know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peer.effects import BEFORE_ALL, Combine, Exchange, Moment
from peer.peer import Peer
from peer.program import Running
from sim.simulated_peer.snapshots import Snapshot, Snapshots

Value = Snapshot | memoryview
"""What is under way on a link: an arena's value, or a letter's bytes."""


@dataclass
class Pending:
    """One peer's part in one exchange, from its effect until every neighbour is settled."""

    effect: Combine | Exchange
    outgoing: Mapping[int, Value]  # q_k for whom it is sent to
    ready: float  # when the last of what has come so far came
    received: dict[int, Value] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    meanwhile: Callable[[], Any] | None = None  # local steps while values are under way

    def __post_init__(self) -> None:
        effect = self.effect
        self.wanted = frozenset(effect.senders if isinstance(effect, Exchange) else effect.weights)
        self.open = set(self.wanted)  # of whom nothing is known yet
        self.unsent = self.outgoing.keys() - self.wanted  # who only receive, and have not yet

    @property
    def moments(self) -> Mapping[int, Moment]:
        """When it is, on the link with each neighbour."""
        return self.effect.moments

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to wait for."""
        return not self.open and not self.unsent

    def take(self, sender: int, arrival: float, value: Value) -> None:
        """A neighbour's value, there at ``arrival``."""
        self.open.discard(sender)
        self.received[sender] = value
        self.ready = max(self.ready, arrival)

    def do_without(self, neighbour: int, since: float) -> None:
        """Wait no more, from ``since`` on, for a neighbour's value, or for it to take ours."""
        self.open.discard(neighbour)
        self.unsent.discard(neighbour)
        self.missing.add(neighbour)
        self.ready = max(self.ready, since)


@dataclass
class Process:
    """One peer's coroutine and what waits for it."""

    peer: Peer
    running: Running
    now: float = 0.0
    pending: Pending | None = None
    inbox: dict[tuple[int, Moment], tuple[float, Value]] = field(default_factory=dict)
    snapshots: Snapshots = field(default_factory=Snapshots)
    finished: bool = False
    is_gone: bool = False  # away for ever; known once all others have waited for it
    bytes_in: int = 0
    bytes_out: int = 0

    def __post_init__(self) -> None:
        self.id = self.peer.id

    def snapshot(self, net: str) -> Snapshot:
        """The value of one of its nets at this moment."""
        return self.snapshots.take(net, self.peer.state.nets[net])


@dataclass
class Standing:
    """How far a peer is, as the others know it."""

    round: int = 0
    finished: bool = False
    passed: dict[int, Moment] = field(default_factory=dict)  # settled last, on each link

    def is_past(self, neighbour: int, t: Moment) -> bool:
        """Whether it has settled exchange ``t`` on the link with ``neighbour``, or never will."""
        return self.finished or t.round < self.round or self.passed.get(neighbour, BEFORE_ALL) >= t

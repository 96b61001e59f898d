"""One simulated peer: its coroutine, the exchange that it waits in, and what others know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peer.effects import BEFORE_ALL, Combine, Exchange, Moment
from peer.peer import Peer
from peer.program import Running
from sim.simulated_peer.snapshots import Snapshot, Snapshots

Value = Snapshot | memoryview
"""What is sent on a link: an arena's value, or a letter's bytes."""


@dataclass
class PendingExchange:
    """One peer's part in one exchange, from its effect until it is settled with every neighbour.

    Attributes:
        effect: what the coroutine asked for.
        outgoing: the value for each neighbour to whom one is sent.
        ready: virtual time at which the last of what has arrived so far arrived.
        received: values that arrived, by sender.
        arrivals: when the values that arrived did, by sender.
        missing: neighbours whose value is not waited for any more, or who will not use ours.
        says_all: whether a net's value, as it is coded, says all of the net.
        meanwhile: gives the result of local steps that are taken while values are on their way.
        wanted: neighbours who send a value.
        awaited: those of them from whom nothing has arrived yet.
        unconfirmed: neighbours who only receive, and of whom it is not known yet whether they do.
    """

    effect: Combine | Exchange
    outgoing: Mapping[int, Value]
    ready: float
    received: dict[int, Value] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    meanwhile: Callable[[], Any] | None = None
    says_all: bool = True
    arrivals: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        effect = self.effect
        self.wanted = frozenset(effect.senders if isinstance(effect, Exchange) else effect.weights)
        self.awaited = set(self.wanted)
        self.unconfirmed = self.outgoing.keys() - self.wanted

    @property
    def moments(self) -> Mapping[int, Moment]:
        """The exchange's moment on the link with each neighbour."""
        return self.effect.moments

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to wait for."""
        return not self.awaited and not self.unconfirmed

    def receive(self, sender: int, arrival: float, value: Value) -> None:
        """Add a neighbour's value, which arrives at ``arrival``."""
        self.awaited.discard(sender)
        self.received[sender] = value
        self.arrivals[sender] = arrival
        self.ready = max(self.ready, arrival)

    @property
    def is_of_nets(self) -> bool:
        """Whether each value says all of a net, so that who joins anew may take it as it is."""
        return isinstance(self.effect, Combine) and self.says_all

    def leave_behind(self, neighbour: int, since: float) -> None:
        """Neither wait for a neighbour nor send to it."""
        self.outgoing = {k: value for k, value in self.outgoing.items() if k != neighbour}
        self.do_without(neighbour, since)

    def do_without(self, neighbour: int, since: float) -> None:
        """Stop waiting, at ``since``, for a neighbour's value, or for it to receive ours."""
        self.awaited.discard(neighbour)
        self.unconfirmed.discard(neighbour)
        self.missing.add(neighbour)
        self.ready = max(self.ready, since)


@dataclass
class SimulatedPeer:
    """One peer's coroutine, and all that the simulation keeps of the peer.

    Attributes:
        facade: the peer as its coroutine sees it.
        running: the coroutine.
        now: virtual time, in seconds, at which the coroutine was last resumed.
        pending: the exchange that it waits in.
        settled: the one that was settled last, of a peer that another process may become.
        term: counts the processes that have been this peer: what an earlier one began is over.
        inbox: values that arrived before this peer began their exchange, with their arrival, by
            sender and moment.
        snapshots: values of its nets that are still on their way somewhere.
        finished: whether the coroutine has ended.
        is_gone: whether the peer is away for ever; known once all others have waited for it.
        bytes_in: received since the start.
        bytes_out: sent since the start.
    """

    facade: Peer
    running: Running
    now: float = 0.0
    pending: PendingExchange | None = None
    settled: PendingExchange | None = None
    term: int = 0
    inbox: dict[tuple[int, Moment], tuple[float, Value]] = field(default_factory=dict)
    snapshots: Snapshots = field(default_factory=Snapshots)
    finished: bool = False
    is_gone: bool = False
    bytes_in: int = 0
    bytes_out: int = 0

    def __post_init__(self) -> None:
        self.id = self.facade.id
        self.state = self.facade.state

    def snapshot(self, net: str) -> Snapshot:
        """The value of one of its nets at this moment."""
        return self.snapshots.of(net, self.state.nets[net])


@dataclass
class NeighbourProgress:
    """How far a peer is, as its neighbours know it.

    Attributes:
        round: rounds that it has completed.
        finished: whether its coroutine has ended.
        listens_in: the round in which, left behind before, it takes values and sends no net's.
        settled: the moment of the exchange that it settled last, by neighbour.
    """

    round: int = 0
    finished: bool = False
    listens_in: int = -1
    settled: dict[int, Moment] = field(default_factory=dict)

    def is_past(self, neighbour: int, t: Moment) -> bool:
        """Whether it has settled exchange ``t`` on the link with ``neighbour``, or never will."""
        return self.finished or t.round < self.round or self.settled.get(neighbour, BEFORE_ALL) >= t

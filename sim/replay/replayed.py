"""One process of a real peer, as it is computed again from what its flight tells."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import algorithms
from peer.compute.combine import transfer
from peer.compute.compressed_combine import change_by
from peer.compute.held_transfers import HeldTransfers
from peer.effects import Combine, Moment
from peer.experiment import from_mapping
from peer.net.members.newcomers import as_listed
from peer.net.members.taking_part import TakingPart
from peer.peer import Peer
from peer.runtime.loading import load_peer
from peer.state import SavedState
from peer.state.flight.reader import Incarnation
from sim.simulated_peer.simulated_peer import PendingExchange, SimulatedPeer, Value
from sim.simulated_peer.snapshots import Snapshot

Recall = Callable[[int | None, int], SavedState | None]
"""The state that a process, by its session, saved after a round; None where nothing is known."""


@dataclass(eq=False)
class Replayed:
    """One process: its flight, its coroutine, and how far it is.

    Attributes:
        index: among all processes of the network.
        peer: its id.
        flight: what happened to it.
        simulated: its coroutine and its state; None before it starts.
        round: rounds completed or left out.
        exchange: exchanges of the round at hand that it has begun.
        pending: the exchange that it waits in.
        missing: the neighbours that it does without there.
        held: those of them whose values it holds apart there, in doubt, and uses later.
        senders: by neighbour, the session of the process whose values it uses.
        effects: that its program has asked for.
        used_late: neighbours and moments of what any process of the peer held, and used later.
        is_over: it goes no further.
        problem: what stopped it, if something of its own did.
    """

    index: int
    peer: int
    flight: Incarnation
    simulated: SimulatedPeer | None = None
    round: int = 0
    exchange: int = 0
    pending: PendingExchange | None = None
    missing: frozenset[int] = frozenset()
    held: frozenset[int] = frozenset()
    senders: dict[int, int] = field(default_factory=dict)
    effects: int = 0
    used_late: frozenset[tuple[int, Moment]] = frozenset()
    is_over: bool = False
    problem: str = ""

    def __post_init__(self) -> None:
        self.round = self.flight.begins
        self.completed = self.flight.completed
        self.seconds = deque(self.flight.seconds)
        self._recalls = deque(self.flight.recalls)
        self._late = deque(self.flight.late)

    @property
    def session(self) -> int:
        """By which its neighbours knew it."""
        return self.flight.session

    @property
    def has_shown_all(self) -> bool:
        """Whether it has completed all rounds that its flight tells of."""
        return self.round >= self.completed

    def start(self, saved: SavedState | None, overrides: Iterable[str], recall: Recall) -> None:
        """Make its state, at round 0 or as ``saved``, and its coroutine.

        Raises:
            UserError: its data are not here, or its experiment cannot be had.
        """
        experiment = from_mapping(self.flight.experiment, overrides)
        program = algorithms.find(experiment)
        state, _ = load_peer(as_listed(experiment, self.peer), self.peer, program)
        if saved is not None:
            state.load(saved)
        if self.flight.classes:
            state.take_classes(self.flight.classes)
        state.recall = lambda: self._recalled(recall)
        facade = Peer(state, experiment.schedule, experiment.weights)
        self._taking_part = TakingPart(facade)
        joins_in = self.flight.skips.get(self.flight.begins)
        if joins_in is not None:  # before any round: the others had begun
            self.take_members(self.flight.begins + 1)
            facade.go_on_in(joins_in)
            self.round = joins_in
        self.simulated = SimulatedPeer(facade, program.start(facade))

    def _recalled(self, recall: Recall) -> Iterator[SavedState]:
        """The checkpoints that its guard looked at, in that order."""
        while self._recalls:
            saved = recall(*self._recalls.popleft())
            if saved is not None:
                yield saved

    def take_members(self, round: int) -> None:
        """``round`` is completed: let count, from the next on, what it had heard by then."""
        if round in self.flight.members:
            self._taking_part.take(self.flight.members[round])

    def may_use(self, t: Moment) -> bool:
        """Whether a value that a neighbour sends for exchange ``t`` may still be used."""
        return not self.is_over and self.round <= t.round <= self.completed

    def begin(self, pending: PendingExchange) -> None:
        """Begin the next exchange of the round, as the flight tells of it."""
        place = (self.round, self.exchange)
        self.exchange += 1
        self.pending = pending
        self.missing = self.flight.without.get(place, frozenset())
        self.senders.update(self.flight.senders.get(place, {}))
        held = self.flight.held.get(place, frozenset())
        self.held = frozenset(k for k in held if (k, pending.moments[k]) in self.used_late)

    def hold(self, neighbour: int, value: Value) -> None:
        """Keep apart what a value would add to the net that is combined: it is in doubt."""
        pending, peer = self.pending, self.simulated
        assert pending is not None
        assert peer is not None
        effect = pending.effect
        assert isinstance(effect, Combine)
        if isinstance(value, Snapshot):
            own = pending.outgoing[neighbour]
            assert isinstance(own, Snapshot)
            change = transfer(value.tensor, own.tensor, effect.weights[neighbour])
        else:
            sent = {k: v for k, v in pending.outgoing.items() if isinstance(v, memoryview)}
            found = change_by(peer.state, effect.net, effect.weights, sent, neighbour, value)
            if found is None:
                return
            change = found
        held = HeldTransfers(peer.state)
        held.hold(neighbour, pending.moments[neighbour], effect.net, change.to(peer.state.device))

    def use_what_was_held(self, *, is_over: bool = False) -> None:
        """Add what was held and is used before the effect at hand, or after the program's end."""
        assert self.simulated is not None
        while self._late and (is_over or self._late[0].effects <= self.effects):
            late = self._late.popleft()
            HeldTransfers(self.simulated.state).resolve(late.neighbour, late.t, is_used=True)

    @property
    def wants(self) -> dict[int, tuple[int | None, Moment]]:
        """By neighbour whose value is awaited, the session that sends it, and its moment."""
        if self.pending is None:
            return {}
        awaited = self.pending.awaited - (self.missing - self.held)
        return {k: (self.senders.get(k), self.pending.moments[k]) for k in sorted(awaited)}

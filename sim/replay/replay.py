"""Replays a network's run: every process of every peer, from what their flights tell.

There is no network and no clock here. Which value comes into an exchange, and which does not, is
what the peer's own flight says: the value is that of the neighbour's process which the flight
names, computed by replaying that process, too, be it one that was killed later. So both ends of a
link may tell different stories of one exchange, as they do where a connection broke in its middle.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peer.effects import Combine, Exchange, Moment, Now, Report, Sleep
from peer.state import PeerState, SavedState
from peer.state.flight.checksum import checksum
from peer.state.flight.reader import Incarnation
from sim.engines.eager import OneByOne
from sim.events.settling import combine_received, outgoing, post
from sim.replay.replayed import Replayed
from sim.simulated_peer.simulated_peer import PendingExchange, SimulatedPeer, Value
from topology.errors import UserError

Each = Callable[[PeerState, Incarnation, Report], None]


@dataclass(frozen=True, order=True)
class Difference:
    """Where a replay and the run differ.

    Attributes:
        round: rounds completed where that shows.
        peer: whose.
        number: which of its processes, from 0.
        what: in words.
    """

    round: int
    peer: int
    number: int
    what: str


class Replay:
    """Replays what ``flights`` tell, up to the first difference.

    Rounds are computed in their order, so that what differs first is found first.

    Args:
        flights: by peer, its processes in the order of their starts.
        overrides: changes to the experiment that do not change bits, such as ``data.path=...``.
        each: is called for every round of every process, with its state.

    Attributes:
        processes: all of them.
        compared: checksums that were equal.
    """

    def __init__(
        self,
        flights: Mapping[int, Sequence[Incarnation]],
        overrides: Iterable[str] = (),
        each: Each | None = None,
    ) -> None:
        self.overrides = tuple(overrides)
        self.each = each
        self.compared = 0
        flown = [(k, each) for k, of_peer in sorted(flights.items()) for each in of_peer]
        late = {
            k: frozenset((each.neighbour, each.t) for one in of_peer for each in one.late)
            for k, of_peer in flights.items()
        }
        self.processes = [
            Replayed(i, k, each, used_late=late[k]) for i, (k, each) in enumerate(flown)
        ]
        self._engine = OneByOne()
        self._of_peer: dict[int, list[Replayed]] = {k: [] for k in flights}
        for process in self.processes:
            self._of_peer[process.peer].append(process)
        self._wanted = {(p.flight.source, p.flight.begins) for p in self.processes}
        self._wanted |= {recall for p in self.processes for recall in p.flight.recalls}
        self._saved: dict[tuple[int | None, int], SavedState] = {}
        self._sent: dict[int, dict[tuple[int, Moment], Value]] = {k: {} for k in flights}
        self._ready: list[tuple[int, int, int]] = []  # round, peer, index: can go on
        self._differences: list[Difference] = []

    def run(self) -> list[Difference]:
        """Replay; returns the differences of the first round that has any.

        Raises:
            UserError: data are not here, or an experiment cannot be had.
        """
        for process in self.processes:
            if process.flight.begins == 0:
                self._can_go_on(process)
        while self._ready:
            round, _, index = heapq.heappop(self._ready)
            if round < self._limit:
                self._go_on(self.processes[index])
        self._note_the_stuck()
        return sorted(each for each in self._differences if each.round == self._limit)

    @property
    def last(self) -> dict[int, Replayed]:
        """The last process of each peer."""
        return {k: processes[-1] for k, processes in self._of_peer.items() if processes}

    @property
    def _limit(self) -> float:
        """What is computed from this round on cannot hold an earlier difference any more."""
        return min((each.round for each in self._differences), default=float("inf"))

    def _can_go_on(self, process: Replayed) -> None:
        heapq.heappush(self._ready, (process.round, process.peer, process.index))

    # --- one process ------------------------------------------------------------------------------

    def _go_on(self, process: Replayed) -> None:
        """Let a process go on until it waits for a value, or has completed a round."""
        result: Any = None
        try:
            if process.simulated is None:
                self._start(process)
            elif process.pending is not None:
                result = self._settled(process, process.simulated, process.pending)
            elif process.round > process.flight.begins:
                result = process.flight.skips.get(self._reported(process))
            self._run(process, result)
        except UserError as problem:
            process.is_over, process.problem = True, str(problem)
            if process.simulated is None:
                raise

    def _start(self, process: Replayed) -> None:
        flight = process.flight
        saved = self._saved[flight.source, flight.begins] if flight.begins else None
        process.start(saved, self.overrides, lambda *key: self._saved.get(key))

    @staticmethod
    def _reported(process: Replayed) -> int:
        """The round that it has completed last."""
        assert process.simulated is not None
        return process.simulated.facade.round

    def _run(self, process: Replayed, result: Any) -> None:
        """Carry out effects until the process has to wait, or a round ends."""
        peer = process.simulated
        assert peer is not None
        while True:
            peer.snapshots.before_write()  # the coroutine may load other parameters
            try:
                effect = peer.running.send(result)
            except StopIteration:
                process.use_what_was_held(is_over=True)
                process.is_over = True
                return
            process.effects += 1
            process.use_what_was_held()
            match effect:
                case Combine() | Exchange():
                    pending = self._begin(process, peer, effect)
                    if pending is None:
                        return
                    result = self._settled(process, peer, pending)
                case Report():
                    self._completed(process, peer, effect)
                    return
                case Now():
                    if not process.seconds:
                        process.is_over = True  # it was killed before it was told
                        return
                    result = process.seconds.popleft()
                case Sleep():
                    result = None
                case _:
                    result = self._engine.submit(peer, effect)()

    def _completed(self, process: Replayed, peer: SimulatedPeer, effect: Report) -> None:
        """A round is completed: compare, and let those start that went on from here."""
        round, state, flight = effect.round, peer.state, process.flight
        process.exchange = 0
        process.round = flight.skips.get(round, round)
        if round not in flight.checksums:
            process.is_over = True  # it was killed before
            return
        found = checksum(net.arena.vector for _, net in sorted(state.nets.items()))
        if found != flight.checksums[round]:
            words = "the nets' checksum is another one"
            self._differences.append(Difference(round, process.peer, flight.number, words))
            return
        self.compared += 1
        process.take_members(round)
        if self.each is not None:
            self.each(state, flight, effect)
        if (process.session, round) in self._wanted:
            self._save(process, state)
        self._forget_what_is_over(process.peer)
        self._can_go_on(process)

    def _save(self, process: Replayed, state: PeerState) -> None:
        """Keep the state as a checkpoint has it; those that went on from it can start."""
        key = process.session, state.round
        self._saved[key] = state.dump()
        for other in self.processes:
            if (other.flight.source, other.flight.begins) == key:
                self._can_go_on(other)

    # --- values -----------------------------------------------------------------------------------

    def _begin(
        self, process: Replayed, peer: SimulatedPeer, effect: Combine | Exchange
    ) -> PendingExchange | None:
        """Begin an exchange; returns it where nothing is waited for."""
        pending = PendingExchange(effect, outgoing(peer, effect), 0.0)
        if isinstance(effect, Combine) and effect.meanwhile is not None:
            pending.meanwhile = self._engine.submit(peer, effect.meanwhile)
        if not effect.moments:
            return pending
        process.begin(pending)
        for receiver, value in pending.outgoing.items():
            self._send(process.session, receiver, effect.moments[receiver], value)
        return pending if self._is_complete(process) else None

    def _send(self, session: int, receiver: int, t: Moment, value: Value) -> None:
        """Keep a value for those who may use it; who waits for it goes on."""
        processes = self._of_peer.get(receiver, [])
        if not any(each.may_use(t) for each in processes):
            return
        self._sent[receiver][session, t] = value
        for each in processes:
            if (session, t) in each.wants.values() and self._is_complete(each):
                self._can_go_on(each)

    def _is_complete(self, process: Replayed) -> bool:
        """Whether all values that its exchange uses are there."""
        sent = self._sent[process.peer]
        return all(key in sent for key in process.wants.values())

    def _settled(self, process: Replayed, peer: SimulatedPeer, pending: PendingExchange) -> Any:
        """What the coroutine gets, once the values are there."""
        sent, wanted = self._sent[process.peer], process.wants
        for neighbour in sorted(process.missing & pending.moments.keys()):
            pending.do_without(neighbour, 0.0)
        for neighbour, (session, t) in wanted.items():
            assert session is not None
            if neighbour in process.held:
                process.hold(neighbour, sent[session, t])
            else:
                pending.receive(neighbour, 0.0, sent[session, t])
        process.pending = None
        effect = pending.effect
        if isinstance(effect, Exchange):
            return post(pending, effect, peer.state.device)
        if pending.meanwhile is None:
            return combine_received(self._engine, peer, pending, effect)
        step = pending.meanwhile()
        return combine_received(self._engine, peer, pending, effect), step

    def _forget_what_is_over(self, receiver: int) -> None:
        """Forget values that nobody can use any more."""
        sent, processes = self._sent[receiver], self._of_peer[receiver]
        for key in [key for key in sent if not any(each.may_use(key[1]) for each in processes)]:
            del sent[key]

    # --- what cannot go on ------------------------------------------------------------------------

    def _note_the_stuck(self) -> None:
        """Where a process cannot show all that its flight tells of, say why."""
        stuck = {p.session: p for p in self.processes if not p.has_shown_all}
        for process in stuck.values():
            if process.round >= self._limit:
                continue
            why = self._why_stuck(process, stuck)
            if why:
                number = process.flight.number
                difference = Difference(process.round + 1, process.peer, number, why)
                self._differences.append(difference)

    def _why_stuck(self, process: Replayed, stuck: Mapping[int, Replayed]) -> str:
        """Why a process did not go on; empty where another one's not going on is the reason."""
        source, begins = process.flight.source, process.flight.begins
        if process.problem:
            return process.problem
        if process.simulated is None:
            if source in stuck:
                return ""
            return f"it went on from a checkpoint of round {begins} of which no flight tells"
        if process.is_over:
            return "the program ends here, and went on in the run"
        for k, (session, t) in process.wants.items():
            if (session, t) in self._sent[process.peer]:
                continue
            sender = stuck.get(session) if session is not None else None
            if sender is not None and not sender.is_over and sender.round <= t.round:
                return ""
            return (
                f"it used a value of peer {k}, for exchange {t.exchange + 1} of round "
                f"{t.round + 1}, that no flight of peer {k} accounts for"
            )
        return ""

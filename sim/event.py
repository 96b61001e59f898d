"""The event driver: any number of peers in one process, in virtual time.

It carries out the same effects as the ZeroMQ driver, and what a peer combines depends on who sent
what, never on when. How local effects and combines are computed is an *engine's* affair: one peer
at a time with the very functions of the ZeroMQ driver, bit-equal to it where nothing fails; or for
many peers at once (:mod:`sim.stacked`).
"""

from __future__ import annotations

import gc
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from peer.compression import compress, decompress
from peer.effects import (
    BEFORE_ALL,
    Combine,
    Effect,
    Exchange,
    Letter,
    Moment,
    Now,
    Post,
    Report,
    Sleep,
)
from peer.net.letters import pack, unpack
from peer.net.wire import WireError
from peer.peer import Peer
from peer.program import Program, Running
from sim.engine import Engine, OneByOne
from sim.network import SUSPECT_AFTER, Network
from sim.snapshots import Snapshot, Snapshots


class Observer(Protocol):
    """Is told of every round that a peer completes."""

    def reported(self, process: Process, report: Report) -> None:
        """``process`` has completed ``report.round`` rounds."""


Value = Snapshot | memoryview
"""What is under way on a link: an arena's value, or a letter's bytes."""


@dataclass
class Pending:
    """One peer's part in one exchange, from its effect until every neighbour is settled."""

    effect: Combine | Exchange
    moments: Mapping[int, Moment]  # on the link with each neighbour
    outgoing: Mapping[int, Value]  # q_k for whom it is sent to
    ready: float  # when the last of what has come so far came
    open: set[int]  # neighbours whose value is wanted, and of whom nothing is known yet
    received: dict[int, Value] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    meanwhile: Callable[[], Any] | None = None  # local steps while values are under way


@dataclass
class Process:
    """One peer's coroutine and what waits for it."""

    peer: Peer
    running: Running
    now: float = 0.0
    pending: Pending | None = None
    passed: dict[int, Moment] = field(default_factory=dict)  # settled last, on each link
    inbox: dict[tuple[int, Moment], tuple[float, Value]] = field(default_factory=dict)
    snapshots: Snapshots = field(default_factory=Snapshots)
    finished: bool = False
    bytes_in: int = 0
    bytes_out: int = 0

    def __post_init__(self) -> None:
        self.id = self.peer.id

    def snapshot(self, net: str) -> Snapshot:
        """The value of one of its nets at this moment."""
        return self.snapshots.take(net, self.peer.state.nets[net])

    def is_past(self, neighbour: int, t: Moment) -> bool:
        """Whether it has settled exchange ``t`` on the link with ``neighbour``, or never will."""
        return is_past(t, self.passed.get(neighbour), self.peer.round, self.finished)


def is_past(t: Moment, passed: Moment | None, round: int, finished: bool) -> bool:
    """Whether a peer in ``round``, that has last settled ``passed`` on a link, is beyond ``t``."""
    return finished or t.round < round or (passed or BEFORE_ALL) >= t


class EventDriver:
    """Runs ``program`` at every peer until all have finished or are away for ever.

    Args:
        peers: every peer by id; their weights name their neighbours.
        program: what each of them runs.
        network: delays, losses, absences.
        deadline: seconds after which an absent neighbour's weight stays on oneself.
        observer: is told of every completed round.
        engine: computes; one peer at a time by default.
    """

    def __init__(
        self,
        peers: Mapping[int, Peer],
        program: Program,
        network: Network,
        deadline: float,
        observer: Observer | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.engine: Engine = engine or OneByOne()
        self.network = network
        self.deadline = deadline
        self.observer = observer
        self.processes = {k: Process(peer, program.start(peer)) for k, peer in peers.items()}
        self.own = dict(self.processes)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._entries = 0
        self._waiters: defaultdict[int, set[int]] = defaultdict(set)  # on whom they wait

    def run(self) -> None:
        """Carry out everything, in the order of virtual time."""
        for process in self.own.values():
            self._resume_at(process, 0.0)
        gc.freeze()  # what is there stays: ten thousand peers are not to be looked through for ever
        try:
            self._carry_on()
        finally:
            gc.unfreeze()
            for process in self.own.values():
                process.running.close()  # who is away for ever goes no further
                self.engine.settle(process)
            self.engine.finish()
        stuck = [p.id for p in self.own.values() if self._will_act(p)]
        if stuck:
            raise RuntimeError(f"peers {stuck} wait for something that nobody will do")

    def _carry_on(self) -> None:
        """Carry out everything."""
        self._take_turn(math.inf)

    def _take_turn(self, until: float, before: float = math.inf) -> None:
        """Carry out what is to be done up to that time, and was planned ``before`` that entry."""
        while self._agenda and self._agenda[0][0] <= until and self._agenda[0][1] < before:
            _, _, action = heapq.heappop(self._agenda)
            action()

    def _will_act(self, process: Process) -> bool:
        """Whether it has more to do, and is not away for ever sooner or later."""
        absences = self.network.absences.get(process.id, [])
        return not process.finished and all(up < math.inf for _, up in absences)

    def _at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, self._entries, action))
        self._entries += 1

    def _resume_at(self, process: Process, time: float, result: Any = None) -> None:
        """Let the coroutine go on at ``time``, or when its peer is back."""
        self._go_on_at(process, time, lambda: lambda: result)

    def _go_on_at(
        self, process: Process, time: float, take_on: Callable[[], Callable[[], Any]]
    ) -> None:
        """The same with a result that is only asked for then; none is, if it never comes back."""
        time = self.network.back_at(process.id, time)
        if time < math.inf:
            result = take_on()
            self._at(time, lambda: self._resume(process, time, result()))

    def _resume(self, process: Process, time: float, result: Any) -> None:
        """Run the coroutine until it has to wait for something."""
        process.now = time
        self.engine.settle(process)
        process.snapshots.keep()  # the coroutine may load other parameters
        while True:
            try:
                effect = process.running.send(result)
            except StopIteration:
                self._finish(process)
                return
            match effect:
                case Combine() | Exchange():
                    self._begin(process, effect)
                    return
                case Report():
                    if self.observer:
                        self.observer.reported(process, effect)
                    self._release(process, time)
                    self._resume_at(process, time)  # when all who are as far have reported, too
                    return
                case Now():
                    result = time
                case Sleep(seconds):
                    self._resume_at(process, time + seconds)
                    return
                case _:
                    self._compute(process, effect)
                    return

    def _compute(self, process: Process, effect: Effect) -> None:
        """Take on a local effect; its result is there when its virtual time has passed."""
        done = process.now + self.network.compute(process.peer.state, effect)
        self._go_on_at(process, done, lambda: self.engine.submit(process, effect))

    # --- exchanges --------------------------------------------------------------------------------

    def _begin(self, process: Process, effect: Combine | Exchange) -> None:
        """Send this peer's values to its neighbours, and wait for theirs."""
        k, now = process.id, process.now
        moments, outgoing = effect.moments, self._outgoing(process, effect)
        wanted = effect.senders if isinstance(effect, Exchange) else effect.weights
        process.pending = pending = Pending(effect, moments, outgoing, now, set(wanted))
        for neighbour, t in sorted(moments.items()):
            other = self.processes[neighbour]
            arrived = process.inbox.pop((neighbour, t), None)
            if neighbour not in wanted:
                pass
            elif arrived is not None:
                self._receive(process, pending, neighbour, *arrived)
            elif other.is_past(k, t):
                self._do_without(pending, neighbour)  # it went on without us
            else:
                self._expect(process, neighbour, now)
            if neighbour in outgoing:
                self._send(process, other, t)
        if isinstance(effect, Combine) and effect.meanwhile is not None:
            took = self.network.compute(process.peer.state, effect.meanwhile)
            pending.ready = max(pending.ready, now + took)
            pending.meanwhile = self.engine.submit(process, effect.meanwhile)
        self._settle(process)

    @staticmethod
    def _outgoing(process: Process, effect: Combine | Exchange) -> dict[int, Value]:
        """What goes to whom: snapshots, the same one to many where it is the same."""
        if isinstance(effect, Combine):
            state = process.peer.state
            if state.codec is not None:
                return dict(compress(state, effect.net, effect.weights))
            return dict.fromkeys(effect.weights, process.snapshot(effect.net))
        packed: dict[int, memoryview] = {}
        for letter in effect.letters.values():
            if id(letter) not in packed:
                packed[id(letter)] = pack(letter)
        return {neighbour: packed[id(letter)] for neighbour, letter in effect.letters.items()}

    def _send(self, process: Process, other: Process, t: Moment) -> None:
        """Put a value on its way; who only sends, waits until it is there or given up."""
        pending, k, now = process.pending, process.id, process.now
        assert pending is not None
        value = pending.outgoing[other.id]
        process.bytes_out += value.nbytes
        crossing = isinstance(pending.effect, Combine) or other.id in pending.effect.senders
        arrival, lost, back = now, False, now
        if not self.network.is_ideal:
            arrival = self.network.arrival(k, other.id, t, now, pending.outgoing, crossing)
            lost = self.network.loses(k, other.id, t)
            back = self.network.back_at(other.id, arrival)
        if other.id not in pending.open and other.id not in pending.received:
            past = other.is_past(k, t)  # it says so at once
            away = back > max(arrival, now + self.deadline)  # a long way is no absence
            if lost or away or past:
                pending.missing.add(other.id)
                if lost and not past:
                    pending.ready = max(pending.ready, now + self.deadline)
                lost = True
            else:
                pending.ready = max(pending.ready, arrival)
        if not lost:
            self._deliver(other, k, t, arrival, value)

    def _deliver(
        self, other: Process, sender: int, t: Moment, arrival: float, value: Value
    ) -> None:
        """Hand a value over: into the exchange that waits for it, or for one that will."""
        if other.is_past(sender, t):
            return  # late: dropped
        pending = other.pending
        if pending and pending.moments.get(sender) == t:
            if sender in pending.open:
                self._receive(other, pending, sender, arrival, value)
                self._settle(other)
        else:
            other.inbox[sender, t] = (arrival, value)

    def _receive(
        self, process: Process, pending: Pending, sender: int, arrival: float, value: Value
    ) -> None:
        pending.open.discard(sender)
        pending.received[sender] = value
        pending.ready = max(pending.ready, arrival)
        process.bytes_in += value.nbytes

    @staticmethod
    def _do_without(pending: Pending, neighbour: int) -> None:
        pending.open.discard(neighbour)
        pending.missing.add(neighbour)

    def _expect(self, process: Process, neighbour: int, now: float) -> None:
        """Plan when to stop waiting for a neighbour that is away, or whose message is lost."""
        pending = process.pending
        assert pending is not None
        self._waiters[neighbour].add(process.id)
        if self.network.is_ideal:
            return
        if self.network.loses(process.id, neighbour, pending.moments[neighbour]):
            self._give_up_at(now + self.deadline, process, pending, neighbour)
        for down, up in self.network.absences.get(neighbour, []):
            if up <= now:
                continue
            suspected = down + SUSPECT_AFTER <= now
            end = now if suspected else max(now, down) + self.deadline
            if end < up:
                self._give_up_at(end, process, pending, neighbour)
                return

    def _give_up_at(self, end: float, process: Process, pending: Pending, neighbour: int) -> None:
        self._at(end, lambda: self._give_up(end, process, pending, neighbour))

    def _give_up(self, now: float, process: Process, pending: Pending, neighbour: int) -> None:
        """The deadline: the neighbour's weight stays on oneself, and it will not get our value."""
        if process.pending is not pending or neighbour not in pending.open:
            return
        self._do_without(pending, neighbour)
        self._withdraw(process, neighbour, pending.moments[neighbour], now)
        pending.ready = max(pending.ready, now)
        self._settle(process)

    def _withdraw(self, process: Process, neighbour: int, t: Moment, _now: float) -> None:
        """The value that waits at the neighbour is not to be used any more."""
        self.processes[neighbour].inbox.pop((process.id, t), None)

    def _settle(self, process: Process) -> None:
        """Once every neighbour is settled: combine, or hand the letters over, and go on."""
        pending = process.pending
        if pending is None or pending.open:
            return
        effect = pending.effect
        process.pending = None
        process.passed.update(pending.moments)
        if isinstance(effect, Combine) and pending.meanwhile is not None:
            self._go_on_at(
                process, pending.ready, lambda: lambda: self._join(process, pending, effect)
            )
        elif isinstance(effect, Combine):
            self._resume_at(process, pending.ready, self._combine(process, pending, effect))
        else:
            post = _post(pending, effect, process.peer.state.device)
            self._resume_at(process, pending.ready, post)
        self._release(process, pending.ready)

    def _join(self, process: Process, pending: Pending, effect: Combine) -> Any:
        """What was done meanwhile, and upon it the combine."""
        assert pending.meanwhile is not None
        step = pending.meanwhile()
        return self._combine(process, pending, effect), step

    def _combine(self, process: Process, pending: Pending, effect: Combine) -> frozenset[int]:
        if process.peer.state.codec is not None:
            return self._combine_compressed(process, pending, effect)
        received = {k: v for k, v in pending.received.items() if isinstance(v, Snapshot)}
        if received:
            own = next(iter(pending.outgoing.values()))
            if effect.meanwhile is None or not isinstance(own, Snapshot):
                own = process.snapshot(effect.net)  # unmoved since it was sent: the peer waits
            self.engine.combine(process, effect, own, received)
        return frozenset(pending.missing)

    def _combine_compressed(
        self, process: Process, pending: Pending, effect: Combine
    ) -> frozenset[int]:
        sent = {k: v for k, v in pending.outgoing.items() if isinstance(v, memoryview)}
        came = {k: v for k, v in pending.received.items() if isinstance(v, memoryview)}
        mixture = decompress(process.peer.state, effect.net, effect.weights, sent, came)
        if mixture.received and mixture.own is not None:
            received = {k: Snapshot.of_value(q) for k, q in mixture.received.items()}
            scaled = replace(effect, weights=mixture.weights)
            self.engine.combine(process, scaled, Snapshot.of_value(mixture.own), received)
        return frozenset(pending.missing) | mixture.unusable

    def _finish(self, process: Process) -> None:
        """The coroutine has ended: nobody waits for this peer any more."""
        process.finished = True
        self._release(process, process.now)

    def _release(self, process: Process, time: float) -> None:
        """Let those go on who wait for what this peer, being past it, will never send."""
        k = process.id
        for waiter in sorted(self._waiters.pop(k, ())):
            other = self.processes[waiter]
            pending = other.pending
            if pending is None or k not in pending.open:
                continue
            if process.is_past(waiter, pending.moments[k]):
                self._do_without(pending, k)
                pending.ready = max(pending.ready, time)
                self._settle(other)
            else:
                self._waiters[k].add(waiter)


def _post(pending: Pending, effect: Exchange, device: torch.device) -> Post:
    """The letters that came and are sound, in id order, as over ZeroMQ."""
    letters: dict[int, Letter] = {}
    missing = set(pending.missing)
    for sender, value in sorted(pending.received.items()):
        try:
            letter = unpack(value if isinstance(value, memoryview) else memoryview(b""))
        except WireError:
            letter = None
        if letter is None or letter.name != effect.name:
            missing.add(sender)
            continue
        # what is read belongs to the reader: senders and other readers keep theirs
        tensors = {name: tensor.clone().to(device) for name, tensor in letter.tensors.items()}
        letters[sender] = Letter(letter.name, tensors, letter.facts)
    return Post(letters, frozenset(missing))

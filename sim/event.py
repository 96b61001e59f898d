"""The event driver: any number of peers in one process, one at a time, in virtual time.

It carries out the same effects as the ZeroMQ driver with the same functions, and is bit-equal to it
where nothing fails: what a peer combines depends on who sent what, never on when.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from peer.combine import combine
from peer.effects import BEFORE_ALL, Combine, Effect, Gradient, Moment, Report, Sleep, Train
from peer.local import carry_out
from peer.peer import Peer
from peer.program import Program, Running
from sim.network import SUSPECT_AFTER, Network


class Observer(Protocol):
    """Is told of every round that a peer completes."""

    def reported(self, process: Process, report: Report) -> None:
        """``process`` has completed ``report.round`` rounds."""


@dataclass
class Exchange:
    """One peer's part in one exchange, from its ``Combine`` until every neighbour is settled."""

    effect: Combine
    own: torch.Tensor  # q_k, (P,)
    ready: float  # when the last of what has come so far came
    open: set[int]  # neighbours of whom nothing is known yet
    received: dict[int, torch.Tensor] = field(default_factory=dict)


@dataclass
class Process:
    """One peer's coroutine and what waits for it."""

    peer: Peer
    running: Running
    now: float = 0.0
    exchange: Exchange | None = None
    passed: Moment = BEFORE_ALL  # the last exchange it has settled
    inbox: dict[tuple[Moment, int], tuple[float, torch.Tensor]] = field(default_factory=dict)
    finished: bool = False
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def id(self) -> int:
        """The peer's id."""
        return self.peer.id


class EventDriver:
    """Runs ``program`` at every peer until all have finished or are away for ever.

    Args:
        peers: every peer by id; their weights name their neighbours.
        program: what each of them runs.
        network: delays, losses, absences.
        deadline: seconds after which an absent neighbour's weight stays on oneself.
        observer: is told of every completed round.
    """

    def __init__(
        self,
        peers: Mapping[int, Peer],
        program: Program,
        network: Network,
        deadline: float,
        observer: Observer | None = None,
    ) -> None:
        self.network = network
        self.deadline = deadline
        self.observer = observer
        self.processes = {k: Process(peer, program.start(peer)) for k, peer in peers.items()}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._entries = 0
        self._scratch: dict[int, torch.Tensor] = {}

    def run(self) -> None:
        """Carry out everything, in the order of virtual time."""
        for process in self.processes.values():
            self._resume_at(process, 0.0, None)
        while self._agenda:
            _, _, action = heapq.heappop(self._agenda)
            action()
        stuck = [p.id for p in self.processes.values() if self._will_act(p)]
        if stuck:
            raise RuntimeError(f"peers {stuck} wait for something that nobody will do")

    def _will_act(self, process: Process) -> bool:
        return not process.finished and self.network.back_at(process.id, process.now) < math.inf

    def _at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, self._entries, action))
        self._entries += 1

    def _resume_at(self, process: Process, time: float, result: Any) -> None:
        """Let the coroutine go on at ``time``, or when its peer is back."""
        time = self.network.back_at(process.id, time)
        if time < math.inf:
            self._at(time, lambda: self._resume(process, time, result))

    def _resume(self, process: Process, time: float, result: Any) -> None:
        """Run the coroutine until it has to wait for something."""
        process.now = time
        while True:
            try:
                effect = process.running.send(result)
            except StopIteration:
                self._finish(process)
                return
            match effect:
                case Combine():
                    self._begin(process, effect)
                    return
                case Report():
                    if self.observer:
                        self.observer.reported(process, effect)
                    result = None
                case Sleep(seconds):
                    self._resume_at(process, process.now + seconds, None)
                    return
                case _:
                    result = carry_out(effect, process.peer.state)
                    process.now += self.network.step * _steps(effect)

    # --- exchanges --------------------------------------------------------------------------------

    def _begin(self, process: Process, effect: Combine) -> None:
        """Send this peer's value to its neighbours, and wait for theirs."""
        k, t, now = process.id, effect.t, process.now
        own = process.peer.state.nets[effect.net].arena.vector.clone()
        process.exchange = exchange = Exchange(effect, own, now, set(effect.weights))
        process.bytes_out += own.nbytes * len(effect.weights)
        for neighbour in sorted(effect.weights):
            other = self.processes[neighbour]
            arrived = process.inbox.pop((t, neighbour), None)
            if arrived is not None:
                self._receive(process, exchange, neighbour, *arrived)
            elif other.finished or other.passed >= t:
                exchange.open.discard(neighbour)  # it went on without us
            else:
                self._expect(process, neighbour, now)
            if not self.network.loses(k, neighbour, t):
                arrival = now + self.network.delay(k, neighbour, t)
                self._deliver(other, k, t, arrival, own)
        self._settle(process)

    def _deliver(
        self, other: Process, sender: int, t: Moment, arrival: float, value: torch.Tensor
    ) -> None:
        """Hand a value over: into the exchange that waits for it, or for one that will."""
        if other.passed >= t:
            return  # late: dropped
        exchange = other.exchange
        if exchange and exchange.effect.t == t:
            if sender in exchange.open:
                self._receive(other, exchange, sender, arrival, value)
                self._settle(other)
        else:
            other.inbox[t, sender] = (arrival, value)

    def _receive(
        self, process: Process, exchange: Exchange, sender: int, arrival: float, value: torch.Tensor
    ) -> None:
        exchange.open.discard(sender)
        exchange.received[sender] = value
        exchange.ready = max(exchange.ready, arrival)
        process.bytes_in += value.nbytes

    def _expect(self, process: Process, neighbour: int, now: float) -> None:
        """Plan when to stop waiting for a neighbour that is away, or whose message is lost."""
        exchange = process.exchange
        assert exchange is not None
        if self.network.loses(process.id, neighbour, exchange.effect.t):
            self._give_up_at(now + self.deadline, process, exchange, neighbour)
        for down, up in self.network.absences.get(neighbour, []):
            if up <= now:
                continue
            suspected = down + SUSPECT_AFTER <= now
            end = now if suspected else max(now, down) + self.deadline
            if end < up:
                self._give_up_at(end, process, exchange, neighbour)
                return

    def _give_up_at(self, end: float, process: Process, exchange: Exchange, neighbour: int) -> None:
        self._at(end, lambda: self._give_up(end, process, exchange, neighbour))

    def _give_up(self, now: float, process: Process, exchange: Exchange, neighbour: int) -> None:
        """The deadline: the neighbour's weight stays on oneself, and it will not get our value."""
        if process.exchange is not exchange or neighbour not in exchange.open:
            return
        exchange.open.discard(neighbour)
        self.processes[neighbour].inbox.pop((exchange.effect.t, process.id), None)
        exchange.ready = max(exchange.ready, now)
        self._settle(process)

    def _settle(self, process: Process) -> None:
        """Once every neighbour is settled: combine, and go on."""
        exchange = process.exchange
        if exchange is None or exchange.open:
            return
        effect = exchange.effect
        w = process.peer.state.nets[effect.net].arena.vector
        scratch = self._scratch.setdefault(len(w), torch.empty_like(w))
        combine(w, exchange.own, exchange.received, effect.weights, scratch)
        process.exchange = None
        process.passed = effect.t
        missing = frozenset(effect.weights) - exchange.received.keys()
        self._resume_at(process, exchange.ready, missing)

    def _finish(self, process: Process) -> None:
        """The coroutine has ended: nobody waits for this peer any more."""
        process.finished = True
        for neighbour in process.peer.neighbours:
            other = self.processes[neighbour]
            exchange = other.exchange
            if exchange and process.id in exchange.open:
                exchange.open.discard(process.id)
                self._settle(other)


def _steps(effect: Effect) -> int:
    """Gradient steps that an effect costs in virtual time."""
    match effect:
        case Train(_, _, steps):
            return steps
        case Gradient():
            return 1
        case _:
            return 0

"""The event driver: any number of peers in one process, in virtual time.

It carries out the same effects as the ZeroMQ driver, and what a peer combines depends on who sent
what, never on when. How local effects and combines are computed is an *engine's* affair: one peer
at a time with the very functions of the ZeroMQ driver, bit-equal to it where nothing fails; or for
many peers at once (:mod:`sim.engines.stacked`).
"""

from __future__ import annotations

import gc
import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch

from peer.compute.compressed_combine import compress, decompress
from peer.effects import Combine, Effect, Exchange, Letter, Now, Post, Report, Sleep
from peer.net.letters import pack, unpack
from peer.net.wire import WireError
from peer.peer import Peer
from peer.program import Program
from sim.engines.eager import Engine, OneByOne
from sim.environment.network import Network
from sim.events.exchanges import Exchanges
from sim.simulated_peer.simulated_peer import Pending, Process, Value
from sim.simulated_peer.snapshots import Snapshot


class Observer(Protocol):
    """Is told of every round that a peer completes."""

    def reported(self, process: Process, report: Report) -> None:
        """``process`` has completed ``report.round`` rounds."""


class EventDriver:
    """Runs ``program`` at every peer until all have finished or are away for ever.

    Attributes:
        pause_after: completed by all peers, when the next pause is (see :meth:`run`).
        is_asked_to_pause: whether it is to be as soon as can be.
        held: who waits for the others.

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
        self.observer = observer
        self.processes = {k: Process(peer, program.start(peer)) for k, peer in peers.items()}
        self.exchanges = Exchanges(self.processes, network, deadline, self._at, self._settled)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._entries = 0
        self.pause_after: int | None = None
        self.is_asked_to_pause: Callable[[], bool] = bool
        self.held: list[Process] = []

    def run(self, paused: Callable[[int], int | None] | None = None) -> None:
        """Carry out everything, in the order of virtual time.

        Peers that have completed :attr:`pause_after` rounds wait for all others to; then ``paused``
        is called with that round, and returns after which to pause next, if after any. In a pause
        nothing is under way but what is over, so what every peer is then is all that there is.
        """
        for process in self.processes.values():
            if not process.is_gone:
                self._resume_at(process, process.now)
        gc.freeze()  # what is there stays: ten thousand peers are not to be looked through for ever
        try:
            self._carry_on()
            while self._is_paused():
                assert paused is not None
                assert self.pause_after is not None
                waiting = {process.id for process in self.held}
                for process in self.processes.values():
                    self.engine.settle(process)
                    process.is_gone = not process.finished and process.id not in waiting
                self.pause_after = paused(self.pause_after)
                held, self.held = self.held, []
                for process in held:
                    self._resume_at(process, process.now)
                self._carry_on()
        finally:
            gc.unfreeze()
            for process in self.processes.values():
                process.running.close()  # who is away for ever goes no further
                self.engine.settle(process)
            self.engine.finish()
        stuck = [p.id for p in self.processes.values() if self._will_act(p)]
        if stuck:
            raise RuntimeError(f"peers {stuck} wait for something that nobody will do")

    def _carry_on(self) -> None:
        """Moment by moment: all that is to be done in it, and then what comes of what was said."""
        while self._agenda:
            self._take_turn(self._agenda[0][0])
            self.exchanges.hand_over(self.exchanges.take_said())

    def _take_turn(self, until: float, before: float = math.inf) -> None:
        """Carry out what is to be done up to that time, and was planned ``before`` that entry."""
        while self._agenda and self._agenda[0][0] <= until and self._agenda[0][1] < before:
            _, _, action = heapq.heappop(self._agenda)
            action()

    def _is_paused(self) -> bool:
        """Whether nothing is left to do but what was put off."""
        return bool(self.held)

    def any_asked(self, here: bool) -> bool:
        """Whether something is so here or, asked of all in a pause, in another process."""
        return here

    def _newest(self) -> int:
        """The round that nobody here is beyond."""
        return max((process.peer.round + 1 for process in self.processes.values()), default=0)

    def _look_whether_to_pause(self) -> None:
        """Once asked to, pause as soon as all can at the same round."""
        if self.is_asked_to_pause():
            self._pause_by(self._newest())

    def _pause_by(self, round: int) -> None:
        self.pause_after = round if self.pause_after is None else min(round, self.pause_after)

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
                process.finished = True
                self.exchanges.tell(process, time)  # nobody waits for it any more
                return
            match effect:
                case Combine() | Exchange():
                    self._exchange(process, effect)
                    return
                case Report():
                    if self.observer:
                        self.observer.reported(process, effect)
                    self.exchanges.tell(process, time)
                    self._look_whether_to_pause()
                    if effect.round == self.pause_after:
                        self.held.append(process)
                    else:
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

    def _exchange(self, process: Process, effect: Combine | Exchange) -> None:
        """Begin an exchange, and the local steps that are taken meanwhile."""
        pending = Pending(effect, _outgoing(process, effect), process.now)
        if isinstance(effect, Combine) and effect.meanwhile is not None:
            pending.ready += self.network.compute(process.peer.state, effect.meanwhile)
            pending.meanwhile = self.engine.submit(process, effect.meanwhile)
        self.exchanges.begin(process, pending)

    def _settled(self, process: Process, pending: Pending) -> None:
        """Nothing more comes: combine, or hand the letters over, and go on."""
        effect = pending.effect
        if isinstance(effect, Exchange):
            post = _post(pending, effect, process.peer.state.device)
            self._resume_at(process, pending.ready, post)
        elif pending.meanwhile is not None:
            self._go_on_at(
                process, pending.ready, lambda: lambda: self._join(process, pending, effect)
            )
        else:
            self._resume_at(process, pending.ready, self._combine(process, pending, effect))

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

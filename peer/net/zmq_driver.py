"""The ZeroMQ driver: one peer on one machine.

The compute thread runs the coroutine and its local effects here; the I/O thread
(:mod:`peer.net.io_thread`) swaps values meanwhile.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from peer.compute.combine import StreamingCombine, combine, listening_weights, transfer
from peer.compute.compressed_combine import (
    Mixture,
    change_by,
    compress,
    decoded_values,
    decompress,
)
from peer.compute.execute import carry_out, prepare_compute_thread
from peer.data.agreement import Agreed
from peer.effects import Combine, Exchange, Letter, Moment, Now, Post, Report, Sleep
from peer.net.away.failure_detector import Timing
from peer.net.away.late_comer import LateComer
from peer.net.commands import Part
from peer.net.doubt.doubts import Doubts
from peer.net.events import Arriving, Outcome
from peer.net.io_thread import IoThread, Result
from peer.net.members.taking_part import TakingPart
from peer.net.transfer.chunks import Payload
from peer.net.transfer.letters import PREFIX, pack, unpack
from peer.net.transfer.send_buffers import SendBuffer, SendBuffers
from peer.peer import Peer
from peer.program import Program
from peer.state.flight.recorder import FlightRecorder
from peer.state.journal.journal import Journal
from topology.errors import UserError

HURRY = 5.0
"""Seconds that a peer that is to stop still waits for neighbours, so as to finish its round."""

PATIENCE = 1.0
"""Seconds in which a peer that was stopped, or crashed, sends what it owes."""


Wished = tuple[int, ...] | None
"""The links of a peer that joins; none at all: those that the file gives it. None: it does not."""


class Stopped(Exception):
    """Asked to stop before a round was completed: whatever was begun is dropped."""


class ZmqDriver:
    """Runs ``program`` for one peer until it ends.

    Args:
        peer: the facade over the peer's state.
        io: an I/O thread, not yet started.
        report: is called with each :class:`Report` (records, checkpoints); returns whether another
            round is to follow.
        stop: once set, neighbours are waited for no longer than it takes to finish the round.
        agree: is called with the classes that all peers have agreed on, before the program starts;
            None where there is nothing to agree on.
        catch_up: rounds; who is further behind than that leaves them out.
        flight: records what shapes the run.
        clock: tells the time, in seconds; a simulator gives its own.
        journal: tells again what was told to processes of this peer before; it is ``io``'s, too.

    Attributes:
        began: rounds that the peer had completed when this driver took it over.
    """

    def __init__(
        self,
        peer: Peer,
        io: IoThread,
        report: Callable[[Report], bool],
        stop: threading.Event,
        agree: Callable[[Agreed], None] | None = None,
        catch_up: int = Timing.catch_up,
        flight: FlightRecorder | None = None,
        clock: Callable[[], float] = time.monotonic,
        journal: Journal | None = None,
    ) -> None:
        self.peer = peer
        self.io = io
        self.report = report
        self.stop = stop
        self.agree = agree
        self.flight = flight or FlightRecorder()
        self.clock = clock
        self.journal = journal
        self._buffers = SendBuffers()
        self.began = peer.state.round
        self._hurries = False
        self._late = LateComer(catch_up)
        self._doubts = Doubts(peer, io, self.flight)
        self.taking_part = TakingPart(peer)

    def run(self, program: Program, threads: int, patience: float, join: Wished = None) -> bool:
        """Carry out the program, ``join`` first if asked to; returns False where it was stopped.

        Raises:
            UserError: a neighbour runs another experiment, or all are about to finish.
            Stopped: asked to stop while waiting for a neighbour in the very first round.
        """
        prepare_compute_thread(threads)
        self.io.start()
        reason = "crashed"
        try:
            if self.agree is not None:
                self.agree(self._agreed())
            if join is not None:
                self._join(join, program.rounds)
            is_complete = self._carry_out(program)
            reason = "finished" if is_complete else "stopped"
            return is_complete
        except Stopped:
            reason = "stopped"
            raise
        finally:
            self.flight.ended(self.peer.state.round, reason)
            patience = PATIENCE if reason == "crashed" or self.stop.is_set() else patience
            self.io.finish(self.peer.state.round, patience, reason)

    def _carry_out(self, program: Program) -> bool:
        """Run the coroutine; returns False where it was stopped before its end."""
        result: Any = None
        skips = self._skips_again()  # after the checkpoint that it goes on from
        if skips is not None:
            self.flight.skipped(skips)
            self.peer.go_on_in(skips)
        with contextlib.closing(program.start(self.peer)) as running:
            while True:
                try:
                    effect = running.send(result)
                except StopIteration:
                    self.flight.asked()  # what is told from now on comes behind the last effect
                    self._doubts.wait(HURRY, self.clock, self.stop)
                    if self.taking_part.departure() is not None:
                        self.stop.wait(HURRY / 2)  # who is in doubt of us asks within that time
                    return True
                self.flight.asked()
                if isinstance(effect, Combine | Exchange):  # a place that can be found again
                    self._doubts.resolve()
                match effect:
                    case Combine():
                        result = self._combine(effect)
                    case Exchange():
                        result = self._exchange(effect)
                    case Report():
                        self._take_members()
                        self.flight.completed(self.peer.state)
                        if not self.report(effect) and effect.round < program.rounds:
                            return False
                        result = self._go_on(effect.round, program.rounds)
                    case Now():
                        result = self.clock()
                        self.flight.told_time(result)
                    case Sleep(seconds):
                        if not self._is_told_again:
                            self.stop.wait(seconds)
                        result = None
                    case _:
                        result = carry_out(effect, self.peer.state)

    @property
    def _is_told_again(self) -> bool:
        """Whether a process of this peer before this one was here."""
        return self.journal is not None and bool(self.journal.events)

    def _skips_again(self) -> int | None:
        """The round in which a process of this peer before this one went on from here, if so."""
        return None if self.journal is None else self.journal.skip_again()

    def _go_on(self, round: int, rounds: int) -> int | None:
        """Where the others went on without this peer and are far ahead: the round to join them."""
        if self._is_told_again:
            target = self._skips_again()
        else:
            ahead = self.io.furthest
            target = self._late.target(round, ahead, rounds)
            if target is not None:
                self.io.go_on(target)
                left_out = f"{ahead - round:,} rounds behind; going on in round {target + 1}"
                once_more = "of a net nobody's values came; takes them in the next round, too"
                self.io.log(f"round {round}: {left_out if target > round else once_more}")
        if target is not None:
            self.flight.skipped(target)
        return target

    def _join(self, links: tuple[int, ...], rounds: int) -> None:
        """Ask to take part, and begin in the round that is named, with the others' nets."""
        self.io.wish(links)
        while (joining := self.io.members.joining(self.peer.id)) is None:
            with contextlib.suppress(queue.Empty):
                told = self.io.results.get(timeout=0.1)
                if isinstance(told, Exception):
                    raise told
            if self.stop.is_set():
                raise Stopped
        if joining.round >= rounds:
            raise UserError(f"--join: the others are about to finish their {rounds} rounds")
        self._take_members()
        if joining.round > self.peer.round:
            self.flight.skipped(joining.round)
            self.peer.go_on_in(joining.round)

    def _take_members(self) -> None:
        """From the round to come on, all counts that is known of who takes part."""
        if self.taking_part.take(self.io.members):
            self.flight.members_changed(self.taking_part.members)
        for k in self._doubts.held.held() if self.taking_part.members.changes else ():
            if self.taking_part.is_gone(k, self.io.status.phases):
                self._doubts.drop(k)
                self.io.release(k)

    def _part(self, t: Moment, net: str, value: Payload | None = None, **how: Any) -> Part:
        return Part(t, net, value, epoch=self.taking_part.members.epoch(t.round), **how)

    # --- exchanges --------------------------------------------------------------------------------

    def _listen(self, effect: Combine) -> frozenset[int]:
        """Take the mean of the neighbours' values; returns those that sent none."""
        state, net = self.peer.state, effect.net
        self.io.begin({k: self._part(effect.moments[k], net) for k in effect.weights})
        outcome = self._wait()
        if state.codec is None:
            received = {k: _floats(value) for k, value in outcome.received.items()}
        else:
            received = decoded_values(state, net, outcome.received)
        w = state.nets[net].arena.vector
        on_device = {k: value.to(w.device) for k, value in received.items()}
        combine(w, None, on_device, listening_weights(received, effect.weights))
        self._late.heard(bool(received))
        return frozenset(effect.weights.keys() - received.keys())

    def _combine(self, effect: Combine) -> Any:
        """Swap with the neighbours; returns those that stayed away, and what was done meanwhile."""
        if not effect.weights:
            return _both(effect, frozenset(), self._meanwhile(effect))
        if effect.listens:
            return self._listen(effect)
        if self.peer.state.codec is not None:
            return self._combine_compressed(effect)
        w = self.peer.state.nets[effect.net].arena.vector
        waits = effect.meanwhile is None  # then w is what was sent
        own = self._begin_combine(effect, w, in_pieces=waits)
        step = self._meanwhile(effect)
        moved = w if w.device.type == "cpu" else w.cpu()
        gradual = StreamingCombine(moved, own.vector, effect.weights)
        try:
            outcome = self._wait(gradual)
        except BaseException:
            gradual.undo()
            raise
        received = {k: _floats(value) for k, value in outcome.received.items()}
        in_doubt = {k: _floats(value) for k, value in outcome.in_doubt.items()}
        came = len(received) + len(in_doubt) + len(outcome.missing)
        if came == len(effect.weights):  # none is used up in pieces
            gradual.undo()
            combine(moved, None if waits else own.vector, received, effect.weights)
        for k, q in in_doubt.items():
            self._doubts.hold(effect, k, transfer(q, own.vector, effect.weights[k]))
        if moved is not w:
            w.copy_(moved)
        return _both(effect, self._doubts.absent(effect, outcome), step)

    def _begin_combine(self, effect: Combine, w: torch.Tensor, in_pieces: bool) -> SendBuffer:
        """Send ``w`` to every neighbour, its beginning while the rest is still being copied."""
        while not self.io.released.empty():
            self._buffers.release(self.io.released.get())
        moments = {k: effect.moments[k] for k in effect.weights}
        own = self._buffers.next(effect.net, len(w), moments)
        parts = {k: self._part(t, effect.net, own) for k, t in moments.items()}
        if len(w) <= own.STEP:  # copied in one go, it costs the I/O thread one turn less
            own.fill(w, _nobody)
            self.io.begin(parts, in_pieces)
        else:
            self.io.begin(parts, in_pieces)
            own.fill(w, self.io.wake)
        return own

    def _meanwhile(self, effect: Combine) -> Any:
        """The local steps that are taken while values are under way, if any."""
        return effect.meanwhile and carry_out(effect.meanwhile, self.peer.state)

    def _combine_compressed(self, effect: Combine) -> Any:
        """The same with encoded values; as for letters, links hold their memory."""
        state = self.peer.state
        sent = compress(state, effect.net, effect.weights)
        self.io.begin({k: self._part(effect.moments[k], effect.net, sent[k]) for k in sent})
        step = self._meanwhile(effect)
        outcome = self._wait()
        for k, value in outcome.in_doubt.items():
            change = change_by(state, effect.net, effect.weights, sent, k, value)
            if change is not None:
                self._doubts.hold(effect, k, change)
        mixture = decompress(state, effect.net, effect.weights, sent, outcome.received)
        self._mix(state.nets[effect.net].arena.vector, mixture)
        return _both(effect, self._doubts.absent(effect, outcome) | mixture.unusable, step)

    def _mix(self, w: torch.Tensor, mixture: Mixture) -> None:
        """Combine decoded values."""
        combine(w, mixture.own, mixture.received, mixture.weights)

    def _exchange(self, effect: Exchange) -> Post:
        """Send letters, take letters."""
        if not effect.moments:
            return Post({}, frozenset())
        packed: dict[int, memoryview] = {}  # one letter to many is packed once
        for letter in effect.letters.values():
            if id(letter) not in packed:
                packed[id(letter)] = pack(letter)
        parts = {}
        for neighbour, t in effect.moments.items():
            ours = effect.letters.get(neighbour)
            name = PREFIX + (effect.name if ours is None else ours.name)
            payload = None if ours is None else packed[id(ours)]
            how = {"wants": neighbour in effect.senders, "conserved": effect.conserved}
            parts[neighbour] = self._part(t, name, payload, **how)
        self.io.begin(parts)
        outcome = self._wait()
        device = self.peer.state.device
        letters = {k: _opened(outcome.received[k], device) for k in sorted(outcome.received)}
        if self.journal is not None:
            self._doubts.held.note_taken({k: effect.moments[k] for k in letters})
        for k in outcome.unsure:
            self._doubts.held.doubt_letter(k, effect.moments[k])
        return Post(letters, frozenset(outcome.missing), frozenset(outcome.unsure))

    def _wait(self, gradual: StreamingCombine | None = None) -> Outcome:
        """What came of the exchange, or what went wrong; what comes in pieces is combined."""
        while True:
            match self._result():
                case Arriving(neighbour, piece, others):
                    assert gradual is not None
                    floats = {k: _floats(value) for k, value in others.items()}
                    gradual.add(neighbour, piece.start // 4, _floats(piece.body), floats)
                case Outcome() as outcome:
                    round = self.peer.state.round
                    absent = outcome.missing | outcome.in_doubt.keys()
                    self.flight.exchanged(round, absent, outcome.senders, outcome.in_doubt)
                    return outcome
                case Exception() as problem:
                    raise problem

    def _agreed(self) -> Agreed:
        """What the peers have agreed on, once they have."""
        while True:
            match self._result():
                case Agreed() as agreed:
                    return agreed
                case Exception() as problem:
                    raise problem

    def _result(self) -> Result:
        """What the I/O thread says next."""
        while True:
            try:
                return self.io.results.get(timeout=0.2)
            except queue.Empty:
                if self.stop.is_set():
                    if self.peer.state.round == self.began:
                        raise Stopped from None  # where it began is on the disk, or made anew
                    if not self._hurries:
                        self._hurries = True
                        self.io.hurry(HURRY)


def _nobody() -> None:
    """Is told that there is more, and need not know."""


def _both(effect: Combine, missing: frozenset[int], step: Any) -> Any:
    """What the coroutine gets back."""
    return missing if effect.meanwhile is None else (missing, step)


def _floats(value: memoryview) -> torch.Tensor:
    """The same memory."""
    return torch.from_numpy(np.frombuffer(value, dtype="<f4"))


def _opened(value: memoryview, device: torch.device) -> Letter:
    """The letter in a value that was found sound when it came, on the peer's device."""
    letter = unpack(value)
    tensors = {name: tensor.to(device) for name, tensor in letter.tensors.items()}
    return Letter(letter.name, tensors, letter.facts)

"""One peer's process: the real state, endpoint, driver and checkpoints, on simulated sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from peer.compute.compressed_combine import Mixture
from peer.compute.held_transfers import Held, HeldTransfers
from peer.effects import Combine, Moment, Report
from peer.net.doubt.doubts import Doubts
from peer.net.endpoint import Endpoint
from peer.net.io_thread import IoThread
from peer.net.recorded.io import with_journal
from peer.net.session import Identity
from peer.net.zmq_driver import ZmqDriver
from peer.peer import Peer
from peer.runtime.links import make_links
from peer.state import PeerState
from peer.state.flight.recorder import FlightRecorder
from peer.state.journal.journal import Journal
from sim.torture.books.ledger import DROPPED, UNUSED, USED, Ledger
from sim.torture.chaos.scenario import Fault
from sim.torture.setting import Setting
from sim.torture.world.agenda import Agenda
from sim.torture.world.compute_thread import ComputeThread
from sim.torture.world.io import SimulatedIo, SimulatedStop
from sim.torture.world.machine import Machine
from sim.torture.world.network import Network
from topology.errors import UserError

Ledgers = Mapping[str, Ledger]
"""By net."""

STARTED_AGAIN = 1.0
"""Seconds after which a process is started again that ended as its journal could not be written."""


class WatchedDoubts(Doubts):
    """Doubts whose transfers are entered in the ledgers."""

    def __init__(
        self,
        peer: Peer,
        io: IoThread,
        flight: FlightRecorder,
        ledgers: Ledgers,
        reach: Callable[[str], None],
    ) -> None:
        super().__init__(peer, io, flight)
        self.held = WatchedTransfers(peer.state, ledgers, reach)
        self._me = peer.id
        self._ledgers = ledgers
        self._reach = reach

    def hold(self, effect: Combine, neighbour: int, change: torch.Tensor) -> None:
        """Hold apart, and say so."""
        self._ledgers[effect.net].held(self._me, effect, neighbour, change)
        super().hold(effect, neighbour, change)
        self._reach("held apart")


class WatchedTransfers(HeldTransfers):
    """The transfers held apart, which the ledger hears of."""

    def __init__(self, state: PeerState, ledgers: Ledgers, reach: Callable[[str], None]) -> None:
        super().__init__(state)
        self._ledgers = ledgers
        self._reach = reach
        self._drops = False

    def resolve(self, neighbour: int, t: Moment, is_used: bool) -> Held | None:
        """Use what is held, or do not."""
        known = self.held().get(neighbour)
        if known is None:
            return super().resolve(neighbour, t, is_used)
        w = self.state.nets[known.net].arena.vector
        change = self.state.tensors[f"in doubt/{neighbour}"]
        ledger = self._ledgers[known.net]
        ledger.changed(self.state.peer, w)
        held = super().resolve(neighbour, t, is_used)
        if held is not None:
            status = USED if is_used else DROPPED if self._drops else UNUSED
            ledger.resolved(self.state.peer, neighbour, t, status, change, w)
            self._reach("resolved")
        return held

    def drop(self, neighbour: int) -> float:
        """It will never be known."""
        self._drops = True
        norm = super().drop(neighbour)
        self._drops = False
        return norm


class WatchedDriver(ZmqDriver):
    """The ZeroMQ driver; what it does to nets is written into the ledger, and checked there."""

    def __init__(
        self,
        peer: Peer,
        io: SimulatedIo,
        report: Callable[[Report], bool],
        ledgers: Ledgers,
        catch_up: int,
        journal: Journal | None,
    ) -> None:
        taken = cast(IoThread, io)
        taken, clock = with_journal(taken, journal, peer.state, lambda: io.clock.now)
        super().__init__(
            peer,
            taken,
            report,
            cast(threading.Event, SimulatedStop(io)),
            None,
            catch_up,
            clock=clock,
            journal=journal,
        )
        self._ledgers = ledgers
        self._reach = io.reach
        self._decoded: dict[int, torch.Tensor] | None = None  # changes by neighbour
        self._doubts = WatchedDoubts(peer, taken, self.flight, ledgers, io.reach)

    def _combine(self, effect: Combine) -> Any:
        if not effect.weights:
            return super()._combine(effect)
        me, w = self.peer.id, self.peer.state.nets[effect.net].arena.vector
        ledger = self._ledgers[effect.net]
        ledger.changed(me, w)
        self._reach("combine begins")
        if effect.listens:
            missing = super()._combine(effect)
            ledger.jumped(me, w)
            return missing
        self._decoded = None
        if self.peer.state.codec is None:
            ledger.sends(me, effect, w)
        else:
            ledger.begins(me, effect)
        result = super()._combine(effect)
        absent = result[0] if effect.meanwhile else result
        held = self._doubts.held.held()
        in_doubt = [k for k in absent if k in held and held[k].t == effect.moments[k]]
        ledger.combined(me, effect, absent, in_doubt, w, self._decoded)
        self._reach("combined")
        return result

    def _mix(self, w: torch.Tensor, mixture: Mixture) -> None:
        own = mixture.own
        self._decoded = {
            k: mixture.weights[k] * (q - own)
            for k, q in mixture.received.items()
            if own is not None
        }
        super()._mix(w, mixture)


@dataclass(frozen=True)
class World:
    """What all processes of a trial share.

    Attributes:
        agenda: the time.
        network: what they are connected by.
        setting: what they run.
        ledgers: of what they do to their nets.
        jitter: how long a compute thread that may go on takes to do so.
    """

    agenda: Agenda
    network: Network
    setting: Setting
    ledgers: Ledgers
    jitter: Callable[[], float]


class Process:
    """One process of a peer, from its start to its end, or to its crash.

    Args:
        world: where it runs.
        state: that it begins with.
        session: the number of this process among all.
        machine: its clock and its disk.
        report: is called whenever a round is complete, by the compute thread.
        log: gets the lines that a user would read.
        ended: is called with what went wrong, if anything, when it has ended by itself.
    """

    def __init__(
        self,
        world: World,
        state: PeerState,
        session: int,
        machine: Machine,
        report: Callable[[Process], None],
        log: Callable[[str], None],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self.state = state
        self.peer = state.peer
        self.network = network = world.network
        clock, journal, catch_up = machine.clock, machine.journal, world.setting.experiment.catch_up
        experiment, program = world.setting.experiment, world.setting.program
        self.neighbours = sorted(experiment.schedule.union().neighbors(self.peer))
        me = Identity(self.peer, session, {"graph": "torture"}, {})
        links = make_links(experiment, state, me, self.neighbours, True, clock.now, journal)
        endpoint = Endpoint(links, {k: f"peer {k}" for k in links}, clock.now)
        self.io = SimulatedIo(world.agenda, clock, network, self.peer, endpoint, log, world.jitter)

        def reported(effect: Report) -> bool:
            report(self)
            return True

        def body() -> None:
            peer = Peer(state, experiment.schedule, experiment.weights)
            machine.write(session)
            driver = WatchedDriver(peer, self.io, reported, world.ledgers, catch_up, journal)
            driver.run(program, 1, experiment.longest_deadline)

        def supervised() -> None:
            try:
                body()
            except UserError:
                if not machine.may_end:
                    raise
                self.io.die(Fault("crash", world.agenda.now, STARTED_AGAIN, self.peer))

        self.io.thread = self._thread = ComputeThread(supervised, ended)
        network.disconnect(self.peer, self.neighbours)
        network.processes[self.peer] = self.io
        world.agenda.at(world.agenda.now + world.jitter(), self._thread.resume)

    @property
    def is_over(self) -> bool:
        """Whether it has ended by itself."""
        return self._thread.is_over and not self._thread.is_killed

    @property
    def problem(self) -> BaseException | None:
        """What went wrong in it."""
        return self._thread.problem

    def kill(self) -> None:
        """It crashes."""
        self._thread.kill()
        del self.network.processes[self.peer]
        self.network.disconnect(self.peer, self.neighbours)

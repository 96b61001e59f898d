"""One peer's process: the real state, endpoint and driver, on simulated sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import torch

from peer.compute.held_transfers import Held, HeldTransfers
from peer.effects import Combine, Moment, Report
from peer.experiment import Experiment
from peer.net.endpoint import Endpoint
from peer.net.io_thread import IoThread
from peer.net.session import Identity
from peer.net.zmq_driver import ZmqDriver
from peer.peer import Peer
from peer.program import Program
from peer.runtime.links import make_links
from peer.state import PeerState
from sim.torture.agenda import Agenda
from sim.torture.compute_thread import ComputeThread
from sim.torture.io import SimulatedIo, SimulatedStop
from sim.torture.ledger import DROPPED, UNUSED, USED, Ledger
from sim.torture.network import Network


class WatchedTransfers(HeldTransfers):
    """The transfers held apart, which the ledger hears of."""

    def __init__(self, state: PeerState, ledger: Ledger) -> None:
        super().__init__(state)
        self._ledger = ledger
        self._drops = False

    def resolve(self, neighbour: int, t: Moment, is_used: bool) -> Held | None:
        """Use what is held, or do not."""
        known = self.held().get(neighbour)
        if known is None:
            return super().resolve(neighbour, t, is_used)
        w = self.state.nets[known.net].arena.vector
        change = self.state.tensors[f"in doubt/{neighbour}"]
        self._ledger.changed(self.state.peer, w)
        held = super().resolve(neighbour, t, is_used)
        if held is not None:
            status = USED if is_used else DROPPED if self._drops else UNUSED
            self._ledger.resolved(self.state.peer, neighbour, t, status, change, w)
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
        ledger: Ledger,
        catch_up: int,
    ) -> None:
        agenda, stop = io.agenda, SimulatedStop(io)
        super().__init__(
            peer,
            cast(IoThread, io),
            report,
            cast(threading.Event, stop),
            None,
            catch_up,
            clock=lambda: agenda.now,
        )
        self._ledger = ledger
        self._held: WatchedTransfers = WatchedTransfers(peer.state, ledger)

    def _combine(self, effect: Combine) -> Any:
        if not effect.weights:
            return super()._combine(effect)
        me, w = self.peer.id, self.peer.state.nets[effect.net].arena.vector
        self._ledger.changed(me, w)
        if effect.listens:
            missing = super()._combine(effect)
            self._ledger.jumped(me, w)
            return missing
        self._ledger.sends(me, effect, w)
        result = super()._combine(effect)
        absent = result[0] if effect.meanwhile else result
        held = self._held.held()
        in_doubt = [k for k in absent if k in held and held[k].t == effect.moments[k]]
        self._ledger.combined(me, effect, absent, in_doubt, w)
        return result

    def _hold(self, effect: Combine, neighbour: int, change: torch.Tensor) -> None:
        self._ledger.held(self.peer.id, effect, neighbour, change)
        super()._hold(effect, neighbour, change)


class Process:
    """One process of a peer, from its start to its end, or to its crash.

    Args:
        agenda: the time.
        network: what it is connected by.
        experiment: what all peers agree on.
        program: what it runs.
        state: that it begins with.
        session: the number of this process among all.
        ledger: of all peers.
        report: is called with the state whenever a round is complete.
        log: gets the lines that a user would read.
        jitter: how long a compute thread that may go on takes to do so.
    """

    def __init__(
        self,
        agenda: Agenda,
        network: Network,
        experiment: Experiment,
        program: Program,
        state: PeerState,
        session: int,
        ledger: Ledger,
        report: Callable[[PeerState], None],
        log: Callable[[str], None],
        jitter: Callable[[], float],
    ) -> None:
        self.state = state
        self.peer = state.peer
        self.network = network
        self.neighbours = sorted(experiment.schedule.union().neighbors(self.peer))
        me = Identity(self.peer, session, {"graph": "torture"}, {})
        links = make_links(experiment, state, me, self.neighbours, True, agenda.now)
        self.endpoint = Endpoint(links, {k: f"peer {k}" for k in links}, agenda.now)
        self.io = SimulatedIo(agenda, network, self.peer, self.endpoint, log, jitter)
        self.is_complete = False

        def reported(effect: Report) -> bool:
            report(state)
            return True

        def body() -> None:
            peer = Peer(state, experiment.schedule, experiment.weights)
            driver = WatchedDriver(peer, self.io, reported, ledger, experiment.catch_up)
            self.is_complete = driver.run(program, 1, experiment.longest_deadline)

        self.io.thread = self._thread = ComputeThread(body)
        network.disconnect(self.peer, self.neighbours)
        network.processes[self.peer] = self.io
        agenda.at(agenda.now + jitter(), self._thread.resume)

    @property
    def is_over(self) -> bool:
        """Whether it has ended by itself."""
        return self._thread.is_over

    @property
    def problem(self) -> BaseException | None:
        """What went wrong in it."""
        return self._thread.problem

    def kill(self) -> None:
        """It crashes."""
        self._thread.kill()
        del self.network.processes[self.peer]
        self.network.disconnect(self.peer, self.neighbours)

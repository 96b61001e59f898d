"""``durability: exact`` in the torture chamber: crashes and power cuts take nothing back.

The processes have journals, on disks that forget what was not synced. A peer that goes on from its
checkpoint comes, by its journal, to where it was: every transfer is made at both ends of its link,
or at none, and the sum over peers is what it must be, with no allowance for crashes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from sim.torture.audit import imbalance
from sim.torture.compute_thread import ComputeThread
from sim.torture.io import SimulatedIo, SimulatedStop
from sim.torture.ledger import Ledger
from sim.torture.network import Rates
from sim.torture.scenario import Fault

from peer.effects import Report
from peer.net.endpoint import Endpoint
from peer.net.io_thread import IoThread
from peer.net.recorded.io import RecordedIo
from peer.net.session import Identity
from peer.net.zmq_driver import ZmqDriver
from peer.peer import Peer
from peer.runtime.links import make_links
from peer.state import PeerState
from peer.state.journal.journal import Journal
from sim.environment.disk import PowerCut, SimulatedDisk
from sim.torture.chaos import draw_scenario
from sim.torture.process import Process, WatchedDriver, WatchedTransfers
from sim.torture.programs import state_of
from sim.torture.trial import Trial, Verdict, _no_collection

FOLDER = Path("/run/peer")


class Disk(SimulatedDisk):
    """A peer's disk; where the power is cut, its process does nothing any more."""

    off: Callable[[], None]

    def operate(self, path: Path | None = None, mount: int | None = None) -> None:
        try:
            super().operate(path, mount)
        except PowerCut:
            self.off()
            raise


class ExactDriver(WatchedDriver):
    """The same, with a journal."""

    def __init__(
        self,
        peer: Peer,
        io: SimulatedIo,
        journal: Journal,
        report: Callable[[Report], bool],
        ledger: Ledger,
        catch_up: int,
    ) -> None:
        agenda, recorded = io.agenda, RecordedIo(cast(IoThread, io), journal, peer.state)
        ZmqDriver.__init__(
            self,
            peer,
            cast(IoThread, recorded),
            report,
            cast(threading.Event, SimulatedStop(io)),
            None,
            catch_up,
            clock=recorded.clock(lambda: agenda.now),
            journal=journal,
        )
        self._ledger = ledger
        self._doubts.held = self._watched = WatchedTransfers(peer.state, ledger)


class ExactProcess(Process):
    """One process of a peer with a journal."""

    def __init__(self, trial: ExactTrial, state: PeerState, session: int) -> None:
        self.state, self.peer, self.network = state, state.peer, trial.network
        experiment, agenda = trial.experiment, trial.agenda
        self.neighbours = sorted(experiment.schedule.union().neighbors(self.peer))
        disk = trial.disks[self.peer]
        self.journal = journal = Journal(FOLDER, state.round, disk)
        me = Identity(self.peer, session, {"graph": "torture"}, {})
        links = make_links(experiment, state, me, self.neighbours, True, agenda.now, journal)
        self.endpoint = Endpoint(links, {k: f"peer {k}" for k in links}, agenda.now)
        log, jitter = partial(trial._note, self.peer), trial.jitter
        self.io = SimulatedIo(agenda, trial.network, self.peer, self.endpoint, log, jitter)
        self.is_complete = False

        def reported(effect: Report) -> bool:
            trial._report(state)
            return True

        def body() -> None:
            peer = Peer(state, experiment.schedule, experiment.weights)
            driver = ExactDriver(
                peer, self.io, journal, reported, trial.ledger, experiment.catch_up
            )
            try:
                journal.begin(session)
                self.is_complete = driver.run(trial.program, 1, experiment.longest_deadline)
            except PowerCut:
                agenda.at(agenda.now, partial(trial.lose_power, self.peer, self))

        def off() -> None:
            self._thread.is_killed = True

        disk.off = off
        self.io.thread = self._thread = ComputeThread(body)
        self.network.disconnect(self.peer, self.neighbours)
        self.network.processes[self.peer] = self.io
        agenda.at(agenda.now + jitter(), self._thread.resume)


class ExactTrial(Trial):
    """A scenario, of processes with journals; power cuts come besides."""

    cuts = 0

    def run(self) -> Verdict:
        self.agenda.at(self.scenario.heals_at, self._keep_the_power_on)
        return super().run()

    def _keep_the_power_on(self) -> None:
        for disk in self.disks.values():
            disk.cut_at = None

    def _start(self, state: PeerState) -> None:
        if not self._sessions:
            self.draw = np.random.default_rng(self.scenario.seed)
            self.disks: dict[int, Disk] = {}
            scenario, draw = self.scenario, self.network.draw
            self.jitter = lambda: scenario.jitter * draw() if scenario.jitter else 0.0
        k = state.peer
        if k not in self.disks:
            self.disks[k] = Disk(short=self.draw)
            self.disks[k].make_folder(FOLDER.parent)
            self.disks[k].sync_folder(FOLDER.parent.parent)
        disk = self.disks[k]
        if self.agenda.now < 0.7 * self.scenario.heals_at and self.draw.random() < 0.6:
            disk.cut_at = disk.operations + 8 + int(self.draw.geometric(0.02))
        self._sessions += 1
        try:
            self.processes[k] = ExactProcess(self, state, 1000 + self._sessions)
        except PowerCut:
            disk.crash(self.draw)
            self._start(state)

    def _report(self, state: PeerState) -> None:
        """A round is complete; a checkpoint is in place all at once."""
        process, k = self.processes[state.peer], state.peer
        assert isinstance(process, ExactProcess)
        due = state.round % self.scenario.checkpoint == 0 and not process.journal.events
        if due:
            process.journal.go_on_in(state.round)
        before = self._saved[k]
        super()._report(state)
        if not due:
            self._saved[k] = before
        else:
            process.journal.tidy(state.round)

    def lose_power(self, peer: int, process: ExactProcess) -> None:
        if self.processes.get(peer) is process:
            self.cuts += 1
            self._note(peer, "loses power")
            self.processes.pop(peer).kill()
            self._frozen.pop(peer, None)
            self.disks[peer].crash(self.draw)
            self.agenda.at(self.agenda.now + 0.5, partial(self._restart, peer))

    def _restart(self, peer: int) -> None:
        saved = self._saved[peer]
        state = state_of(self.scenario, peer)
        state.load(saved.state)
        account = self.ledger.accounts[peer]
        del account.entries[saved.place :]  # they are made again, and nothing is forgiven
        account.known = state.nets["generator"].arena.vector.numpy().astype(np.float64)
        self._start(state)


def run_exactly(seed: int, peers: int = 8) -> tuple[Verdict, ExactTrial]:
    """The scenario of a seed, with crashes."""
    fixed = {"durability": "exact", "catch_up": 400, "deadline": 4.0}
    scenario = draw_scenario(seed, peers, fixed=fixed)
    with _no_collection():
        trial = ExactTrial(scenario)
        return trial.run(), trial


@pytest.mark.parametrize("block", range(4))
def test_crashes_and_power_cuts_take_nothing_back(block: int) -> None:
    cuts = 0
    for seed in range(8 * block, 8 * block + 8):
        verdict, trial = run_exactly(seed)
        assert verdict.failures == [], f"seed {seed}"
        cuts += trial.cuts
    assert cuts > 8


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_sum_over_peers_stays_for_ten_thousand_rounds() -> None:
    """Crashes, power cuts, losses and cut connections all the time: 1e-6 of the sum, in float64."""
    rates = Rates(loss=0.01, twice=0.02, late=0.02)
    fixed = {
        "durability": "exact",
        "catch_up": 10**6,
        "rounds": 10_000,
        "checkpoint": 8,
        "heals_at": 3000.0,
        "jitter": 0.0,
        "compute": (0.2,) * 4,
        "rates": rates,
        "graph": "ring",
    }
    scenario = replace(draw_scenario(0, 4), peers=4, deadline=4.0, **fixed)
    draw = np.random.default_rng(0)
    faults = []
    for at in np.arange(5.0, 2900.0, 15.0):
        k = int(draw.integers(4))
        kind = str(draw.choice(["crash", "freeze", "cut"]))
        faults.append(Fault(kind, float(at), float(draw.choice([0.3, 3.0])), k, (k + 1) % 4))
    with _no_collection():
        trial = ExactTrial(replace(scenario, faults=tuple(faults)))
        verdict = trial.run()
    drift = imbalance(trial.ledger, trial.edges)
    crashes = sum(fault.kind == "crash" for fault in faults)
    print(f"drift {drift:.2g} of the sum, {crashes} crashes, {trial.cuts} power cuts")
    assert verdict.failures == []
    assert drift <= 1e-6

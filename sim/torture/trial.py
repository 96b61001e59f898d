"""One run of a scenario, from the first handshake to the last farewell, and its verdict."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from peer.effects import Moment
from peer.state import PeerState
from sim.torture.books.audit import CONSERVED, Audit
from sim.torture.books.ledger import Ledger, Place, Violation
from sim.torture.chaos.agreed import edges_of
from sim.torture.chaos.scenario import Fault, Scenario
from sim.torture.process import Process, World
from sim.torture.programs import NET, SETTLES
from sim.torture.setting import setting_of
from sim.torture.world.agenda import Agenda
from sim.torture.world.failpoints import Failpoints
from sim.torture.world.machine import Machine
from sim.torture.world.network import Network

PATIENCE = 150.0
"""Seconds after all faults, beside those that rounds take, within which every peer is done."""


@dataclass
class Verdict:
    """What became of a scenario.

    Attributes:
        failures: promises that were broken; empty where all were kept.
        trace: a digest of every message that arrived, and of every round.
        seconds: of virtual time.
        counts: messages by what happened to them, and what was checked.
        log: the last lines that users would have read.
    """

    scenario: Scenario
    failures: list[str]
    trace: str
    seconds: float
    counts: dict[str, int]
    log: list[str] = field(default_factory=list)


class Trial:
    """Runs one scenario.

    Args:
        scenario: what happens.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.agenda = agenda = Agenda()
        self.failpoints = Failpoints(self._crash)
        self.network = Network(
            agenda, scenario.rates, scenario.seed, self.failpoints, scenario.is_silent
        )
        self.setting = setting_of(scenario)
        self.edges = edges_of(scenario)
        self.is_exact = self.setting.experiment.durability == "exact"
        self.ledgers: dict[str, Ledger] = {}  # by net
        jitter, draw = scenario.jitter, self.network.draw
        self.world = World(
            agenda,
            self.network,
            self.setting,
            self.ledgers,
            (lambda: jitter * draw()) if jitter else (lambda: 0.0),
        )
        rates = scenario.clocks or (1.0,) * scenario.peers
        self.machines = [
            Machine(agenda, rate, draw, partial(self._note, k)) for k, rate in enumerate(rates)
        ]
        self.processes: dict[int, Process] = {}
        self.log: list[str] = []
        self._violation: Violation | None = None
        self._sessions = self._ended = 0
        self._crashes = 0
        self._has_problem = False
        self._places: dict[tuple[int, int], dict[str, Place]] = {}  # by peer and round saved
        self._frozen: dict[int, int] = {}  # by peer, how many standstills hold it
        self._calm: dict[int, np.ndarray] = {}  # by peer, its floats as the calm begins

    def run(self) -> Verdict:
        """To the end, or as far as it gets."""
        scenario = self.scenario
        for k in range(scenario.peers):
            state = self.setting.state(k)
            for name, net in state.nets.items():
                self.ledgers.setdefault(name, Ledger()).open(k, net.arena.vector)
            self._remember(state)
            self._start(state)
        for fault in scenario.faults:
            self.agenda.at(fault.at, partial(self._begin, fault))
        self.agenda.at(scenario.heals_at, self._heal)
        pace = max(scenario.compute, default=0.0) + 4 * scenario.jitter + 1.0
        # Who sends letters waits until they are taken, which may be for a chain of all peers.
        pace += 2 * scenario.jitter * scenario.letters * scenario.peers
        limit = scenario.heals_at + PATIENCE + pace * scenario.rounds * scenario.exchanges
        try:
            completed = self.agenda.run(self._is_over, limit)
            failures = list(self._broken(completed))
        finally:
            for process in self.processes.values():
                process.kill()
        counts = self.network.counts | {
            "combines": sum(ledger.combines for ledger in self.ledgers.values()),
            "in doubt": sum(ledger.doubts for ledger in self.ledgers.values()),
            "crashes": self._crashes,
            "actions": self.agenda.done,
        }
        return Verdict(
            scenario, failures, self.network.trace, self.agenda.now, counts, self.log[-50:]
        )

    def _is_over(self) -> bool:
        """Everybody has ended, or somebody badly. Asked after every action: so it counts."""
        return self._ended == self.scenario.peers or self._has_problem

    def _note_end(self, problem: BaseException | None) -> None:
        """A process has ended by itself."""
        self._ended += 1
        self._has_problem = self._has_problem or problem is not None

    # --- processes --------------------------------------------------------------------------------

    def _start(self, state: PeerState) -> None:
        self._sessions += 1
        k = state.peer
        self.machines[k].begin(state, self.is_exact)
        self.processes[k] = Process(
            self.world,
            state,
            1000 + self._sessions,
            self.machines[k],
            self._report,
            partial(self._note, k),
            self._note_end,
        )

    def _note(self, peer: int, line: str) -> None:
        self.log.append(f"{self.agenda.now:8.3f} peer {peer}: {line}")

    def _report(self, process: Process) -> None:
        """A round is complete. By the compute thread."""
        state, k = process.state, process.peer
        total = 0.0
        for name, net in state.nets.items():
            self.ledgers[name].changed(k, net.arena.vector)
            total += float(self.ledgers[name].accounts[k].known.sum())
        self.network.note(self.agenda.now, k, state.round, total)
        if self.scenario.crashes or self.is_exact:
            self._save(process)
        if state.round >= self.setting.calm_from:
            process.io.let_pass(self.scenario.heals_at + SETTLES - self.agenda.now)
            if self.setting.agrees and k not in self._calm:
                self._calm[k] = self.ledgers[NET].accounts[k].known
        elif self.setting.pause and not self.machines[k].is_telling_again:
            process.io.let_pass(self.setting.pause + self.scenario.compute[k])

    def _save(self, process: Process) -> None:
        """Save a checkpoint if it is time to, and remember where the ledgers stand."""
        k, state, machine = process.peer, process.state, self.machines[process.peer]
        is_due = state.round % self.scenario.checkpoint == 0 and not machine.is_telling_again
        # A journal is written all the time, so that there is no need to wait for a checkpoint.
        fault = self.failpoints.take(k, "saving") if is_due or self.is_exact else None
        if fault is not None:
            machine.cut_power_soon(partial(process.io.die, fault))
        if is_due:
            self._remember(state)
            machine.save()
        if fault is not None and not self.is_exact:
            process.io.die(fault)
        if is_due:
            process.io.reach("saved")

    def _remember(self, state: PeerState) -> None:
        places = {name: self.ledgers[name].accounts[state.peer].place for name in state.nets}
        self._places[state.peer, state.round] = places

    def _restart(self, peer: int) -> None:
        state = self.setting.state(peer)
        try:
            self.machines[peer].load(state)
            for name, place in self._places[peer, state.round].items():
                w, since = state.nets[name].arena.vector, Moment(state.round, 0)
                self.ledgers[name].take_back(peer, place, since, w, self.is_exact)
        except Violation as violation:
            self._violation, self._has_problem = violation, True
            return
        self._start(state)

    # --- faults -----------------------------------------------------------------------------------

    def _begin(self, fault: Fault) -> None:
        k, to, network = fault.peer, fault.to, self.network
        end = self.agenda.now + fault.seconds
        match fault.kind:
            case "partition":
                network.lost.add((k, to))
                self.agenda.at(end, lambda: network.lost.discard((k, to)))
            case "clog":
                network.clogged.add((k, to))
                self.agenda.at(end, lambda: network.unclog(k, to))
            case "cut":
                network.connect(k, to, fault.seconds)
            case "freeze" if k in self.processes:
                self._frozen[k] = self._frozen.get(k, 0) + 1
                self.processes[k].io.is_frozen = True
                self.agenda.at(end, partial(self._thaw, k, self.processes[k]))
            case "crash" | "power" if fault.point:
                self.failpoints.arm(fault)
            case "crash" | "power":
                self._crash(fault)
            case "full":
                self.machines[k].fill()
                self.agenda.at(end, self.machines[k].mend_disk)
            case "failing":
                self.machines[k].fail()
            case "leap":
                self.machines[k].clock.ahead += fault.seconds

    def _crash(self, fault: Fault) -> None:
        """A process is killed, and started anew some time later."""
        k = fault.peer
        if k not in self.processes or self.processes[k].is_over:
            return
        self._crashes += 1
        self._note(k, f"{fault.kind} {fault.point}")
        self.processes.pop(k).kill()
        self._frozen.pop(k, None)
        if fault.kind == "power":
            self.machines[k].cut_power()
        self.agenda.at(self.agenda.now + fault.seconds, partial(self._restart, k))

    def _thaw(self, peer: int, process: Process) -> None:
        if self.processes.get(peer) is process and peer in self._frozen:
            self._frozen[peer] -= 1
            if not self._frozen[peer]:
                process.io.thaw()

    def _heal(self) -> None:
        """Nothing goes wrong any more."""
        self.failpoints.disarm()
        self.network.heal()
        for machine in self.machines:
            machine.mend_disk()

    # --- the verdict ------------------------------------------------------------------------------

    def _broken(self, completed: bool) -> Iterator[str]:
        if self._violation is not None:
            yield str(self._violation)
            return
        for k, process in sorted(self.processes.items()):
            if process.problem is not None:
                yield f"peer {k}: {type(process.problem).__name__}: {process.problem}"
                return
        if not completed:
            there = {
                k: f"{k} in round {p.state.round + 1}"
                for k, p in sorted(self.processes.items())
                if not p.is_over
            }
            yield f"hang: long after the last fault, peers {', '.join(there.values())}"
            return
        for name, ledger in self.ledgers.items():
            audit = Audit(ledger, self.edges)
            of = "" if name == NET else f"{name}: "
            yield from (f"{of}{problem}" for problem in audit.disagreements())
            if (off := audit.imbalance()) > CONSERVED:
                yield f"{of}the sum over peers is off by {off:.2g} of its size"
        if self.setting.agrees and not self._agree_more():
            yield "in the calm rounds, the peers' disagreement did not fall"

    def _agree_more(self) -> bool:
        """Whether the peers are nearer to each other at the end than when the calm began."""
        if len(self._calm) < self.scenario.peers:
            return True
        at_end = [account.known for account in self.ledgers[NET].accounts.values()]
        return _spread(at_end) < max((1 - 1e-6) * _spread(list(self._calm.values())), 1e-5)


def _spread(vectors: list[np.ndarray]) -> float:
    stacked = np.stack(vectors)
    return float(np.sqrt(((stacked - stacked.mean(0)) ** 2).sum()))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Collecting cycles in the midst of a thousand short-lived frames takes a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_scenario(scenario: Scenario) -> Verdict:
    """Run it once."""
    with _no_collection():
        return Trial(scenario).run()

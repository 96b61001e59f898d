"""One run of a scenario, from the first handshake to the last farewell, and its verdict."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from peer.effects import Moment
from peer.state import PeerState, SavedState
from sim.torture.agenda import Agenda
from sim.torture.audit import CONSERVED, disagreements, imbalance
from sim.torture.ledger import Ledger
from sim.torture.network import Network
from sim.torture.process import Process
from sim.torture.programs import CALM, NET, PROGRAMS, edges_of, experiment_of, state_of
from sim.torture.scenario import Fault, Scenario

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


@dataclass
class _Saved:
    """A checkpoint: the state, and how far the ledger was."""

    state: SavedState
    place: int


class Trial:
    """Runs one scenario.

    Args:
        scenario: what happens.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.agenda = Agenda()
        self.network = Network(self.agenda, scenario.rates, scenario.seed)
        self.experiment = experiment_of(scenario)
        self.program = PROGRAMS[scenario.program](scenario)
        self.edges = edges_of(scenario)
        self.ledger = Ledger()
        self.processes: dict[int, Process] = {}
        self.log: list[str] = []
        self._sessions = 0
        self._saved: dict[int, _Saved] = {}
        self._frozen: dict[int, int] = {}  # by peer, how many standstills hold it
        self._calm: dict[int, np.ndarray] = {}  # by peer, its floats as the calm begins

    def run(self) -> Verdict:
        """To the end, or as far as it gets."""
        for k in range(self.scenario.peers):
            state = state_of(self.scenario, k)
            self.ledger.open(k, state.nets[NET].arena.vector)
            self._saved[k] = _Saved(state.dump(), 0)
            self._start(state)
        for fault in self.scenario.faults:
            self.agenda.at(fault.at, partial(self._begin, fault))
        self.agenda.at(self.scenario.heals_at, self.network.heal)
        pace = max(self.scenario.compute, default=0.0) + 4 * self.scenario.jitter + 1.0
        limit = self.scenario.heals_at + PATIENCE + pace * self.scenario.rounds
        try:
            completed = self.agenda.run(self._is_over, limit)
            failures = list(self._broken(completed))
        finally:
            for process in self.processes.values():
                process.kill()
        counts = self.network.counts | {
            "combines": self.ledger.combines,
            "in doubt": self.ledger.doubts,
            "actions": self.agenda.done,
        }
        return Verdict(
            self.scenario, failures, self.network.trace, self.agenda.now, counts, self.log[-50:]
        )

    def _is_over(self) -> bool:
        processes = self.processes.values()
        everybody = len(self.processes) == self.scenario.peers
        return any(p.problem for p in processes) or (
            everybody and all(p.is_over for p in processes)
        )

    # --- processes --------------------------------------------------------------------------------

    def _start(self, state: PeerState) -> None:
        self._sessions += 1
        jitter, draw = self.scenario.jitter, self.network.draw
        k = state.peer
        self.processes[k] = Process(
            self.agenda,
            self.network,
            self.experiment,
            self.program,
            state,
            1000 + self._sessions,
            self.ledger,
            self._report,
            partial(self._note, k),
            (lambda: jitter * draw()) if jitter else (lambda: 0.0),
        )

    def _note(self, peer: int, line: str) -> None:
        self.log.append(f"{self.agenda.now:8.3f} peer {peer}: {line}")

    def _report(self, state: PeerState) -> None:
        """A round is complete."""
        w, k = state.nets[NET].arena.vector, state.peer
        self.network.note(self.agenda.now, k, state.round, float(w.double().sum()))
        self.ledger.changed(k, w)
        if k not in self._calm and state.round >= self.scenario.rounds - CALM:
            self._calm[k] = self.ledger.accounts[k].known
        if state.round % self.scenario.checkpoint == 0:
            self._saved[k] = _Saved(state.dump(), self.ledger.place(k))

    def _restart(self, peer: int) -> None:
        saved = self._saved[peer]
        state = state_of(self.scenario, peer)
        state.load(saved.state)
        w = state.nets[NET].arena.vector
        self.ledger.take_back(peer, saved.place, Moment(state.round, 0), w)
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
            case "crash" if k in self.processes and not self.processes[k].is_over:
                self._note(k, "crashes")
                self.processes.pop(k).kill()
                self._frozen.pop(k, None)
                self.agenda.at(end, partial(self._restart, k))

    def _thaw(self, peer: int, process: Process) -> None:
        if self.processes.get(peer) is process and peer in self._frozen:
            self._frozen[peer] -= 1
            if not self._frozen[peer]:
                process.io.thaw()

    # --- the verdict ------------------------------------------------------------------------------

    def _broken(self, completed: bool) -> Iterator[str]:
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
        yield from disagreements(self.ledger, self.edges)
        off = imbalance(self.ledger, self.edges)
        if off > CONSERVED:
            yield f"the sum over peers is off by {off:.2g} of its size"
        if not self._agree_more():
            yield "in the calm rounds, the peers' disagreement did not fall"

    def _agree_more(self) -> bool:
        """Whether the peers are nearer to each other at the end than when the calm began."""
        if len(self._calm) < self.scenario.peers or self.scenario.peers < 2:
            return True
        at_end = [account.known for account in self.ledger.accounts.values()]
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

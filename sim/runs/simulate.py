"""Running an experiment in this process: from the file to a run directory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import algorithms
from peer.data import load_source, partition
from peer.data.sources import Images
from peer.effects import Report
from peer.experiment import Experiment, from_mapping, load
from peer.gan.net_name import PAIR, NetName
from peer.peer import Peer
from peer.program import Program
from peer.state import PeerState, make_state
from peer.state.device import usable_device
from peer.state.recorder import (
    Recorder,
    arena_digest,
)
from sim.engines.eager import Engine, OneByOne
from sim.engines.stacked import Stacked
from sim.engines.stacked_arenas import matrix_of
from sim.environment.network import Network
from sim.events.driver import EventDriver, Observer
from sim.machine.cpu_affinity import cores
from sim.metrics.disagreement import disagreement
from sim.records.reader import read_run
from sim.runs.writer import record
from sim.simulated_peer.simulated_peer import Process
from sim.simulated_peer.snapshots import Snapshot
from topology.errors import UserError

if TYPE_CHECKING:
    from sim.records.quality_log import QualityLog

ENGINES = ("event", "stacked", "auto")

Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with a peer's id, the rounds it has completed, and what it measured."""


@dataclass
class Run:
    """What a run left: its folder, its summary, and the peers as they ended."""

    path: Path
    experiment: Experiment
    states: dict[int, PeerState] = field(repr=False)
    seconds: float = 0.0  # of this machine's
    virtual_seconds: float = 0.0  # that the run would have taken, by its devices and network
    bytes_out: int = 0
    summary: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def arena_blake2b(self) -> dict[int, str]:
        """The digest of every peer's final parameters."""
        if self.states:
            return {k: arena_digest(state) for k, state in self.states.items()}
        return {k: left.arena_blake2b for k, left in read_run(self.path).results.items()}


def resolve(
    experiment: str | Path | Mapping[str, Any] | Experiment, overrides: Iterable[str] = ()
) -> Experiment:
    """An experiment from any of the forms that :func:`run` takes."""
    if isinstance(experiment, Experiment):
        if overrides:
            return from_mapping(experiment.resolved(), overrides, experiment.folder)
        return experiment
    if isinstance(experiment, Mapping):
        return from_mapping(experiment, overrides)
    return load(experiment, overrides)


def drive(
    experiment: Experiment,
    states: Mapping[int, PeerState],
    program: Program,
    observer: Observer | None = None,
    engine: Engine | None = None,
) -> EventDriver:
    """Run ``program`` from ``states`` under the event driver; returns the driver when done."""
    driver = make_driver(experiment, states, program, observer, engine)
    driver.run()
    return driver


def make_driver(
    experiment: Experiment,
    states: Mapping[int, PeerState],
    program: Program,
    observer: Observer | None = None,
    engine: Engine | None = None,
) -> EventDriver:
    """The event driver of ``states``, which has not run yet."""
    schedule, rule = experiment.schedule, experiment.weights
    peers = {k: Peer(state, schedule, rule) for k, state in states.items()}
    network, deadline = Network(experiment), experiment.deadline
    return EventDriver(peers, program, network, deadline, observer, engine)


def quality_log(experiment: Experiment, program: Program, path: Path) -> QualityLog | None:
    """What judges generators while the simulation runs, if ``metrics.quality_every`` asks for it.

    Raises:
        UserError: there is nothing to judge by.
    """
    if not experiment.metrics.quality_every:
        return None
    from sim.records.quality_log import QualityLog  # the judge loads only where it is needed

    return QualityLog(experiment, program, path, time.monotonic)


def make_engine(name: str, threads: int | None = None) -> Engine:
    """The engine called ``name``, on as many ``threads`` as there are cores if absent.

    Raises:
        UserError: there is none.
    """
    match name:
        case "event":
            return OneByOne()
        case "stacked" | "auto":
            return Stacked(threads or cores(), auto=name == "auto")
    raise UserError(f"engine: there is no '{name}'; choose one of {', '.join(ENGINES)}")


def make_states(
    experiment: Experiment, only: Collection[int] | None = None
) -> dict[int, PeerState]:
    """Every peer (or ``only`` some) at round 0, the nets' arenas as rows of one matrix a name."""
    program = algorithms.find(experiment)
    device = usable_device(experiment.device)
    peers = range(experiment.peers) if only is None else sorted(only)
    names = {k: tuple(program.nets(k)) for k in peers}
    sources = shards(experiment, program, peers)
    gan = experiment.build_gan(sources[0][0].shape)
    lengths = {role: layout.length for role, layout in gan.layouts.items()}
    shared = gan if experiment.init == "shared" else None
    owners: dict[str, list[int]] = {}  # by net, who holds one
    for k in peers:
        for name in names[k]:
            owners.setdefault(name, []).append(k)
    rows: dict[int, dict[str, torch.Tensor]] = {k: {} for k in peers}
    for name, holders in owners.items():
        W = torch.zeros(len(holders), lengths[NetName.parse(name).role], device=device)
        for k, row in zip(holders, W, strict=True):
            rows[k][name] = row.data  # to autograd, what is done to one row is not done to others
    return {
        k: make_state(experiment, k, images, indices, rows[k], names[k], shared)
        for k, (images, indices) in zip(peers, sources, strict=True)
    }


def check_states(experiment: Experiment) -> None:
    """Refuse what :func:`make_states` would refuse of data, nets and settings, without making any.

    Raises:
        UserError: the experiment says something that cannot be.
    """
    program = algorithms.find(experiment)
    # Synthetic images are alike for everybody; files may be there for one peer, not for another.
    is_synthetic = experiment.data.source == "synthetic"
    peers = program.workers(experiment.peers)[:1] if is_synthetic else range(experiment.peers)
    sources = shards(experiment, program, peers)
    experiment.build_gan(sources[0][0].shape)
    usable_device(experiment.device)
    _ = experiment.codec


def shards(
    experiment: Experiment, program: Program | None = None, only: Sequence[int] | None = None
) -> list[tuple[Images, np.ndarray | None]]:
    """Every peer's source (or ``only`` those of some) and its part of it.

    There is one source for all, unless each has its own. A server holds no data: its part is None.
    """
    program = program or algorithms.find(experiment)
    peers = range(experiment.peers) if only is None else only
    data, seed = experiment.data, experiment.seed
    workers = program.workers(experiment.peers)
    parts: dict[int, np.ndarray] = {}
    if "{id}" in (data.path or "") or (data.source == "synthetic" and data.partition.name == "own"):
        wanted = set(peers).intersection(workers) or workers[:1]
        sources = {k: load_source(data, k, experiment.folder) for k in sorted(wanted)}
        place = {k: number for number, k in enumerate(workers)}
        for k, images in sources.items():
            alone = data.partition.name == "own"  # then all of it is its own, whoever else there is
            shares = partition(data, images, 1 if alone else len(workers), seed)
            parts[k] = shares[0 if alone else place[k]]
    else:
        images = load_source(data, None, experiment.folder)
        sources = dict.fromkeys(workers, images)
        parts.update(zip(workers, partition(data, images, len(workers), seed), strict=True))
    anyone = next(iter(sources.values()))  # a server needs to know the images' shape
    return [(sources.get(k, anyone), parts.get(k)) for k in peers]


class RunObserver:
    """Records rounds, and the network's exact disagreement once all have completed one."""

    def __init__(
        self,
        experiment: Experiment,
        states: Mapping[int, PeerState],
        recorder: Recorder,
        folder: Path,
        progress: Progress | None,
        quality: QualityLog | None,
    ) -> None:
        self.quality = quality
        self.experiment = experiment
        self.states = states
        self.recorder = recorder
        self.folder = folder
        self.progress = progress
        self._reached: dict[int, dict[str, list[Snapshot]]] = {}
        self._counts: Counter[int] = Counter()

    def reported(self, process: Process, report: Report) -> None:
        """Record the round, judge it, and measure the network once all have completed it."""
        record(self.recorder, process, report)
        if self.recorder.wants(report.round):
            self._measure(process, report.round)
        if self.quality:
            self.quality.write(process, report.round)
        if self.progress:
            self.progress(process.id, report.round, report.measures)

    def _measure(self, process: Process, round: int) -> None:
        """Keep this peer's arenas until the last peer has completed ``round``; then measure."""
        reached = self._reached.setdefault(round, {name: [] for name in PAIR})
        for name, arenas in reached.items():
            if name in process.peer.state.nets:
                arenas.append(process.snapshot(name))
        self._counts[round] += 1
        if self._counts[round] == len(self.states):
            del self._reached[round], self._counts[round]
            self.recorder.write_network(
                self.folder / "network.jsonl",
                round,
                {
                    name: disagreement(matrix_of([arena.tensor for arena in arenas])[0])
                    for name, arenas in reached.items()
                    if len(arenas) > 1
                },
            )

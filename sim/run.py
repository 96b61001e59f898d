"""Running an experiment in this process: from the file to a run directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import algorithms
import topology
from peer.data import load_source, partition
from peer.data.sources import Images
from peer.effects import Report
from peer.experiment import NETS, Experiment, from_mapping, load
from peer.gan import Layout, build_gan
from peer.local import prepare_compute_thread
from peer.peer import Peer
from peer.program import Program
from peer.records import (
    Recorder,
    arena_digest,
    prepare_run_dir,
    write_experiment,
    write_peer,
)
from peer.state import PeerState, make_state
from sim.event import EventDriver, Observer, Process
from sim.metrics.disagreement import disagreement
from sim.network import Network
from topology.errors import UserError

ENGINES = ("auto", "event")

Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with a peer's id, the rounds it has completed, and what it measured."""


@dataclass
class Run:
    """What a run left: its folder, its summary, and the peers as they ended."""

    path: Path
    experiment: Experiment
    states: dict[int, PeerState] = field(repr=False)
    seconds: float = 0.0
    summary: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def arena_blake2b(self) -> dict[int, str]:
        """The digest of every peer's final parameters."""
        return {k: arena_digest(state) for k, state in self.states.items()}


def run(
    experiment: str | Path | Mapping[str, Any] | Experiment,
    *,
    overrides: Iterable[str] = (),
    run_dir: str | Path | None = None,
    name: str | None = None,
    engine: str = "auto",
    progress: Progress | None = None,
    report: bool = True,
) -> Run:
    """Simulate an experiment: every peer of it, in this process.

    Args:
        experiment: a YAML file, the same as a mapping, or an :class:`Experiment`.
        overrides: ``key=value`` changes, as the commands' ``--set``.
        run_dir: where to write; by default the next free ``runs/<name>-<n>``.
        name: of the run; by default that of the file.
        engine: ``event``, or ``auto`` for the fastest there is.
        progress: is called for every round of every peer.
        report: judge the generators and write figures, ``summary.json`` and ``report.html``.

    Raises:
        UserError: the experiment says something that cannot be.
    """
    if engine not in ENGINES:
        raise UserError(f"engine: there is no '{engine}'; choose one of {', '.join(ENGINES)}")
    if name is None:
        name = Path(experiment).stem if isinstance(experiment, str | Path) else "run"
    experiment = resolve(experiment, overrides)
    folder = prepare_run_dir(run_dir, name)
    prepare_compute_thread(experiment.threads)
    program = algorithms.find(experiment)
    states = make_states(experiment)
    began = time.monotonic()
    write_experiment(experiment, folder)
    with Recorder(folder / "metrics.jsonl", experiment.metrics.every, program.rounds) as recorder:
        observer = _Observer(experiment, states, recorder, folder, progress)
        driver = drive(experiment, states, program, observer)
        seconds = time.monotonic() - began
        for k, process in driver.processes.items():
            write_peer(
                states[k],
                folder / f"peer-{k}",
                seconds=seconds,
                bytes_in=process.bytes_in,
                bytes_out=process.bytes_out,
                missing=recorder.missed(k),
            )
    done = Run(folder, experiment, states, seconds)
    if report:
        from sim.report import write_report  # matplotlib and the judge load only where needed

        done.summary = write_report(folder, seconds=seconds)
    return done


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
) -> EventDriver:
    """Run ``program`` from ``states`` under the event driver; returns the driver when done."""
    graph, rule = experiment.graph_of_peers, experiment.weights
    peers = {
        k: Peer(state, topology.neighbour_weights(graph, rule, k)) for k, state in states.items()
    }
    driver = EventDriver(peers, program, Network(experiment), experiment.deadline, observer)
    driver.run()
    return driver


def make_states(experiment: Experiment) -> dict[int, PeerState]:
    """Every peer at round 0, the nets' arenas as rows of one matrix a name."""
    sources = shards(experiment)
    gan = build_gan(experiment, sources[0][0].shape)
    matrices = {
        name: torch.zeros(experiment.peers, Layout.of(module).length, device=experiment.device)
        for name, module in zip(NETS, (gan.generator, gan.discriminator), strict=True)
    }
    return {
        k: make_state(experiment, k, images, indices, {n: W[k] for n, W in matrices.items()})
        for k, (images, indices) in enumerate(sources)
    }


def shards(experiment: Experiment) -> list[tuple[Images, np.ndarray]]:
    """Every peer's source and its part of it; one source for all, unless each has its own."""
    data, peers = experiment.data, experiment.peers
    if "{id}" in (data.path or ""):
        own = [load_source(data, k, experiment.folder) for k in range(peers)]
        parts = [partition(data, images, peers, experiment.seed)[k] for k, images in enumerate(own)]
        return list(zip(own, parts, strict=True))
    images = load_source(data, None, experiment.folder)
    return [(images, part) for part in partition(data, images, peers, experiment.seed)]


class _Observer:
    """Records rounds, and the network's exact disagreement once all have completed one."""

    def __init__(
        self,
        experiment: Experiment,
        states: Mapping[int, PeerState],
        recorder: Recorder,
        folder: Path,
        progress: Progress | None,
    ) -> None:
        self.experiment = experiment
        self.states = states
        self.recorder = recorder
        self.folder = folder
        self.progress = progress
        self._reached: dict[int, dict[str, list[torch.Tensor]]] = {}

    def reported(self, process: Process, report: Report) -> None:
        self.recorder.write(
            process.id,
            report.round,
            report.measures,
            seconds=process.now,
            bytes_in=process.bytes_in,
            bytes_out=process.bytes_out,
        )
        if self.recorder.wants(report.round):
            self._measure(process, report.round)
        if self.progress:
            self.progress(process.id, report.round, report.measures)

    def _measure(self, process: Process, round: int) -> None:
        """Keep this peer's arenas until the last peer has completed ``round``; then measure."""
        reached = self._reached.setdefault(round, {name: [] for name in NETS})
        for name, arenas in reached.items():
            arenas.append(process.peer.state.nets[name].arena.vector.clone())
        if len(reached[NETS[0]]) == len(self.states):
            del self._reached[round]
            self.recorder.write_network(
                self.folder / "network.jsonl",
                round,
                {name: disagreement(torch.stack(arenas)) for name, arenas in reached.items()},
            )

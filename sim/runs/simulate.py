"""Running an experiment in this process: its peers, its engine, its driver."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import algorithms
from peer.data import Description, check_alike, common_classes, load_source, partition
from peer.data.sources import Images
from peer.experiment import Experiment, from_mapping, load
from peer.gan.net_name import NetName
from peer.peer import Peer
from peer.program import Program
from peer.quality.quality_log import QualityLog
from peer.quality.scorer import Scorer
from peer.state import PeerState, make_state
from peer.state.device import usable_device
from peer.state.recorder import arena_digest
from sim.engines.eager import Engine, OneByOne
from sim.engines.stacked import Stacked
from sim.environment.network import NetworkModel
from sim.events.driver import EventDriver, Observer
from sim.events.synchroniser import Synchroniser
from sim.failover.succession import Succession
from sim.machine.cpu_affinity import cores
from sim.records.reader import read_run
from topology.errors import UserError

ENGINES = ("event", "stacked", "auto")


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
    network: NetworkModel | None = None,
    synchroniser: Synchroniser | None = None,
) -> EventDriver:
    """Run ``program`` from ``states`` under the event driver; returns the driver when done.

    Arguments are those of :func:`make_driver`.
    """
    driver = make_driver(experiment, states, program, observer, engine, network, synchroniser)
    driver.run()
    return driver


def make_driver(
    experiment: Experiment,
    states: Mapping[int, PeerState],
    program: Program,
    observer: Observer | None = None,
    engine: Engine | None = None,
    network: NetworkModel | None = None,
    synchroniser: Synchroniser | None = None,
) -> EventDriver:
    """The event driver of ``program`` from ``states``, which has not run yet.

    Args:
        experiment: says which graph, network, faults and deadline.
        states: of the peers in this process, by id.
        program: what each of them runs.
        observer: is told of every completed round.
        engine: computes; one peer at a time by default.
        network: the experiment's, if it has been made already.
        synchroniser: with other processes; by default, all peers are in this one.
    """
    schedule, rule = experiment.schedule, experiment.weights
    peers = {k: Peer(state, schedule, rule) for k, state in states.items()}
    network = network or NetworkModel(experiment)
    server = program.server
    succession = None
    if experiment.backups and server is not None and server in states:
        succession = Succession(experiment, server, network)
    return EventDriver(
        peers,
        program,
        network,
        experiment.longest_deadline,
        observer,
        engine,
        synchroniser,
        experiment.catch_up,
        experiment.deadline_adapts,
        succession,
    )


def quality_log(experiment: Experiment, program: Program, path: Path) -> QualityLog | None:
    """What judges generators while the simulation runs, if ``metrics.quality_every`` asks for it.

    Raises:
        UserError: the images are not here, or cannot be scored by what the experiment names.
    """
    if not experiment.metrics.quality_every:
        return None
    return QualityLog(experiment, program, path, time.monotonic)


def prepare_judge(experiment: Experiment) -> None:
    """Train the judge that :func:`quality_log` will need, and keep it in the user's cache.

    To be called before ranks are launched, each of which would train it again otherwise.

    Raises:
        UserError: the images are not here, or cannot be scored by what the experiment names.
    """
    if experiment.metrics.quality_every:
        Scorer(experiment)


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
    experiment: Experiment,
    only: Collection[int] | None = None,
    program: Program | None = None,
) -> dict[int, PeerState]:
    """Every peer (or ``only`` some) at round 0, the nets' arenas as rows of one matrix a name.

    ``program`` is the experiment's, if it has been found already.
    """
    _collect_former_runs()
    program = program or algorithms.find(experiment)
    device = usable_device(experiment.device)
    peers = range(experiment.peers) if only is None else sorted(only)
    names = {k: tuple(program.nets(k)) for k in peers}
    sources = shards(experiment, program, peers)
    images = sources[0][0]
    gan = experiment.build_gan(images.shape, classes=images.classes)
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
            rows[k][name] = row.data  # autograd must not take a write to one row for one to all
    states = {
        k: make_state(experiment, k, images, indices, rows[k], names[k], shared)
        for k, (images, indices) in zip(peers, sources, strict=True)
    }
    _former.extend(map(weakref.ref, states.values()))
    return states


MUCH = 16 * 2**20
"""Bytes of former runs' nets that are worth a look for what can be freed, which takes a second."""

_former: list[weakref.ref[PeerState]] = []
"""The peers that this process has made, as far as somebody still refers to them."""


def _collect_former_runs() -> None:
    """Free the peers of runs that are over, where they hold much.

    A peer, its coroutine and its driver refer to each other in circles. Python looks for those
    when many *objects* have been made; a run leaves few, and gigabytes in their tensors.
    """
    living = [state for former in _former if (state := former()) is not None]
    nets = [net.arena.vector for state in living for net in state.nets.values()]
    much = sum(vector.nbytes for vector in nets) > MUCH
    del living, nets
    if much:
        gc.collect()
    _former[:] = [former for former in _former if former() is not None]


def check_states(experiment: Experiment, program: Program) -> None:
    """Refuse what :func:`make_states` would refuse of data, nets and settings, without making any.

    Raises:
        UserError: the experiment says something that cannot be.
    """
    # Synthetic images are alike for everybody; files may be there for one peer, not for another.
    is_synthetic = experiment.data.source == "synthetic"
    peers = program.workers(experiment.peers)[:1] if is_synthetic else range(experiment.peers)
    sources = shards(experiment, program, peers)
    images = sources[0][0]
    experiment.build_gan(images.shape, classes=images.classes)
    usable_device(experiment.device)
    _ = experiment.codec


def shards(
    experiment: Experiment, program: Program | None = None, only: Sequence[int] | None = None
) -> list[tuple[Images, np.ndarray | None]]:
    """Of every peer (or ``only`` some), the source of its images and the indices of its own.

    There is one source for all, unless each has its own. A server holds no data: its indices are
    None. ``program`` is the experiment's, if it has been found already.
    """
    program = program or algorithms.find(experiment)
    peers = range(experiment.peers) if only is None else only
    data, seed = experiment.data, experiment.seed
    workers = program.workers(experiment.peers)
    parts: dict[int, np.ndarray] = {}
    if data.per_peer:
        wanted = set(peers).intersection(workers) or workers[:1]
        classes = common_classes(data, workers, experiment.folder)
        if classes is not None:
            data = data.model_copy(update={"classes": classes})
        sources = {k: load_source(data, k, experiment.folder) for k in sorted(wanted)}
        check_alike({k: Description.of(images) for k, images in sources.items()})
        parts.update((k, partition(data, of, 1, seed)[0]) for k, of in sources.items())
    else:
        images = load_source(data, None, experiment.folder)
        sources = dict.fromkeys(workers, images)
        parts.update(zip(workers, partition(data, images, len(workers), seed), strict=True))
    anyone = next(iter(sources.values()))  # a server needs to know the images' shape
    return [(sources.get(k, anyone), parts.get(k)) for k in peers]

"""Running one experiment in several processes: what each rank does, and who reports."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import algorithms
from peer.compute.execute import prepare_compute_thread
from peer.experiment import Experiment, from_mapping
from peer.experiment.profiles import with_profiles
from peer.program import Program
from peer.state import PeerState
from peer.state.recorder import (
    Recorder,
    choose_run_dir,
    make_run_dir,
    prepare_run_dir,
    write_experiment,
)
from sim.environment.network import NetworkModel
from sim.records.reader import read_run
from sim.runs.observer import RunObserver
from sim.runs.simulate import (
    Run,
    check_states,
    drive,
    make_engine,
    make_states,
    prepare_judge,
    quality_log,
)
from sim.runs.writer import describe, write_engine, write_peers
from sim.sharding.collectives import Communicator, launch
from sim.sharding.disagreement import SharedDisagreement
from sim.sharding.partition import peers_of_rank
from sim.sharding.synchroniser import ConservativeSynchroniser
from topology.errors import UserError


def run_in_processes(
    experiment: Experiment,
    processes: int,
    *,
    run_dir: str | Path | None = None,
    name: str = "run",
    engine: str = "stacked",
) -> Run:
    """Simulate an experiment in ``processes`` processes of this machine, its peers shared out.

    Equal to one process up to rounding; the run's folder is the same but for one file of metrics a
    process, and a section a process in ``engine.json``.

    Raises:
        UserError: the experiment says something that cannot be, or not in several processes.
    """
    make_engine(engine, 1)
    experiment = _fitting(experiment, processes)
    program = algorithms.find(experiment)
    folder = choose_run_dir(run_dir, name)
    check_states(experiment, program)  # here: no process has been launched yet, so it fails once
    prepare_judge(experiment, program)
    make_run_dir(folder)
    write_experiment(experiment, folder)
    began = time.monotonic()
    keys, base = experiment.resolved(), str(experiment.folder)
    launch(_run_launched_rank, processes, keys, base, str(folder), engine, device=experiment.device)
    return _read_result(folder, experiment, time.monotonic() - began)


def run_as_rank(
    communicator: Communicator,
    experiment: Experiment,
    *,
    run_dir: str | Path | None = None,
    name: str = "run",
    engine: str = "stacked",
) -> Run:
    """This process's part of a simulation that ``torchrun`` started; rank 0 names the folder.

    Where ranks are on several machines, each leaves the folders of its own peers, and what is
    returned is of those that lie on the same machine.

    Raises:
        UserError: one of the ranks cannot begin; every rank says so.
    """
    with communicator.raising_together():
        make_engine(engine, 1)
        experiment = _fitting(experiment, communicator.size)
        placed = experiment.varied(device=str(communicator.device))
        program = algorithms.find(placed)
        states = _own_states(communicator, placed, program)
    with communicator.raising_together():
        own = prepare_run_dir(run_dir, name) if communicator.rank == 0 else ""
    folder = Path(communicator.all_gather(str(own))[0])
    folder.mkdir(parents=True, exist_ok=True)
    write_experiment(experiment, folder)
    began = time.monotonic()
    run_rank(communicator, placed, program, states, folder, engine)
    communicator.barrier()  # until all have written what their peers leave
    return _read_result(folder, experiment, time.monotonic() - began)


def run_rank(
    communicator: Communicator,
    experiment: Experiment,
    program: Program,
    states: Mapping[int, PeerState],
    folder: Path,
    engine: str,
) -> None:
    """Simulate the peers of this rank from their ``states``, and write what they leave."""
    computing = make_engine(engine, communicator.threads)
    began = time.monotonic()
    rank = communicator.rank
    recorder = Recorder(folder / f"metrics-{rank}.jsonl", experiment.metrics.every, program.rounds)

    def write_disagreement(round: int, found: dict[str, float]) -> None:
        if rank == 0:  # all ranks have measured the same
            recorder.write_network(folder / "network.jsonl", round, found)

    layouts = next(iter(states.values())).gan.layouts
    lengths: dict[str, int] = {net: layout.length for net, layout in layouts.items()}
    shared = SharedDisagreement(communicator, lengths, len(states), write_disagreement)
    with communicator.raising_together():
        quality = quality_log(experiment, program, folder / f"quality-{rank}.jsonl")
    network = NetworkModel(experiment)
    graph = experiment.graph_of_peers
    synchroniser = ConservativeSynchroniser(communicator, graph, network, shared)
    with recorder:
        observer = RunObserver(recorder, shared, quality)
        driver = drive(experiment, states, program, observer, computing, network, synchroniser)
        seconds = time.monotonic() - began - (quality.judging if quality else 0.0)
        sections = communicator.all_gather(json.dumps(describe(engine, computing)))
        if rank == 0:
            chosen = {f"rank {r}": json.loads(section) for r, section in enumerate(sections)}
            write_engine(folder, {name: section for name, section in chosen.items() if section})
        write_peers(folder, driver.peers, program, recorder, seconds, communicator.threads)


def _run_launched_rank(
    communicator: Communicator, keys: Mapping[str, Any], base: str, folder: str, engine: str
) -> None:
    """What :func:`launch` runs: the rank of an experiment that arrives as its keys."""
    device = str(communicator.device)
    experiment = from_mapping(keys, folder=Path(base)).varied(device=device)
    program = algorithms.find(experiment)
    states = _own_states(communicator, experiment, program)
    run_rank(communicator, experiment, program, states, Path(folder), engine)


def _own_states(
    communicator: Communicator, experiment: Experiment, program: Program
) -> dict[int, PeerState]:
    """The peers of this rank at round 0."""
    prepare_compute_thread(experiment.threads)
    own = peers_of_rank(experiment.graph_of_peers, communicator.size, communicator.rank)
    return make_states(experiment, own, program)


def _read_result(folder: Path, experiment: Experiment, seconds: float) -> Run:
    """What the peers of all processes left in ``folder``."""
    left = read_run(folder)
    virtual = max((of[-1].seconds for of in left.records.values()), default=0.0)
    sent = sum(result.bytes_out for result in left.results.values())
    return Run(folder, experiment, {}, seconds, virtual, sent)


def _fitting(experiment: Experiment, ranks: int) -> Experiment:
    """The experiment with its devices' profiles.

    Raises:
        UserError: there are fewer peers than ranks.
    """
    if ranks > experiment.peers:
        peers = f"there are {experiment.peers} peers"
        raise UserError(f"--processes {ranks}: {peers}, and each process needs one")
    return with_profiles(experiment)

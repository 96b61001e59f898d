"""Running one experiment in several processes: what each rank does, and who reports."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import algorithms
from peer.effects import Report
from peer.experiment import NETS, Experiment, from_mapping
from peer.local import prepare_compute_thread
from peer.peer import Peer
from peer.profiles import with_profiles
from peer.records import Recorder, prepare_run_dir, write_experiment, write_peer
from sim.event import Process
from sim.mesh import Mesh, launch
from sim.network import Network
from sim.run import Run, cores, make_engine, make_states
from sim.sharded import ShardedDriver, SharedDisagreement, check, homes
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
    process.

    Raises:
        UserError: the experiment says something that cannot be, or not in several processes.
    """
    make_engine(engine, 1)
    experiment = _fitting(experiment, processes)
    folder = prepare_run_dir(run_dir, name)
    write_experiment(experiment, folder)
    began = time.monotonic()
    keys, base = experiment.resolved(), str(experiment.folder)
    threads = max(1, cores() // processes)
    launch(_run_rank_of, processes, keys, base, str(folder), engine, threads)
    return Run(folder, experiment, {}, time.monotonic() - began)


def run_as_rank(
    mesh: Mesh,
    experiment: Experiment,
    *,
    run_dir: str | Path | None = None,
    name: str = "run",
    engine: str = "stacked",
) -> Run:
    """This process's part of a simulation that ``torchrun`` started; rank 0 names the folder.

    Where ranks are on several machines, each leaves the folders of its own peers.
    """
    experiment = _fitting(experiment, mesh.size)
    own = prepare_run_dir(run_dir, name) if mesh.rank == 0 else None
    folder = Path(mesh.say(str(own)))
    folder.mkdir(parents=True, exist_ok=True)
    write_experiment(experiment, folder)
    began = time.monotonic()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = experiment.device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    run_rank(mesh, experiment.varied(device=device), folder, engine, max(1, cores() // here))
    mesh.wait()  # all have written what they leave
    return Run(folder, experiment, {}, time.monotonic() - began)


def run_rank(mesh: Mesh, experiment: Experiment, folder: Path, engine: str, threads: int) -> None:
    """Simulate the peers of this rank, and write what they leave."""
    prepare_compute_thread(experiment.threads)
    program = algorithms.find(experiment)
    rank_of = homes(experiment.graph_of_peers, mesh.size)
    own = sorted(k for k, rank in rank_of.items() if rank == mesh.rank)
    began = time.monotonic()
    states = make_states(experiment, own)
    recorder = Recorder(
        folder / f"metrics-{mesh.rank}.jsonl", experiment.metrics.every, program.rounds
    )

    def write(round: int, found: dict[str, float]) -> None:
        if mesh.rank == 0:
            recorder.write_network(folder / "network.jsonl", round, found)

    layouts = next(iter(states.values())).gan.layouts
    lengths = {net: layout.length for net, layout in zip(NETS, layouts, strict=True)}
    shared = SharedDisagreement(mesh, lengths, len(own), write)
    with recorder:
        peers = {
            k: Peer(state, experiment.schedule, experiment.weights) for k, state in states.items()
        }
        driver = ShardedDriver(
            mesh,
            rank_of,
            peers,
            program,
            Network(experiment),
            experiment.deadline,
            _Observer(recorder, shared),
            make_engine(engine, threads),
            shared,
        )
        driver.run()
        seconds = time.monotonic() - began
        for k, process in driver.own.items():
            write_peer(
                states[k],
                folder / f"peer-{k}",
                seconds=seconds,
                bytes_in=process.bytes_in,
                bytes_out=process.bytes_out,
                missing=recorder.missed(k),
                product=program.makes_product(k, experiment.peers),
            )


class _Observer:
    """Records this rank's peers."""

    def __init__(self, recorder: Recorder, shared: SharedDisagreement) -> None:
        self.recorder = recorder
        self.shared = shared

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
            self.shared.reported(process, report.round)


def _run_rank_of(
    mesh: Mesh, keys: Mapping[str, Any], base: str, folder: str, engine: str, threads: int
) -> None:
    run_rank(mesh, from_mapping(keys, folder=Path(base)), Path(folder), engine, threads)


def _fitting(experiment: Experiment, ranks: int) -> Experiment:
    if ranks > experiment.peers:
        peers = f"there are {experiment.peers} peers"
        raise UserError(f"--processes {ranks}: {peers}, and each process needs one")
    check(experiment)
    return with_profiles(experiment)

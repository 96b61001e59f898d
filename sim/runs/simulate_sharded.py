"""Running one experiment in several processes: what each rank does, and who reports."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import algorithms
from peer.compute.execute import prepare_compute_thread
from peer.effects import Report
from peer.experiment import Experiment, from_mapping
from peer.experiment.profiles import with_profiles
from peer.peer import Peer
from peer.runtime.signals import Stop
from peer.state import PeerState
from peer.state.recorder import Recorder, prepare_run_dir, write_experiment
from sim.environment.network import Network
from sim.records.quality_log import QualityLog
from sim.records.reader import read_run
from sim.runs.checkpoints import (
    SHARED,
    Checkpoints,
    Interrupted,
    Start,
    Stops,
    cut_records_back,
    go_on,
    nothing_to_go_on_from,
    sound_rounds,
)
from sim.runs.simulate import Run, check_states, make_engine, make_states, quality_log
from sim.runs.writer import describe, record, write_engine, write_peers
from sim.sharding.collectives import Mesh, launch
from sim.sharding.disagreement import SharedDisagreement
from sim.sharding.driver import ShardedDriver, homes
from sim.simulated_peer.simulated_peer import Process
from topology.errors import UserError


def run_in_processes(
    experiment: Experiment,
    processes: int,
    *,
    run_dir: str | Path | None = None,
    name: str = "run",
    engine: str = "stacked",
    resume: bool = False,
    stops: Stops | None = None,
) -> Run:
    """Simulate an experiment in ``processes`` processes of this machine, its peers shared out.

    Equal to one process up to rounding; the run's folder is the same but for one file of metrics a
    process, and a section a process in ``engine.json``.

    Raises:
        UserError: the experiment says something that cannot be, or not in several processes.
        Interrupted: ``stops`` asked for it.
    """
    stops = stops or Stops()
    make_engine(engine, 1)
    experiment = _fitting(experiment, processes)
    check_states(experiment)  # here, where a refusal is one line and nothing has been launched
    folder = prepare_run_dir(run_dir, name, shared=resume)
    program = algorithms.find(experiment)
    at = 0
    if resume:
        rounds = sound_rounds(folder, experiment.peers, range(experiment.peers), print)
        if not rounds:
            raise UserError(nothing_to_go_on_from(folder))
        at = rounds[0]
        cut_records_back(folder, at)
    quality_log(experiment, program, folder)  # its judge is trained once, here
    write_experiment(experiment, folder)
    began = time.monotonic()
    keys, base = experiment.resolved(), str(experiment.folder)
    task = (keys, base, str(folder), engine, at, stops.every)
    problem = None
    try:
        launch(_run_rank_of, processes, *task, device=experiment.device, stop=stops.asked)
    except RuntimeError as caught:
        problem = caught
    summaries = (folder / f"peer-{k}" / "summary.json" for k in range(experiment.peers))
    if stops.asked() and not all(path.exists() for path in summaries):
        saved = sound_rounds(folder, experiment.peers, (), print) if problem is None else []
        lost = SHARED if Network(experiment).is_shared else "its round could not be saved"
        raise Interrupted(folder, next(iter(saved), None), lost) from problem
    if problem is not None:
        raise problem
    return _left(folder, experiment, time.monotonic() - began)


def run_as_rank(
    mesh: Mesh,
    experiment: Experiment,
    *,
    run_dir: str | Path | None = None,
    name: str = "run",
    engine: str = "stacked",
    resume: bool = False,
    stops: Stops | None = None,
) -> Run:
    """This process's part of a simulation that ``torchrun`` started; rank 0 names the folder.

    Where ranks are on several machines, each leaves the folders of its own peers, and what is
    returned is of those that lie on the same machine.

    Raises:
        UserError: one of the ranks cannot begin; every rank says so.
        Interrupted: ``stops`` asked for it, here or at another rank.
    """
    stops = stops or Stops()
    with mesh.as_one():
        make_engine(engine, 1)
        experiment = _fitting(experiment, mesh.size)
        placed = experiment.varied(device=str(mesh.device))
        states = _own_states(mesh, placed)
    with mesh.as_one():
        own = prepare_run_dir(run_dir, name, shared=resume) if mesh.rank == 0 else ""
    folder = Path(mesh.gather(str(own))[0])
    folder.mkdir(parents=True, exist_ok=True)
    write_experiment(experiment, folder)
    began = time.monotonic()
    at = 0
    with mesh.as_one():
        if resume:
            own_rounds = sound_rounds(folder, experiment.peers, states.keys(), print)
            common = set.intersection(*(set(json.loads(s)) for s in mesh.gather(str(own_rounds))))
            if not common:
                raise UserError(nothing_to_go_on_from(folder))
            at = max(common)
            if mesh.rank == 0:
                cut_records_back(folder, at)
    run_rank(mesh, placed, states, folder, engine, at, stops)
    mesh.wait()  # all have written what they leave
    return _left(folder, experiment, time.monotonic() - began)


def run_rank(
    mesh: Mesh,
    experiment: Experiment,
    states: Mapping[int, PeerState],
    folder: Path,
    engine: str,
    at: int = 0,
    stops: Stops | None = None,
) -> None:
    """Simulate the peers of this rank from their ``states``, and write what they leave.

    Where ``at`` is not 0, it goes on from that round's checkpoint of the run.
    """
    stops = stops or Stops()
    with mesh.as_one():
        go = go_on(folder, experiment, states, at, engine, stops.every) if at else Start()
    stops.every = stops.every or go.every
    program = algorithms.find(experiment)
    computing = make_engine(engine, mesh.threads)
    began = time.monotonic()
    recorder = Recorder(
        folder / f"metrics-{mesh.rank}.jsonl", experiment.metrics.every, program.rounds
    )

    def write(round: int, found: dict[str, float]) -> None:
        if mesh.rank == 0:
            recorder.write_network(folder / "network.jsonl", round, found)

    layouts = next(iter(states.values())).gan.layouts
    lengths: dict[str, int] = {net: layout.length for net, layout in layouts.items()}
    shared = SharedDisagreement(mesh, lengths, len(states), write)
    with mesh.as_one():
        quality = quality_log(experiment, program, folder / f"quality-{mesh.rank}.jsonl")
    with recorder:
        peers = {
            k: Peer(state, experiment.schedule, experiment.weights) for k, state in states.items()
        }
        driver = ShardedDriver(
            mesh,
            experiment.graph_of_peers,
            peers,
            program,
            Network(experiment),
            experiment.deadline,
            _Observer(recorder, shared, quality),
            computing,
            shared,
        )
        go.prepare(driver, recorder, experiment.peers)

        def taken() -> float:
            judging = quality.judging if quality else 0.0
            return go.seconds + time.monotonic() - began - judging

        saving = (folder, experiment, recorder, driver, engine, stops, taken, mesh.rank)
        Checkpoints(*saving).run(go, program.rounds)
        seconds = taken()
        chosen = mesh.gather(json.dumps(describe(engine, computing)))
        if mesh.rank == 0:
            sections = {f"rank {r}": json.loads(said) for r, said in enumerate(chosen)}
            write_engine(folder, {rank: section for rank, section in sections.items() if section})
        write_peers(folder, driver.processes, program, recorder, seconds, mesh.threads)


class _Observer:
    """Records this rank's peers."""

    def __init__(
        self, recorder: Recorder, shared: SharedDisagreement, quality: QualityLog | None
    ) -> None:
        self.recorder = recorder
        self.shared = shared
        self.quality = quality

    def reported(self, process: Process, report: Report) -> None:
        record(self.recorder, process, report)
        if self.recorder.wants(report.round):
            self.shared.reported(process, report.round)
        if self.quality:
            self.quality.write(process, report.round)


def _run_rank_of(
    mesh: Mesh,
    keys: Mapping[str, Any],
    base: str,
    folder: str,
    engine: str,
    at: int,
    every: int,
) -> None:
    stop = Stop()
    stop.obey_signals()
    stop.begun(lambda line: None, str)  # whoever launched this says what there is to say
    experiment = from_mapping(keys, folder=Path(base)).varied(device=str(mesh.device))
    states = _own_states(mesh, experiment)
    with contextlib.suppress(Interrupted):  # all ranks are; whoever launched them sees it
        run_rank(
            mesh, experiment, states, Path(folder), engine, at, Stops(every, stop.asked.is_set)
        )


def _own_states(mesh: Mesh, experiment: Experiment) -> dict[int, PeerState]:
    """The peers of this rank at round 0."""
    prepare_compute_thread(experiment.threads)
    rank_of = homes(experiment.graph_of_peers, mesh.size)
    return make_states(experiment, [k for k, rank in rank_of.items() if rank == mesh.rank])


def _left(folder: Path, experiment: Experiment, seconds: float) -> Run:
    """What the processes' peers left in ``folder``."""
    left = read_run(folder)
    virtual = max((of[-1].seconds for of in left.records.values()), default=0.0)
    sent = sum(result.bytes_out for result in left.results.values())
    return Run(folder, experiment, {}, seconds, virtual, sent)


def _fitting(experiment: Experiment, ranks: int) -> Experiment:
    if ranks > experiment.peers:
        peers = f"there are {experiment.peers} peers"
        raise UserError(f"--processes {ranks}: {peers}, and each process needs one")
    return with_profiles(experiment)

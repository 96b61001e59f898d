"""Running one experiment in several processes: what each rank does, and who reports."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import algorithms
from peer.compute.execute import prepare_compute_thread
from peer.console import show_notes
from peer.experiment import Experiment, from_mapping
from peer.experiment.profiles import with_profiles
from peer.loggers import Pictures, check_loggers, open_loggers
from peer.program import Program
from peer.runtime.signals import Stop
from peer.state import PeerState
from peer.state.recorder import (
    Recorder,
    choose_run_dir,
    make_run_dir,
    write_experiment,
)
from sim.environment.network import NetworkModel
from sim.records.reader import read_run
from sim.runs.checkpoints import (
    SHARED,
    Checkpoints,
    Interrupted,
    Start,
    Stops,
    check_same_run,
    cut_records_back,
    go_on,
    nothing_to_go_on_from,
    sound_rounds,
)
from sim.runs.observer import RoundCallback, RunObserver
from sim.runs.simulate import (
    Run,
    check_states,
    make_driver,
    make_engine,
    make_states,
    prepare_judge,
    quality_log,
)
from sim.runs.writer import describe, write_engine, write_peers
from sim.sharding.collectives import Communicator, SharedNumber, launch
from sim.sharding.disagreement import SharedDisagreement
from sim.sharding.partition import peers_of_rank
from sim.sharding.synchroniser import ConservativeSynchroniser
from topology.errors import InputNote, UserError


def run_in_processes(
    experiment: Experiment,
    processes: int,
    *,
    run_dir: str | Path | None = None,
    name: str = "run",
    engine: str = "stacked",
    resume: bool = False,
    stops: Stops | None = None,
    progress: Callable[[int], None] = lambda round: None,
) -> Run:
    """Simulate an experiment in ``processes`` processes of this machine, its peers shared out.

    Equal to one process up to rounding; the run's folder is the same but for one file of metrics a
    process, and a section a process in ``engine.json``. ``progress`` is called a few times a second
    with a round that the first process has come to.

    Raises:
        UserError: the experiment says something that cannot be, or not in several processes.
        Interrupted: ``stops`` asked for it.
    """
    stops = stops or Stops()
    make_engine(engine, 1)
    experiment = _fitting(experiment, processes)
    program = algorithms.find(experiment)
    folder = choose_run_dir(run_dir, name, shared=resume)
    check_states(experiment, program)  # here: no process has been launched yet, so it fails once
    at = 0
    if resume:
        rounds = sound_rounds(folder, experiment.peers, range(experiment.peers), print)
        if not rounds:
            raise UserError(nothing_to_go_on_from(folder))
        at = rounds[0]
        check_same_run(folder, experiment, at, engine, stops.every)  # here, as above
    check_loggers(experiment)
    prepare_judge(experiment)
    make_run_dir(folder)
    write_experiment(experiment, folder)
    began = time.monotonic()
    keys, base = experiment.resolved(), str(experiment.folder)
    problem = None
    with tempfile.TemporaryDirectory() as shared:
        reached = SharedNumber(str(Path(shared) / "round"))
        task = (keys, base, str(folder), engine, at, stops.every, reached)

        def is_to_stop() -> bool:
            progress(reached.value)
            return stops.asked()

        try:
            launch(_run_launched_rank, processes, *task, device=experiment.device, stop=is_to_stop)
        except RuntimeError as caught:
            problem = caught
    summaries = (folder / f"peer-{k}" / "summary.json" for k in range(experiment.peers))
    if stops.asked() and not all(path.exists() for path in summaries):
        if problem is not None:
            print(f"a process failed while it stopped: {problem}")
        saved = sound_rounds(folder, experiment.peers, range(experiment.peers), print)
        lost = SHARED if NetworkModel(experiment).is_shared else "its round could not be saved"
        raise Interrupted(folder, next(iter(saved), None), lost) from problem
    if problem is not None:
        raise problem
    return _read_result(folder, experiment, time.monotonic() - began)


def run_as_rank(
    communicator: Communicator,
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
        Interrupted: ``stops`` asked for it, here or on another rank.
    """
    stops = stops or Stops()
    with communicator.raising_together():
        make_engine(engine, 1)
        experiment = _fitting(experiment, communicator.size)
        placed = experiment.varied(device=str(communicator.device))
        program = algorithms.find(placed)
        states = _own_states(communicator, placed, program)
    with communicator.raising_together():
        own = choose_run_dir(run_dir, name, shared=resume) if communicator.rank == 0 else ""
    folder = Path(communicator.all_gather(str(own))[0])
    at = 0
    if resume:
        rounds = sound_rounds(folder, experiment.peers, states.keys(), print)
        sound_everywhere = [set(json.loads(s)) for s in communicator.all_gather(str(rounds))]
        at = max(set.intersection(*sound_everywhere), default=0)
        if not at:
            raise UserError(nothing_to_go_on_from(folder))
    with communicator.raising_together():
        make_run_dir(folder)
    write_experiment(experiment, folder)
    began = time.monotonic()
    run_rank(communicator, placed, program, states, folder, engine, at, stops)
    communicator.barrier()  # until all have written what their peers leave
    return _read_result(folder, experiment, time.monotonic() - began)


def run_rank(
    communicator: Communicator,
    experiment: Experiment,
    program: Program,
    states: Mapping[int, PeerState],
    folder: Path,
    engine: str,
    at: int = 0,
    stops: Stops | None = None,
    progress: RoundCallback | None = None,
) -> None:
    """Simulate the peers of this rank from their ``states``, and write what they leave.

    Where ``at`` is not 0, they go on from the run's checkpoint of that round. ``progress`` is
    called for every round of each of its peers.

    Raises:
        UserError: they cannot.
        Interrupted: ``stops`` asked for it, here or on another rank.
    """
    stops = stops or Stops()
    start = Start()
    if at:
        with communicator.raising_together():
            start = go_on(folder, experiment, states, at, engine, stops.every)
        if communicator.rank == 0:
            cut_records_back(folder, at)
        communicator.barrier()  # before any rank records more
    stops.every = stops.every or start.every
    computing = make_engine(engine, communicator.threads)
    began = time.monotonic()
    rank = communicator.rank
    recorder = Recorder(folder / f"metrics-{rank}.jsonl", experiment.metrics.every, program.rounds)

    def write_disagreement(round: int, found: dict[str, float]) -> None:
        if rank == 0:  # all ranks have measured the same
            recorder.write_network(round, found)
            loggers.scalars("disagreement", found, round)

    layouts = next(iter(states.values())).gan.layouts
    lengths: dict[str, int] = {net: layout.trained for net, layout in layouts.items()}
    shared = SharedDisagreement(
        communicator, lengths, len(states), write_disagreement, recorder.wants, start.round
    )
    with communicator.raising_together():
        quality = quality_log(experiment, program, folder / f"quality-{rank}.jsonl")
        loggers = open_loggers(experiment, folder)
    network = NetworkModel(experiment)
    graph = experiment.graph_of_peers
    synchroniser = ConservativeSynchroniser(communicator, graph, network, shared)
    with recorder, loggers, quality or contextlib.nullcontext():
        pictures = Pictures(experiment, program.rounds, folder, loggers)

        def taken() -> float:
            judging = quality.judging if quality else 0.0
            return start.seconds + time.monotonic() - began - judging

        observer = RunObserver(recorder, shared, quality, progress, taken, loggers, pictures)
        driver = make_driver(
            experiment, states, program, observer, computing, network, synchroniser
        )
        start.prepare(driver, recorder, experiment.peers)
        Checkpoints(folder, experiment, recorder, driver, engine, stops, taken, rank).run(
            start, program.rounds
        )
        seconds = taken()
        sections = communicator.all_gather(json.dumps(describe(engine, computing)))
        if rank == 0:
            chosen = {f"rank {r}": json.loads(section) for r, section in enumerate(sections)}
            write_engine(folder, {name: section for name, section in chosen.items() if section})
        write_peers(folder, driver.peers, program, recorder, seconds, communicator.threads, quality)


def _run_launched_rank(
    communicator: Communicator,
    keys: Mapping[str, Any],
    base: str,
    folder: str,
    engine: str,
    at: int,
    every: int,
    reached: SharedNumber,
) -> None:
    """What :func:`launch` runs: the rank of an experiment that arrives as its keys."""
    stop = Stop()
    stop.obey_signals()
    stop.begun(lambda line: None, str)  # whoever launched this says what there is to say
    device = str(communicator.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)  # whoever launched this has said them
        experiment = from_mapping(keys, folder=Path(base)).varied(device=device)
        program = algorithms.find(experiment)
        states = _own_states(communicator, experiment, program)
    show_notes()
    stops = Stops(every, stop.asked.is_set)

    def progress(peer: int, round: int, measures: object) -> None:
        reached.value = round

    task = (communicator, experiment, program, states, Path(folder), engine, at, stops)
    with contextlib.suppress(Interrupted):  # on all ranks; whoever launched them tells the user
        run_rank(*task, progress if communicator.rank == 0 else None)


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
        UserError: there are fewer peers than ranks, or a server has backups.
    """
    if ranks > experiment.peers:
        peers = f"there are {experiment.peers} peers"
        raise UserError(f"--processes {ranks}: {peers}, and each process needs one")
    if experiment.backups and ranks > 1:
        raise UserError(
            f"--processes {ranks}: a server with backups is simulated in one process; leave "
            "--processes or backups out"
        )
    return with_profiles(experiment)

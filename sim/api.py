"""``sim.run``: an experiment, simulated from Python."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import algorithms
from peer.compute.execute import prepare_compute_thread
from peer.experiment import Experiment
from peer.experiment.profiles import with_profiles
from peer.loggers import Logger, Pictures, check_loggers, open_loggers
from peer.state.recorder import Recorder, choose_run_dir, make_run_dir, write_experiment
from sim.machine.cpu_affinity import cores
from sim.runs.checkpoints import (
    Checkpoints,
    Start,
    Stops,
    cut_records_back,
    go_on,
    nothing_to_go_on_from,
    sound_rounds,
)
from sim.runs.observer import LocalDisagreement, RoundCallback, RunObserver
from sim.runs.origin import Origin
from sim.runs.simulate import Run, make_driver, make_engine, make_states, quality_log, resolve
from sim.runs.writer import describe, write_engine, write_peers
from topology.errors import UserError


def run(
    experiment: str | Path | Mapping[str, Any] | Experiment,
    *,
    overrides: Iterable[str] = (),
    run_dir: str | Path | None = None,
    name: str | None = None,
    engine: str = "event",
    threads: int | None = None,
    progress: RoundCallback | None = None,
    report: bool = True,
    resume: bool = False,
    stops: Stops | None = None,
    loggers: Iterable[Logger] = (),
    origin: Origin | None = None,
) -> Run:
    """Simulate an experiment: every peer of it, in this process.

    Args:
        experiment: a YAML file, the same as a mapping, or an
            :class:`~peer.experiment.Experiment`.
        overrides: ``key=value`` changes, as the commands' ``--set``.
        run_dir: where to write; by default the next free ``runs/<name>-<n>``.
        name: of the run; by default that of the file.
        engine: ``event``: one peer at a time, with the very bits of real peers; ``stacked``: many
            at once, equal up to rounding; ``auto``: of the two, what turns out to be faster.
        threads: of the stacked engine; by default as many as there are cores.
        progress: is called for every round of every peer.
        report: judge the generators and write figures, ``summary.json`` and ``report.html``.
        resume: go on with the run in ``run_dir`` from its last checkpoint.
        stops: when to make checkpoints, and whether to stop; by default never.
        loggers: get what is measured, beside those that the experiment names.
        origin: a round of another run, which this one goes on from in a folder of its own.

    Raises:
        UserError: the experiment says something that cannot be, or there is nothing to go on from.
        Interrupted: ``stops`` asked for it.
    """
    stops = stops or Stops()
    computing = make_engine(engine, threads)
    if name is None:
        name = Path(experiment).stem if isinstance(experiment, str | Path) else "run"
    experiment = with_profiles(resolve(experiment, overrides))
    folder = choose_run_dir(run_dir, name, shared=resume)
    prepare_compute_thread(experiment.threads)
    program = algorithms.find(experiment)
    states = make_states(experiment, program=program)
    start = Start()
    if resume:
        rounds = sound_rounds(folder, experiment.peers, states.keys(), print)
        if not rounds:
            raise UserError(nothing_to_go_on_from(folder))
        start = go_on(folder, experiment, states, rounds[0], engine, stops.every)
        stops.every = stops.every or start.every
    elif origin is not None:
        start = origin.enter(states)
    check_loggers(experiment)
    quality = quality_log(experiment, program, folder / "quality.jsonl")
    began = time.monotonic()
    make_run_dir(folder)  # now that nothing can be refused any more
    if resume:
        cut_records_back(folder, start.round)
    elif origin is not None:
        origin.write(folder)
    write_experiment(experiment, folder)
    with (
        Recorder(folder / "metrics.jsonl", experiment.metrics.every, program.rounds) as recorder,
        quality or nullcontext(),
        open_loggers(experiment, folder, loggers) as opened,
    ):

        def write_disagreement(round: int, found: dict[str, float]) -> None:
            recorder.write_network(round, found)
            opened.scalars("disagreement", found, round)

        disagreement = LocalDisagreement(
            len(states), write_disagreement, recorder.wants, start.round
        )
        pictures = Pictures(experiment, program.rounds, folder, opened)

        def taken() -> float:
            judging = quality.judging if quality else 0.0
            return start.seconds + time.monotonic() - began - judging

        observer = RunObserver(recorder, disagreement, quality, progress, taken, opened, pictures)
        driver = make_driver(experiment, states, program, observer, computing)
        start.prepare(driver, recorder, experiment.peers)
        Checkpoints(folder, experiment, recorder, driver, engine, stops, taken).run(
            start, program.rounds
        )
        seconds = taken()
        write_engine(folder, describe(engine, computing))
        write_peers(folder, driver.peers, program, recorder, seconds, cores(), quality)
    sent = sum(peer.bytes_out for peer in driver.peers.values())
    virtual = max(peer.now for peer in driver.peers.values())
    done = Run(folder, experiment, states, seconds, virtual, sent)
    if report:
        # Here, because matplotlib and the judge load only where a report is wanted.
        from sim.reporting.report import write_report

        done.summary = write_report(folder, seconds=seconds)
    return done

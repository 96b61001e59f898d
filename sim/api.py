"""``sim.run``: an experiment, simulated from Python."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import algorithms
from peer.compute.execute import prepare_compute_thread
from peer.experiment import Experiment
from peer.experiment.profiles import with_profiles
from peer.state.recorder import Recorder, choose_run_dir, make_run_dir, write_experiment
from sim.machine.cpu_affinity import cores
from sim.runs.simulate import (
    Progress,
    Run,
    RunObserver,
    drive,
    make_engine,
    make_states,
    quality_log,
    resolve,
)
from sim.runs.writer import describe, write_engine, write_peers


def run(
    experiment: str | Path | Mapping[str, Any] | Experiment,
    *,
    overrides: Iterable[str] = (),
    run_dir: str | Path | None = None,
    name: str | None = None,
    engine: str = "event",
    threads: int | None = None,
    progress: Progress | None = None,
    report: bool = True,
) -> Run:
    """Simulate an experiment: every peer of it, in this process.

    Args:
        experiment: a YAML file, the same as a mapping, or an :class:`Experiment`.
        overrides: ``key=value`` changes, as the commands' ``--set``.
        run_dir: where to write; by default the next free ``runs/<name>-<n>``.
        name: of the run; by default that of the file.
        engine: ``event``: one peer at a time, with the very bits of real peers; ``stacked``: many
            at once, equal up to rounding; ``auto``: of the two, what turns out to be faster.
        threads: of the stacked engine; by default as many as there are cores.
        progress: is called for every round of every peer.
        report: judge the generators and write figures, ``summary.json`` and ``report.html``.

    Raises:
        UserError: the experiment says something that cannot be.
    """
    computing = make_engine(engine, threads)
    if name is None:
        name = Path(experiment).stem if isinstance(experiment, str | Path) else "run"
    experiment = with_profiles(resolve(experiment, overrides))
    folder = choose_run_dir(run_dir, name)
    prepare_compute_thread(experiment.threads)
    program = algorithms.find(experiment)
    states = make_states(experiment)
    quality = quality_log(experiment, program, folder / "quality.jsonl")
    began = time.monotonic()
    make_run_dir(folder)  # now that nothing can be refused any more
    write_experiment(experiment, folder)
    with Recorder(folder / "metrics.jsonl", experiment.metrics.every, program.rounds) as recorder:
        observer = RunObserver(experiment, states, recorder, folder, progress, quality)
        driver = drive(experiment, states, program, observer, computing)
        seconds = time.monotonic() - began - (quality.judging if quality else 0.0)
        write_engine(folder, describe(engine, computing))
        write_peers(folder, driver.processes, program, recorder, seconds, cores())
    sent = sum(process.bytes_out for process in driver.processes.values())
    virtual = max(process.now for process in driver.processes.values())
    done = Run(folder, experiment, states, seconds, virtual, sent)
    if report:
        from sim.reporting.report import (
            write_report,  # matplotlib and the judge load only where needed
        )

        done.summary = write_report(folder, seconds=seconds)
    return done

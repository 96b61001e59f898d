"""What a command says when a run is over: the table, and where the report is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

import algorithms
from peer.experiment import Experiment
from sim.metrics.quality import Quality, evaluate_generators
from sim.records import read_run
from sim.report import write_report
from sim.run import drive, make_states
from sim.table import format_bytes, format_distance, format_time, summary_table
from topology.errors import UserError


def present(
    run_dir: Path, console: Console, *, seconds: float | None = None, baselines: bool = False
) -> None:
    """Judge a run, write its report, and show the table.

    With ``baselines``, the same peers stand beside it untrained, and trained while nobody talks.
    """

    def say(line: str) -> None:
        console.print(line, style="dim", markup=False)

    beside = None
    if baselines:
        try:
            beside = judge_baselines(read_run(run_dir).experiment, say)
        except UserError as problem:
            say(f"no baselines: {problem}")
    summary = write_report(run_dir, seconds=seconds, baselines=beside, notify=say)
    console.print(summary_table(summary))
    disagreement = summary["disagreement"]
    parts = [f"{net} {value:.3g}" for net, value in disagreement.items() if value is not None]
    if parts:
        how = "estimated from sketches" if summary["disagreement_estimated"] else "exact"
        console.print(f"disagreement ({how}): {', '.join(parts)}", markup=False)
    if summary["predicted"]:
        sent = format_bytes(sum(summary["bytes_out"].values()))
        line = f"predicted: {format_time(summary['virtual_seconds'])} of virtual time, {sent} sent"
        if "time_to_target" in summary:
            target = summary["time_to_target"]
            reached = target["seconds"]
            when = "never reached" if reached is None else f"after {format_time(reached)}"
            line += f"; CFID {format_distance(target['cfid'])} {when}"
        console.print(line, markup=False, highlight=False)
    console.print(f"the report is {run_dir / 'report.html'}", markup=False, soft_wrap=True)


def judge_baselines(experiment: Experiment, say: Callable[[str], None]) -> Mapping[str, Quality]:
    """The verdicts on the experiment's peers before training, and after training alone."""
    experiment = alone(experiment)
    states = make_states(experiment)
    generators = {k: state.nets["generator"].module for k, state in states.items()}
    untrained = evaluate_generators(experiment, generators, notify=say)
    say("the same peers once more, while nobody talks...")
    drive(experiment, states, algorithms.find(experiment))
    return {"untrained": untrained, "nobody talks": evaluate_generators(experiment, generators)}


def alone(experiment: Experiment) -> Experiment:
    """The experiment in which every peer trains on its own data and sends nothing.

    Raises:
        UserError: it has a server, without data to train on.
    """
    if algorithms.find(experiment).server is not None:
        raise UserError("with a server there is one peer without data; see sim compare")
    settings = experiment.algorithm.settings
    shared = ("rounds", "n_d", "n_g", "local_steps")
    kept = {key: settings[key] for key in shared if key in settings}
    return experiment.varied(algorithm={"name": "local", **kept}, faults=[])

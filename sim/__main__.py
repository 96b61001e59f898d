"""The command ``sim``: many peers in one process, and looking at what runs left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import algorithms
from peer.console import (
    Baselines,
    Device,
    Report,
    RunDir,
    Set,
    load_experiment,
    run_app,
    terminal,
)
from peer.experiment import Experiment
from sim.api import run
from sim.commands import compare_command, evaluate, partition, plot, sample, theory
from sim.reporting.console import show_report
from sim.runs.simulate_sharded import run_as_rank, run_in_processes
from sim.sharding.collectives import join, world_size

app = typer.Typer(
    help="""Simulate an experiment in this process, and look at what runs left.

    sim ring.yaml                     (short for: sim run ring.yaml)

    sim ring.yaml --set algorithm.rounds=50 --run-dir runs/try
    """,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command("run")
def run_command(
    file: Annotated[Path, typer.Argument(help="The experiment file.")],
    engine: Annotated[
        str,
        typer.Option(
            help="event: with the bits of real peers; stacked: many peers at once, equal up to "
            "rounding; auto: the faster."
        ),
    ] = "event",
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Share the peers out over so many.")
    ] = 1,
    changes: Set = None,
    run_dir: RunDir = None,
    device: Device = None,
    report: Report = True,
    baselines: Baselines = False,
) -> None:
    """Run every peer of an experiment file, in this process or shared out over several."""
    console = terminal()
    experiment = load_experiment(file, changes, device)
    if processes > 1 or world_size() > 1:
        _in_processes(experiment, file.stem, engine, processes, run_dir, console, report, baselines)
        return
    program = algorithms.find(experiment)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("round {task.fields[round]}/{task.fields[rounds]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console)
    total = program.rounds * experiment.peers
    task = bar.add_task(file.stem, total=total, round=0, rounds=program.rounds)

    def progress(peer: int, round: int, measures: object) -> None:
        bar.start()  # not before: whatever is refused is refused by now
        bar.update(task, advance=1, round=round)

    try:
        done = run(
            experiment,
            run_dir=run_dir,
            name=file.stem,
            engine=engine,
            progress=progress,
            report=False,
        )
    finally:
        if bar.live.is_started:
            bar.stop()
    if report:
        show_report(done.path, console, seconds=done.seconds, baselines=baselines)
    else:
        console.print(f"the run is in {done.path}")


def _in_processes(
    experiment: Experiment,
    name: str,
    engine: str,
    processes: int,
    run_dir: Path | None,
    console: Console,
    report: bool,
    baselines: bool,
) -> None:
    """Several processes: new ones of this machine, or those that torchrun started."""
    if world_size() > 1:
        with join(experiment.device) as communicator:
            done = run_as_rank(communicator, experiment, run_dir=run_dir, name=name, engine=engine)
        if communicator.rank > 0:
            return
    else:
        with console.status(f"{experiment.peers} peers in {processes} processes"):
            done = run_in_processes(
                experiment, processes, run_dir=run_dir, name=name, engine=engine
            )
    if report:
        show_report(done.path, console, seconds=done.seconds, baselines=baselines)
    else:
        console.print(f"the run is in {done.path}")


app.command("plot")(plot)
app.command("evaluate")(evaluate)
app.command("sample")(sample)
app.command("compare")(compare_command)
app.command("partition")(partition)
app.command("theory")(theory)


def main() -> None:
    """Entry point of the command ``sim``; ``sim FILE`` is short for ``sim run FILE``."""
    arguments = sys.argv[1:]
    commands = {command.name for command in app.registered_commands}
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        arguments = ["run", *arguments]
    run_app(app, arguments)


if __name__ == "__main__":
    main()

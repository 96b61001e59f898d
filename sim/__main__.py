"""The command ``sim``: many peers in one process, and looking at what runs left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import algorithms
from peer.console import Baselines, Device, Report, RunDir, Set, load_experiment, run_app
from sim.commands import compare_command, evaluate, partition, plot, sample, theory
from sim.present import present
from sim.run import run

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
    engine: Annotated[str, typer.Option(help="event, or auto for the fastest.")] = "auto",
    changes: Set = None,
    run_dir: RunDir = None,
    device: Device = None,
    report: Report = True,
    baselines: Baselines = False,
) -> None:
    """Run every peer of an experiment file in this process."""
    console = Console()
    experiment = load_experiment(file, changes, device)
    program = algorithms.find(experiment)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("round {task.fields[round]}/{task.fields[rounds]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        total = program.rounds * experiment.peers
        task = bar.add_task(file.stem, total=total, round=0, rounds=program.rounds)

        def progress(peer: int, round: int, measures: object) -> None:
            bar.update(task, advance=1, round=round)

        done = run(
            experiment,
            run_dir=run_dir,
            name=file.stem,
            engine=engine,
            progress=progress,
            report=False,
        )
    if report:
        present(done.path, console, seconds=done.seconds, baselines=baselines)
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

"""The command ``sim``: many peers in one process, and looking at what runs left."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

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
from peer.live.command import Live, followed
from peer.runtime.signals import STOPPED, Stop
from peer.starter.command import new
from peer.state.recorder import choose_run_dir, latest_run
from sim.api import run
from sim.commands import compare_command, evaluate, partition, plot, sample, theory
from sim.export.command import export
from sim.page.command import page_command
from sim.replay.command import replay
from sim.replay.whatif import whatif
from sim.reporting.console import show_report
from sim.runs.checkpoints import Interrupted, Stops
from sim.runs.processes import processes_of
from sim.runs.simulate import Run
from sim.runs.simulate_sharded import run_as_rank, run_in_processes
from sim.sharding.collectives import join, own_rank, torchrun_words, world_size
from sim.torture.command import torture
from topology.errors import UserError

STOP = Stop()

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
        int | None,
        typer.Option(
            "--processes",
            min=1,
            show_default=False,
            help="Share the peers out over so many; by default one, or as many as a resumed run "
            "had.",
        ),
    ] = None,
    changes: Set = None,
    run_dir: RunDir = None,
    device: Device = None,
    report: Report = True,
    baselines: Baselines = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run from its last checkpoint.")
    ] = False,
    checkpoint: Annotated[
        int,
        typer.Option(
            "--checkpoint", min=0, help="Save all peers every so many rounds; 0: when stopped."
        ),
    ] = 0,
    live: Live = None,
) -> None:
    """Run every peer of an experiment file, in this process or shared out over several.

    Ctrl-C stops it after the round at hand; --resume goes on from there.
    """
    console = terminal()
    experiment = load_experiment(file, changes, device)
    if resume and run_dir is None:
        run_dir = latest_run(file.stem)
        if run_dir is None:
            raise UserError(
                f"--resume: there is no run runs/{file.stem}-N here; name its --run-dir"
            )
    how = {
        "run_dir": run_dir,
        "name": file.stem,
        "engine": engine,
        "resume": resume,
        "stops": Stops(checkpoint, STOP.asked.is_set),
    }
    STOP.obey_signals()
    is_first = own_rank() == 0  # which speaks for all
    STOP.begun(console.print if is_first else _say_nothing, lambda: "what it did is lost")
    if live is not None:  # whoever serves the page must know where the run writes
        how["run_dir"] = run_dir = choose_run_dir(run_dir, file.stem, shared=resume)
    program = algorithms.find(experiment)
    page_of = (live if is_first else None, experiment, program)
    if processes is None:
        own = run_dir if resume and world_size() == 1 else None
        processes = 1 if own is None else processes_of(own)
    try:
        with followed(*page_of, run_dir or Path(), console.print):
            if processes > 1 or world_size() > 1:
                done = _in_processes(experiment, processes, console, how)
            else:
                done = _in_this_process(experiment, console, how)
    except Interrupted as stopped:
        if stopped.round is None:
            line = f"stopped, and nothing was saved: {stopped.why}"
        else:
            words = [*torchrun_words(), "sim", "run", str(file), "--engine", engine]
            words += ["--run-dir", str(stopped.folder)]
            words += ["--processes", str(processes)] * (processes > 1)
            for change in changes or []:
                words += ["--set", change]
            words += ["--device", device] if device else []
            command = shlex.join([*words, "--resume"])
            line = f"stopped after round {stopped.round}; go on with: {command}"
        if is_first:
            console.print(line, highlight=False, soft_wrap=True)
        sys.exit(STOPPED)
    finally:
        STOP.let_go()
    if done is None:
        return  # the first rank says what there is to say
    if report:
        show_report(done.path, console, seconds=done.seconds, baselines=baselines)
    else:
        console.print(f"the run is in {done.path}")


def _say_nothing(line: str) -> None:
    """Another rank says it."""


class RoundsBar:
    """A bar that shows how many rounds all peers have completed, from the first one on."""

    def __init__(self, experiment: Experiment, console: Console, name: str) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("round {task.fields[round]}/{task.fields[rounds]}"),
            TimeRemainingColumn(),
        )
        rounds = algorithms.find(experiment).rounds
        self.peers = experiment.peers
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task(name, total=rounds * self.peers, round=0, rounds=rounds)

    def peer_completed(self, peer: int, round: int, measures: object) -> None:
        """One peer has completed a round."""
        self._start((round - 1) * self.peers)
        self.bar.update(self.task, advance=1, round=round)

    def all_completed(self, round: int) -> None:
        """All peers have completed about so many rounds."""
        if round:
            self._start(round * self.peers)
            self.bar.update(self.task, completed=round * self.peers, round=round)

    def _start(self, completed: int) -> None:
        if not self.bar.live.is_started:  # not before: whatever is refused is refused by now
            self.bar.start()
            self.bar.update(self.task, completed=completed)  # before a resumed run

    def stop(self) -> None:
        """Leave the terminal to others."""
        if self.bar.live.is_started:
            self.bar.stop()


def _in_this_process(experiment: Experiment, console: Console, how: dict[str, Any]) -> Run:
    bar = RoundsBar(experiment, console, how["name"])
    try:
        return run(experiment, progress=bar.peer_completed, report=False, **how)
    finally:
        bar.stop()


def _in_processes(
    experiment: Experiment, processes: int, console: Console, how: dict[str, Any]
) -> Run | None:
    """Several processes: new ones of this machine, or those that torchrun started.

    Returns:
        The run; None where this process is a rank of it, and not the first.
    """
    if world_size() > 1:
        with join(experiment.device) as communicator:
            done = run_as_rank(communicator, experiment, **how)
        return None if communicator.rank else done
    bar = RoundsBar(experiment, console, f"{how['name']}, {processes} processes")
    try:
        return run_in_processes(experiment, processes, progress=bar.all_completed, **how)
    finally:
        bar.stop()


app.command("plot")(plot)
app.command("evaluate")(evaluate)
app.command("sample")(sample)
app.command("export")(export)
app.command("page")(page_command)
app.command("replay")(replay)
app.command("whatif")(whatif)
app.command("compare")(compare_command)
app.command("partition")(partition)
app.command("theory")(theory)
app.command("torture")(torture)
app.command("new")(new)


def main() -> None:
    """Entry point of the command ``sim``; ``sim FILE`` is short for ``sim run FILE``."""
    arguments = sys.argv[1:]
    commands = {command.name for command in app.registered_commands}
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        arguments = ["run", *arguments]
    run_app(app, arguments)


if __name__ == "__main__":
    main()

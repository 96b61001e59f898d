"""The commands ``peer doctor`` and ``peer check``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from peer.console import Device, RunDir, Set, load_experiment, terminal
from peer.doctor.examination import Wanted, examine
from peer.doctor.machine import WORK, examine_memory
from peer.experiment import Experiment
from peer.net.keys import keys_folder
from peer.program import Program

Find = Callable[[Experiment], Program]

File = Annotated[Path, typer.Option("--topology", help="The experiment file, the same everywhere.")]
Id = Annotated[
    int | None, typer.Option("--id", help="Which peer's machine this is; all peers if absent.")
]
Keys = Annotated[Path | None, typer.Option("--keys", help="The folder of secret keys.")]


def add_to(app: typer.Typer, find: Find) -> None:
    """Give ``app`` both commands; ``find`` looks an experiment's program up."""

    @app.command("doctor")
    def doctor(
        file: File,
        peer: Id = None,
        changes: Set = None,
        run_dir: RunDir = None,
        device: Device = None,
        keys: Keys = None,
    ) -> None:
        """Say which layer keeps a peer from its neighbours, and the command that mends it.

        Every layer in turn: data, disk, memory, descriptors, threads, key and port here; then of
        each neighbour name, route, port, key, experiment, torch and clock. The exit code is 2
        where anything is to be mended, and 0 where all is well.
        """
        run(find, file, peer, changes, run_dir, device, keys, must_be_there=True)

    @app.command("check")
    def check(
        file: File,
        peer: Id = None,
        changes: Set = None,
        device: Device = None,
        keys: Keys = None,
    ) -> None:
        """The same as doctor, before anything runs: a neighbour may not have been started yet."""
        run(find, file, peer, changes, None, device, keys, must_be_there=False)


def run(
    find: Find,
    file: Path,
    peer: int | None,
    changes: list[str] | None,
    run_dir: Path | None,
    device: str | None,
    keys: Path | None,
    must_be_there: bool,
) -> None:
    """Examine, name the layer to begin with, and exit with 2 if there is one."""
    console = terminal()
    room = examine_memory(WORK)
    if room.is_fault:  # not even the file can be read
        console.print(room.words, style="red", highlight=False, soft_wrap=True)
        faults = [room]
    else:
        experiment = load_experiment(file, changes, device)
        folder = run_dir or Path("runs")
        wanted = Wanted(peer, file, keys_folder(keys), folder.absolute(), must_be_there)
        faults = examine(experiment, find(experiment), wanted, console)
    if not faults:
        console.print("all is well", highlight=False)
        return
    first = faults[0]
    more = f" ({len(faults)} faults; the first may be behind the others)" if faults[1:] else ""
    mend = f": {first.mend}" if first.mend else ", as its line says"
    line = f"the layer to mend is {first.layer}{mend}{more}"
    console.print(line, style="red", highlight=False, soft_wrap=True)
    sys.exit(2)

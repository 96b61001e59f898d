"""What the two commands share: options, messages, exit codes."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from peer.experiment import Experiment, load
from topology.errors import UserError

LACKING = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE,
    errno.EIO, errno.ENOMEM,
}  # fmt: skip
"""What a machine may lack: then there is nothing to be put right in what the user said."""

errors = Console(stderr=True, soft_wrap=True, highlight=False)

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the file, e.g. algorithm.rounds=50."
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", help="Where to write. [default: the next free runs/FILE-N]"),
]
Device = Annotated[
    str | None, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, mps...")
]
Report = Annotated[
    bool, typer.Option("--report/--no-report", help="Judge the generators, write the report.")
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines", help="Beside it: the peers untrained, and trained while nobody talks."
    ),
]


def load_experiment(path: Path, changes: list[str] | None, device: str | None) -> Experiment:
    """The experiment of a command: its file, with ``--set`` and ``--device`` applied."""
    overrides = list(changes or [])
    if device is not None:
        overrides.append(f"device={device}")
    return load(path, overrides)


def run_app(app: typer.Typer, arguments: list[str] | None = None) -> None:
    """Run a command line; what the user can put right is one line and exit code 2."""
    try:
        app(args=arguments)
    except UserError as problem:
        errors.print(f"error: {problem}", style="red", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as problem:  # the system's, and ZeroMQ's, which are of another class
        if getattr(problem, "errno", None) not in LACKING:
            raise
        path = getattr(problem, "filename", None)
        where = f"{path}: " if path else ""
        errors.print(f"error: {where}{getattr(problem, 'strerror', problem)}", style="red",
                     markup=False)  # fmt: skip
        sys.exit(1)

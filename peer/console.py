"""What the commands ``peer`` and ``sim`` share: options, messages, exit codes."""

from __future__ import annotations

import errno
import io
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table

from peer.experiment import Experiment, load
from topology.errors import InputNote, Isolation, UserError
from topology.names import first_line

LACKING = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE,
    errno.EIO, errno.ENOMEM,
}  # fmt: skip
"""What a machine may lack: then there is nothing to be put right in what the user said."""


def terminal(**options: Any) -> Console:
    """A console to which all text is plain: a file may be called ``exp[bold]1`` or ``:x:``."""
    return Console(markup=False, emoji=False, **options)


def fitting(
    headings: list[str],
    giving_way: Sequence[str],
    table: Callable[[list[str]], Table],
    console: Console,
    options: ConsoleOptions,
) -> list[str]:
    """The columns for which there is room: whole ones give way, the least needed first."""
    found, wide = list(headings), options.update(max_width=1000)
    for heading in giving_way:
        if Measurement.get(console, wide, table(found)).maximum <= options.max_width:
            break
        if heading in found:
            found.remove(heading)
    return found


errors = terminal(stderr=True, soft_wrap=True, highlight=False)

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
    """Run a command line; a :class:`UserError` is printed in one line, with exit code 2.

    Notes on the user's files (:class:`topology.errors.InputNote`) are one line each, said once.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack a sign that a name has
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputNote)
        show_notes()
        try:
            app(args=arguments)
        except UserError as problem:
            errors.print(f"error: {one_line(str(problem))}", style="red")
            sys.exit(3 if isinstance(problem, Isolation) else 2)
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as problem:
            words = what_is_lacking(problem)
            if not words:
                raise
            errors.print(f"error: {one_line(words)}", style="red")
            sys.exit(1)


def what_is_lacking(problem: Exception) -> str:
    """What of the machine does not suffice, in words; empty where it is something else.

    The system's problems, ZeroMQ's and those of memory are of many classes.
    """
    if isinstance(problem, MemoryError) or _NO_MEMORY.search(str(problem)):
        tried = _TRIED.search(str(problem))
        words = tried.group() if tried else first_line(problem)
        return f"memory does not suffice ({words}); lower batch, peers or the nets"
    if getattr(problem, "errno", None) not in LACKING:
        return ""
    path = getattr(problem, "filename", None)
    where = f"{path}: " if path else ""
    return f"{where}{getattr(problem, 'strerror', problem)}"


_TRIED = re.compile(r"tried to allocate [\d.]+ \w+", re.IGNORECASE)
_NO_MEMORY = re.compile("can't allocate memory|out of memory")
"""What torch says, which has no class of its own for it on a CPU."""


def one_line(text: str) -> str:
    """The text as a terminal may show it: in one line, its control characters and half characters
    (of names that are not UTF-8) written out.
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(shown)


def show_notes() -> None:
    """From now on, notes on the user's files are one line each, and each is said once."""
    said: set[str] = set()
    show = warnings.showwarning

    def show_note(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, InputNote):
            show(message, category, filename, lineno, file, line)
        elif str(message) not in said:
            said.add(str(message))
            errors.print(f"note: {one_line(str(message))}", style="yellow")

    warnings.showwarning = show_note

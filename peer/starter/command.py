"""``peer new`` and ``sim new``: a first experiment file for a folder of pictures."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from peer.console import one_line, terminal
from peer.experiment.schema import from_mapping
from peer.experiment.yaml_file import read_mapping, write_value
from peer.starter.rules import KEYS, after, check_count
from peer.starter.survey import Survey, look_at
from topology.errors import UserError


def new(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="Pictures, one folder a class, one folder a peer (peer-0, peer-1... or a path "
            "with {id}); or an .npz file, or a folder of IDX files or of CIFAR-10's.",
        ),
    ],
    peers: Annotated[
        int | None,
        typer.Option(
            "--peers", min=1, help="How many. [default: 5, or one for each peer's folder]"
        ),
    ] = None,
    own: Annotated[
        bool,
        typer.Option("--own", help="These are this machine's; the other machines have their own."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write. [default: FOLDER's name.yaml]")
    ] = None,
) -> None:
    """Look at a folder of pictures, and write an experiment file that fits them.

    Every key has a comment that says why. A file that is there is never overwritten.
    """
    console = terminal(soft_wrap=True, highlight=False)
    path = out or Path(f"{_name_of(folder)}.yaml")
    if path.exists():
        raise UserError(f"{path}: is there already, and is left as it is; name another with --out")
    found = look_at(folder, peers, own)
    check_count(found, folder)
    console.print(one_line(f"{folder}: {found.in_words()}"))
    write_file(replace(found, path=_seen_from(found.path, path.parent)), path)
    console.print(f"written: {path}")
    file = shlex.quote(str(path))
    if found.elsewhere:
        console.print(
            "number the machines from 0; on each, with its own number (between the first command "
            "and the second, set 'keys:' and 'addresses:' in the file, and copy it to all):"
        )
    for command, what in _next(found, file):
        console.print(f"  {command:<40}  # {what}")


def _next(found: Survey, file: str) -> tuple[tuple[str, str], ...]:
    """The commands that come next, and what each is for."""
    if found.elsewhere:
        return (
            ("peer keys --id 0", "makes its key, and prints the line for 'keys:'"),
            (f"peer check --id 0 --topology {file}", "what is lacking, before it starts"),
            (f"peer --id 0 --topology {file}", "trains"),
        )
    return (
        (f"sim {file}", "all peers in this process"),
        (f"peer check --topology {file}", "what real peers need, before they start"),
        (f"peer up --topology {file}", "all peers as processes of this machine"),
    )


def write_file(found: Survey, path: Path) -> None:
    """Write the experiment that fits what was found, every key with a comment.

    Raises:
        UserError: there is a file already, or it cannot be written.
    """
    text = describe(found)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(
            f"{path}: is there already, and is left as it is; name another with --out"
        ) from None
    except OSError as problem:
        raise UserError(f"--out {path}: cannot be written: {problem.strerror}") from None
    from_mapping(read_mapping(path, str(path), ""), folder=path.parent, where=str(path))


def describe(found: Survey) -> str:
    """The text of the experiment file: a comment above each key that says why."""
    lines = [f"# {one_line(found.in_words())}.", ""]
    above = ""
    for key in KEYS:
        value = key.value(found)
        if value is None:
            continue
        group, _, name = key.name.rpartition(".")
        if group != above:
            lines.append(f"{group}:" if group else "")
            above = group
        indent = "  " * bool(group)
        lines += [f"{indent}# {key.why(found)}", f"{indent}{name}: {write_value(value)}"]
    return "\n".join([*lines, *after(found), ""])


def _name_of(folder: str) -> str:
    """A name for the file: the folder's, without what stands for a peer."""
    parts = [part for part in Path(folder).parts if part not in ("/", "..", "~")]
    named = [re.sub(r"[-_.]?\{id\}", "", Path(part).stem) for part in parts]
    name = next((name for name in reversed(named) if name and name != "peer"), "")
    return name or Path(folder).resolve().name or "pictures"


def _seen_from(path: str, folder: Path) -> str:
    """The path as the file's folder sees it: relative where it lies below, absolute elsewhere."""
    if path.startswith("~"):
        return path
    whole, start = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(whole, start) if whole.startswith(f"{start}{os.sep}") else whole

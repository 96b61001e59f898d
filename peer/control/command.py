"""``peer leave`` and ``peer forget``: orders to a peer that runs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from peer.control.door import NAME, order
from topology.errors import UserError

Id = Annotated[
    int | None,
    typer.Option("--id", min=0, help="Which peer is told; the only one that runs there if absent."),
]
Folder = Annotated[Path, typer.Option("--run-dir", help="The run's folder, on this machine.")]


def leave(folder: Folder, peer: Id = None) -> None:
    """Let a running peer leave for good: it settles what it owes, and the others go on at once."""
    _tell(folder, peer, {"order": "leave"})


def forget(
    gone: Annotated[int, typer.Argument(metavar="ID", min=0, help="The peer that is gone.")],
    folder: Folder,
    peer: Id = None,
) -> None:
    """Tell a running peer, and by it all others, that a peer does not come back."""
    _tell(folder, peer, {"order": "forget", "peer": gone})


def _tell(folder: Path, peer: int | None, words: dict[str, Any]) -> None:
    """Give an order to a peer of the run in ``folder``, and print what it says.

    Raises:
        UserError: it is not running, it is not clear which one, or it refuses.
    """
    if peer is not None:
        print(order(folder / f"peer-{peer}", words), flush=True)
        return
    running = sorted(path.parent for path in folder.glob(f"peer-*/{NAME}"))
    if len(running) != 1:
        several = f"{len(running)} peers run in {folder}: say which one by --id"
        raise UserError(f"--run-dir: no peer is running in {folder}" if not running else several)
    print(order(running[0], words), flush=True)

"""``peer keys``, and orders to a peer that runs: ``admit``, ``leave``, ``forget``, ``reload``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from peer.control.door import NAME, order
from peer.net.keys import NEXT, keys_folder, make_keys, rotate_keys
from topology.errors import UserError

Id = Annotated[
    int | None,
    typer.Option("--id", min=0, help="Which peer is told; the only one that runs there if absent."),
]
Folder = Annotated[Path, typer.Option("--run-dir", help="The run's folder, on this machine.")]


Keys = Annotated[Path | None, typer.Option("--keys", help="The folder of secret keys.")]


def keys(
    peer: Annotated[int, typer.Option("--id", min=0, help="Which peer's pair.")],
    folder: Keys = None,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make the pair that is to follow the one in use.")
    ] = False,
) -> None:
    """Make this peer's key pair where it will live, and print the public line for the file."""
    where = keys_folder(folder)
    public = rotate_keys(peer, where) if rotate else make_keys(peer, where)
    path = where / f"peer-{peer}.secret{NEXT if rotate else ''}"
    print(f"the secret key is {path}; it stays there", file=sys.stderr)
    print("put this line under 'keys:' in the experiment file, at every peer:", file=sys.stderr)
    print(f'  {peer}: "{public}"')


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


def reload(folder: Folder, peer: Id = None) -> None:
    """Let a running peer read the keys in its file again, as SIGHUP does without a terminal."""
    _tell(folder, peer, {"order": "reload"})


def admit(
    comes: Annotated[int, typer.Argument(metavar="ID", min=0, help="The peer that is to come.")],
    folder: Folder,
    peer: Id = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="Where it is, if the file's template does not say."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Its public key, as 'peer keys' prints it.")
    ] = None,
) -> None:
    """Let a running peer accept another that its file does not name as its neighbour."""
    words = {"order": "admit", "peer": comes, "address": address, "key": key}
    _tell(folder, peer, words)


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

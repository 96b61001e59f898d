"""``peer keys``, and orders to a peer that runs: ``invite``, ``admit``, ``leave``, ``forget``,
``reload``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from peer.control.door import NAME, is_open, order
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


def invite(
    comes: Annotated[
        int | None,
        typer.Option("--id", min=0, help="The newcomer's id. [default: the next free one]"),
    ] = None,
    links: Annotated[
        str | None,
        typer.Option(
            "--links",
            help="Whom it is to exchange with: neighbours of the peer that invites. [default: that "
            "peer, and one neighbour]",
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, max=1440, help="How long the code is good for.")
    ] = 15.0,
    shows: Annotated[bool, typer.Option("--list", help="Show the codes that are valid.")] = False,
    revoke: Annotated[
        int | None, typer.Option("--revoke", metavar="ID", help="Take the code of that id back.")
    ] = None,
    peer: Annotated[
        int | None,
        typer.Option("--at", min=0, help="Which peer invites. [default: the first that runs here]"),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--run-dir", help="The run's folder. [default: of the run in runs/]"),
    ] = None,
) -> None:
    """Print a code by which another machine joins a run, once: there, say 'peer join CODE'."""
    inviting = _inviting(folder, peer)
    if shows or revoke is not None:
        what: dict[str, Any] = (
            {"order": "invited"} if revoke is None else {"order": "revoke", "peer": revoke}
        )
        print(order(inviting, what), flush=True)
        return
    ids = None if links is None else list(ids_in(links))
    words = {"order": "invite", "peer": comes, "links": ids, "seconds": 60.0 * minutes}
    code, *more = order(inviting, words).splitlines()
    print(code, flush=True)
    for line in more:
        print(line, file=sys.stderr)
    if sys.stdout.isatty():
        show_qr(code)


def show_qr(code: str) -> None:
    """Draw a code in the terminal, for a camera; without the package for it, say so."""
    try:
        import segno
    except ImportError:
        print(
            "no QR code: the package segno is not installed (pip install 'hearsay[invite]'); the "
            "code above is all that is needed",
            file=sys.stderr,
        )
        return
    segno.make(code, error="m").terminal(compact=True)


def ids_in(links: str | None) -> tuple[int, ...]:
    """The ids that ``--links`` names.

    Raises:
        UserError: they are none.
    """
    try:
        return tuple(sorted({int(each) for each in links.split(",")})) if links else ()
    except ValueError:
        raise UserError(f"--links {links}: must be ids, such as 0,3") from None


def _inviting(folder: Path | None, peer: int | None) -> Path:
    """The folder of the peer that is to invite: any that runs here, the first where several do.

    Raises:
        UserError: none does, or it is not clear in which run.
    """
    if folder is not None and peer is not None:
        return folder / f"peer-{peer}"
    runs = Path("runs").glob("*") if folder is None else [folder]
    which = "*" if peer is None else peer
    doors = [path.parent for run in runs for path in run.glob(f"peer-{which}/{NAME}")]
    found = sorted((door.parent, int(door.name[5:]), door) for door in doors if is_open(door))
    if not found:
        raise UserError(f"--run-dir: no peer is running in {folder or 'runs/'}")
    under_way = sorted({run for run, _, _ in found})
    if len(under_way) > 1:
        names = ", ".join(map(str, under_way))
        raise UserError(f"--run-dir: several runs are under way ({names}); name one")
    return found[0][2]


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

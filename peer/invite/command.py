"""The command ``peer join``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from peer.console import Device, RunDir, Set
from peer.experiment import Experiment
from peer.experiment.addresses import where_to_listen
from peer.invite.code import Code, read_code
from peer.invite.join import FILE, Newcomer, own_address, read_text, write_down
from peer.net.keys import keys_folder, make_keys
from peer.net.members.newcomers import as_listed, check_newcomer
from peer.net.sockets import Sockets
from peer.program import Program
from peer.runtime.loading import load_peer
from peer.state.recorder import choose_run_dir, make_run_dir
from topology.errors import UserError

Find = Callable[[Experiment], Program]
Run = Callable[..., None]


def add_to(app: typer.Typer, find: Find, run: Run) -> None:
    """Give ``app`` the command.

    Args:
        app: of the commands.
        find: looks an experiment's program up.
        run: runs one peer, as ``peer --id`` does.
    """

    @app.command("join")
    def join(
        context: typer.Context,
        words: Annotated[
            list[str], typer.Argument(metavar="CODE", help="As 'peer invite' printed it.")
        ],
        changes: Set = None,
        run_dir: RunDir = None,
        device: Device = None,
        keys: Annotated[
            Path | None, typer.Option("--keys", help="The folder of secret keys.")
        ] = None,
        address: Annotated[
            str | None,
            typer.Option(
                "--address", help="Where others reach this machine, if that cannot be seen."
            ),
        ] = None,
    ) -> None:
        """Join a run by a code: fetch its experiment, be let in, and train.

        What it takes is in one folder; only the secret key lies where keys do.
        """
        code = read_code("".join(words))
        folder = choose_run_dir(run_dir, "joined", shared=True)
        if (folder / FILE).exists():
            raise UserError(
                f"--run-dir {folder}: somebody has joined there already, by this code or another; "
                f"go on with: peer --id N --topology {folder / FILE} --run-dir {folder} --resume"
            )
        public = make_keys(code.peer, keys_folder(keys))
        with Newcomer(code, public) as newcomer:
            text = newcomer.fetch()
            experiment = read_text(text, Path.cwd(), _changes(changes, device))
            _check(experiment, find(experiment), code)
            where = own_address(experiment, code) if address is None else address
            _check_port(experiment, code.peer, where)
            make_run_dir(folder)
            links = newcomer.claim(where)
        file = write_down(text, Path.cwd(), folder, code.peer, links, experiment.peers)
        who = ", ".join(map(str, sorted(links)))
        print(f"let in as peer {code.peer}, by {who}; the experiment is in {file}", file=sys.stderr)
        options: dict[str, Any] = {"changes": changes, "device": device, "keys": keys}
        run(
            context,
            peer=code.peer,
            file=file,
            run_dir=folder,
            join=True,
            links=",".join(map(str, sorted(links))),
            address=where,
            **options,
        )


def _changes(changes: list[str] | None, device: str | None) -> list[str]:
    return [*(changes or []), *([] if device is None else [f"device={device}"])]


def _check(experiment: Experiment, program: Program, code: Code) -> None:
    """Refuse what this machine would be refused for, while the code is still good.

    Raises:
        UserError: saying what, and how to go on.
    """
    check_newcomer(experiment, program, code.peer, True, (code.inviter,))
    try:
        load_peer(as_listed(experiment, code.peer), code.peer, program)
    except UserError as problem:
        data, path = experiment.data, experiment.data.path
        if not str(problem).startswith("data") or path is None:
            raise
        needs = f"peer {code.peer} needs the images that data.path: {path} leads to"
        if data.per_peer:
            needs = f"peer {code.peer} needs images of its own"
        raise UserError(
            f"{problem}; {needs}: put them there, or join with --set data.path=PATH (the code is "
            "still good)"
        ) from None


def _check_port(experiment: Experiment, peer: int, where: str) -> None:
    """Refuse an address at which this machine cannot listen, while the code is still good.

    Raises:
        UserError: saying why.
    """
    listen = experiment.listening_address(peer, where)
    if experiment.listen is None:
        listen, _ = where_to_listen(listen)
    try:
        Sockets(listen, {}, None).close(0)
    except UserError as problem:
        raise UserError(
            f"{problem}; say where others reach this machine: --address tcp://HOST:PORT (the code "
            "is still good)"
        ) from None

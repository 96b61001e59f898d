"""Coming by a code: all that a newcomer asks for, and what it writes down."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from peer.experiment import Experiment, from_mapping
from peer.experiment.addresses import number_towards, numeric
from peer.experiment.yaml_file import AN_EXPERIMENT, parse_mapping, write_mapping
from peer.invite.code import Code, digest_of
from peer.invite.portable import LONGEST
from peer.net.away.contacts import Contact as Reached
from peer.net.keys import key_of, pair_of
from peer.net.members.newcomers import Contact, write_admitted
from peer.net.reach.asking import Asking, NotReached
from peer.net.sockets import Security
from peer.state.checkpoint import write_whole
from topology.errors import UserError

PATIENCE = 60.0
"""Seconds in which the inviter, and those it tells, let us in."""

FILE = "joined.yaml"
"""The experiment's file, in the folder of the run."""


class Newcomer:
    """Asks the inviter of a code; use it in a ``with`` block.

    Args:
        code: what we have.
        key: our public key.

    Raises:
        UserError: the inviter is not reached.
    """

    def __init__(self, code: Code, key: str) -> None:
        self.code = code
        self.key = key
        public, secret = pair_of(code.secret)
        security = Security(secret, public, {code.inviter: key_of(code.key)})
        self._where = f"peer {code.inviter} at {code.address}"
        try:
            self._asking = Asking(code.inviter, code.address, security)
        except NotReached as problem:
            raise self._not_reached(problem) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._asking.__exit__(None, None, None)

    def fetch(self) -> str:
        """The text of the experiment's file, which the code's digest is of.

        Raises:
            UserError: it cannot be had, or is another one.
        """
        found: bytes = b""
        while True:
            size, part = self._ask("part", "file", len(found), self.key)
            found += part
            if len(found) >= size:
                break
            if not part or size > LONGEST:
                raise UserError(f"{self._where} sends no experiment that a code leads to")
        text: str = found.decode(errors="replace")
        if digest_of(text) != self.code.digest:
            raise UserError(
                f"{self._where} sends another experiment than the code was made for; ask for a "
                "new code"
            )
        return text

    def claim(self, address: str) -> dict[int, Contact]:
        """Be let in, at that address; returns by whom.

        Raises:
            UserError: we are not.
        """
        (ids,) = self._ask("in", "claim", self.key, address, seconds=PATIENCE)
        links = {}
        for k in ids:
            where, its_key = self._ask("at", "contact", k)
            links[k] = Contact(where, its_key)
        return links

    def _ask(
        self, wanted: str, kind: str, *words: object, seconds: float = 15.0
    ) -> tuple[Any, ...]:
        try:
            got, answer = self._asking.ask(kind, *words, seconds=seconds)
        except NotReached as problem:
            raise self._not_reached(problem) from None
        if got != wanted:
            raise UserError(f"{self._where}: {answer[0] if got == 'no' else 'it answers oddly'}")
        return answer

    def _not_reached(self, problem: NotReached) -> UserError:
        code = self.code
        if problem.contact is Reached.FAILED:
            return UserError(
                f"{self._where} has another key than the code says: it was changed since, or that "
                "is another program; ask for a new code: peer invite"
            )
        if problem.contact is not Reached.REFUSED:
            return UserError(f"{self._where}, which made the code, is not reached: {problem}")
        past = time.time() - code.until
        if past >= 0:
            return UserError(
                f"the code has ended, {past / 60:.0f} minutes ago by this machine's clock; ask for "
                "a new one: peer invite"
            )
        return UserError(
            f"{self._where} lets nobody in by this code any more: it was taken back, or that peer "
            "was started anew; ask for a new one: peer invite"
        )


def own_address(experiment: Experiment, code: Code) -> str:
    """Where others reach this machine: as the file's template names it, or by the number that it
    has on the way to the inviter.

    Raises:
        UserError: there is no way there.
    """
    template = experiment.addresses
    if isinstance(template, str) and "{id}" in template:
        return experiment.address(code.peer)
    try:
        here = number_towards(code.address)
    except OSError as problem:
        raise UserError(
            f"--address: which of this machine's numbers others reach is not known "
            f"({problem.strerror}); say it, such as --address tcp://192.168.0.15:47105"
        ) from None
    return numeric(here, experiment.port + code.peer)


def read_text(text: str, folder: Path, changes: Iterable[str]) -> Experiment:
    """The experiment of a file's text, with paths that start at ``folder``.

    Raises:
        UserError: it is none.
    """
    where = "the inviter's experiment"
    keys = parse_mapping(text.encode(), where, AN_EXPERIMENT)
    return from_mapping(keys, changes, folder, where)


def write_down(
    text: str, base: Path, run: Path, peer: int, links: dict[int, Contact], listed: int
) -> Path:
    """Write all that a newcomer needs into its folder; returns the experiment's file.

    Relative paths in it start at ``base``, where the command was given.

    Raises:
        UserError: it cannot be written.
    """
    path = run / FILE
    here = write_mapping({"base": str(base)})
    try:
        write_whole(path, f"# fetched by 'peer join', as peer {peer}\n{here}{text}".encode())
    except OSError as problem:
        raise UserError(f"{path}: cannot be written: {problem.strerror}") from None
    own = run / f"peer-{peer}"
    write_admitted(own, {k: contact for k, contact in links.items() if k >= listed})
    return path

"""The door to a running peer: a socket in its own folder that takes one order a connection.

A Unix-domain socket, ``peer-3/control``: no port, nothing that another machine could reach. It can
be opened by the user that runs the peer alone (mode 0600, and the system says who is there). Other
ways were worse: a file that is watched cannot answer, and a signal has no words.

An order is one line of JSON, such as ``{"order": "forget", "peer": 3}``; the answer is one line,
``{"said": ...}`` or ``{"refused": ...}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from topology.errors import UserError

NAME = "control"
"""Of the socket, in the peer's folder."""

LONGEST = 100
"""Characters of a socket's path: systems take 104 or 108."""

LIMIT = 65536
"""Bytes of an order."""

ANSWER = 16 * 2**20
"""Bytes of an answer: an overview of a thousand peers is one."""

PATIENCE = 30.0
"""Seconds in which an order is said, and answered."""

Obey = Callable[[Mapping[str, Any]], str]
"""Carries out an order and says what came of it; a UserError says why it does not."""


class Door:
    """Takes orders for a peer, in a thread of its own, until it is closed.

    Args:
        folder: the peer's own; it is there.
        obey: carries out an order.
        log: gets a line where the door cannot be opened: the peer runs without it.
    """

    def __init__(self, folder: Path, obey: Obey, log: Callable[[str], None]) -> None:
        self.path = folder / NAME
        self._obey = obey
        self._socket: socket.socket | None = None
        try:
            self._socket = self._open(folder)
        except OSError as problem:
            log(f"{self.path}: takes no orders: {problem.strerror or problem}")
            return
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def _open(self, folder: Path) -> socket.socket:
        folder.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)  # of a process that was killed
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(made.fileno(), 0o600)  # before it can be found
            with _short(folder) as path:
                made.bind(path)
            self.path.chmod(0o600)  # where the line before last means nothing
            made.listen(8)
        except OSError:
            made.close()
            raise
        return made

    def _serve(self) -> None:
        assert self._socket is not None
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:  # closed
                return
            with caller, contextlib.suppress(OSError):  # who hangs up is told nothing
                caller.settimeout(PATIENCE)
                if _is_ours(caller):
                    _send(caller, self._answer(caller))

    def _answer(self, caller: socket.socket) -> dict[str, str]:
        try:
            order = json.loads(_line(caller, LIMIT))
            if not isinstance(order, dict):
                raise ValueError
        except ValueError:
            return {"refused": "an order is one line of JSON, a mapping"}
        try:
            return {"said": self._obey(order)}
        except UserError as problem:
            return {"refused": str(problem)}

    def close(self) -> None:
        """Take no orders any more."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # a thread may wait in it
            self._socket.close()
            with contextlib.suppress(OSError):
                self.path.unlink()


def order(folder: Path, words: Mapping[str, Any], patience: float = PATIENCE) -> str:
    """Give an order to the peer whose folder that is; returns what it says within so many seconds.

    Raises:
        UserError: it is not running, or refuses.
    """
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with caller:
        caller.settimeout(patience)
        try:
            with _short(folder) as path:
                caller.connect(path)
            _send(caller, words)
            answer = json.loads(_line(caller, ANSWER))
        except (FileNotFoundError, ConnectionRefusedError):
            raise UserError(f"--run-dir: no peer is running in {folder}") from None
        except PermissionError:
            raise UserError(f"--run-dir: the peer in {folder} is another user's") from None
        except (OSError, ValueError) as problem:
            raise UserError(f"the peer in {folder} does not answer ({problem})") from None
    if "refused" in answer:
        raise UserError(answer["refused"])
    return str(answer["said"])


def is_open(folder: Path) -> bool:
    """Whether a peer of ours takes orders in that folder; one that was killed leaves its socket."""
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with caller:
        try:
            with _short(folder) as path:
                caller.connect(path)
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path of the socket that fits an address, however deep the folder lies."""
    path = str(folder / NAME)
    if len(os.fsencode(path)) <= LONGEST:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


def _is_ours(caller: socket.socket) -> bool:
    """Whether it is this user, or root, that calls; where the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the socket's mode and its folder's have to do
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return user in (os.geteuid(), 0)


def _send(caller: socket.socket, words: Mapping[str, Any]) -> None:
    caller.sendall(json.dumps(words).encode() + b"\n")


def _line(caller: socket.socket, limit: int) -> bytes:
    """One line from a socket, or what has come of it when it is longer than that."""
    got = bytearray()
    while not got.endswith(b"\n"):
        more = caller.recv(4096)
        if not more or len(got) > limit:
            break
        got += more
    return bytes(got)

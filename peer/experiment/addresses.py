"""Where peers are: ``tcp://HOST:PORT``, or ``ipc:///FOLDER/NAME`` among processes of a machine.

An ipc address is the path of a Unix socket: whoever may write to that file may talk to the peer, so
the permissions of its folder protect it.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

from topology.errors import UserError

IPC = "ipc://"

LONGEST_PATH = 107
"""Bytes in a Unix socket's path, at most (``sun_path`` without its closing zero)."""


def split(address: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port of a TCP address.

    Raises:
        UserError: it does not parse.
    """
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname, parts.port
    except ValueError as problem:
        raise UserError(
            f"addresses: {address} is no address ({problem}); say tcp://HOST:PORT"
        ) from None


def is_ipc(address: str) -> bool:
    """Whether an address is a file of this machine."""
    return address.startswith(IPC)


def ipc_path(address: str) -> Path:
    """The file of an ipc address.

    Raises:
        UserError: it is not an absolute path, or one too long for a socket.
    """
    path = address.removeprefix(IPC)
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise UserError(f"addresses: {address} names no file; say ipc:///FOLDER/NAME")
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise UserError(
            f"addresses: {address} is longer than the {LONGEST_PATH} bytes that a socket's path "
            "may have; choose a folder nearer the root"
        )
    return Path(path)


def is_loopback(address: str) -> bool:
    """Whether an address cannot be reached from another machine."""
    if address.startswith((IPC, "inproc://")):
        return True
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_way(address: str) -> None:
    """Check that an ipc address can be bound: ZeroMQ silently removes whatever is at its path.

    Raises:
        UserError: a program listens there, the file is no socket, or its folder is not there.
    """
    path = ipc_path(address)
    if not path.parent.is_dir():
        raise UserError(f"addresses: cannot listen at {address}: make the folder {path.parent}")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as problem:
        raise UserError(f"addresses: cannot listen at {address}: {problem.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise UserError(f"addresses: {path} is there and is no socket; choose another name")
    if answers(path):
        raise UserError(
            f"addresses: {address} is in use; stop the program that listens there, or choose "
            "another name"
        )


def answers(path: Path) -> bool:
    """Whether a process listens at a Unix socket; the file that a dead one left does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        try:
            knock.connect(str(path))
        except OSError:
            return False
    return True

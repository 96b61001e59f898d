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

DISCOVER = "discover"
"""In place of addresses: each is ``mdns://peer-3``, and where that is, an announcement says."""

UNSAID = 0
"""In place of such an address's port: the announcement says it, too."""

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


def beside(address: str, ports: int) -> str:
    """The address so many ports above another; a file's with ``-election`` at its end."""
    if is_ipc(address):
        return f"{address}-election"
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + ports}" if port.isdigit() else address


def is_number(host: str) -> bool:
    """Whether a host needs no looking up: ``192.168.0.13``, ``fe80::1%eth0``, ``*``."""
    if host == "*":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def numeric(host: str, port: int) -> str:
    """The address of a number, IPv6 in brackets."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def look_up(host: str, port: int) -> tuple[str, ...]:
    """The numbers that a name stands for, IPv4 and IPv6, in the order of this machine's choice.

    Blocks, for tens of seconds where no name server answers.

    Raises:
        OSError: it stands for none.
    """
    found = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    hosts = [_scoped(family, place) for family, _, _, _, place in found]
    return tuple(dict.fromkeys(numeric(each, port) for each in hosts))


def number_towards(address: str) -> str:
    """This machine's own number on the way to an address: where whoever is there reaches it.

    Raises:
        OSError: there is no way there.
    """
    _, host, port = split(address)
    family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect(place)  # which sends nothing
        return str(way.getsockname()[0])


def _scoped(family: int, place: tuple[object, ...]) -> str:
    """The host in what getaddrinfo gives; a link-local IPv6 number with its interface."""
    host = str(place[0])
    if family == socket.AF_INET6 and place[3] and "%" not in host:
        return f"{host}%{socket.if_indextoname(int(str(place[3])))}"
    return host


def is_ipc(address: str) -> bool:
    """Whether an address is a file of this machine."""
    return address.startswith(IPC)


def name_in(address: str) -> tuple[str, int] | None:
    """The name, and the port, in an address that is neither a number nor a file."""
    if is_ipc(address):
        return None
    scheme, host, port = split(address)
    if scheme == "mdns" and host is not None:
        return host, UNSAID
    if host is None or port is None or is_number(host):
        return None
    return host, port


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


def check_dialled(address: str, neighbour: int) -> None:
    """ZeroMQ takes the port 99999 for 34463, and looks for a relative path wherever it was started.

    Raises:
        UserError: it is no address.
    """
    if is_ipc(address):
        ipc_path(address)
        return
    try:
        scheme, host, port = split(address)
    except UserError:
        raise no_address(address, neighbour) from None
    if scheme not in ("inproc", "mdns") and (scheme != "tcp" or not host or port is None):
        raise no_address(address, neighbour)


def no_address(address: str, neighbour: int) -> UserError:
    """What to say where a neighbour's address is none."""
    return UserError(
        f"addresses: {address} of peer {neighbour} is no address; "
        "say tcp://HOST:PORT or ipc:///FOLDER/NAME"
    )


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


def where_to_listen(address: str) -> tuple[str, str]:
    """Where a peer listens that is reached at ``address``, and what to tell the user of it.

    On Debian, a machine's own name stands for 127.0.1.1, where no neighbour reaches it: then it
    listens everywhere.
    """
    named = name_in(address)
    if named is None or named[0] == "localhost":
        return address, ""
    try:
        found = look_up(*named)
    except (OSError, UnicodeError):
        return address, ""  # whoever listens there says so
    if not all(is_loopback(each) for each in found):
        return address, ""
    everywhere = f"tcp://*:{named[1]}"
    return everywhere, (
        f"on this machine the name {named[0]} stands for {', '.join(found)}, where no neighbour "
        f"reaches it; listening at {everywhere} instead"
    )


def to_bind(listen: str) -> str:
    """What ZeroMQ can bind: numbers and interfaces, not names, and files whose place is free.

    Raises:
        UserError: it is not known here.
    """
    if is_ipc(listen):
        make_way(listen)
        return listen
    named = name_in(listen)
    if named is None:
        scheme, host, port = split(listen)
        is_plain = scheme == "tcp" and host is not None and port is not None and host != "*"
        return numeric(host, port) if is_plain and host and port is not None else listen
    try:
        return look_up(*named)[0]
    except (OSError, UnicodeError):
        raise UserError(
            f"addresses: the name in {listen} is not known to this machine; to listen everywhere, "
            "say listen: 'tcp://*:{port}'"
        ) from None

"""Descriptors: enough for every neighbour, and no more than a share of them for strangers.

Whoever reaches the port can open connections and be silent, without any key. ZeroMQ closes each
after seconds; until then a thousand of them would take every descriptor of the process, and leave
none for the disk, nor for dialling a neighbour anew.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket

from topology.errors import UserError

MOST = 1024
"""Silent connections that are kept, at most; fewer where descriptors are few."""

SHARE = 4
"""One descriptor in so many may be a silent connection's."""

EACH, FIXED = 5, 32
"""What a neighbour takes (two connections, and what ZeroMQ watches them by), and what all take."""


class Strangers:
    """Descriptors of connections that were accepted, until the first message comes by each.

    Where there are too many, the oldest is closed: a neighbour's speaks milliseconds after it came.

    Args:
        most: silent connections that are kept; by default, what the descriptors allow.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = allowed() if most is None else most
        self._silent: dict[int, None] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._silent)

    def came(self, descriptor: int) -> None:
        """A connection was accepted."""
        self._silent.pop(descriptor, None)  # of an earlier connection: this one is the newest
        self._silent[descriptor] = None
        while len(self._silent) > self.most:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            shut(oldest)

    def spoke(self, descriptor: int) -> None:
        """A message came by it: whoever it is, it is none of the silent ones."""
        self._silent.pop(descriptor, None)

    def went(self, descriptor: int) -> None:
        """The connection is closed."""
        self._silent.pop(descriptor, None)


def allowed() -> int:
    """How many silent connections the limit of descriptors leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(MOST, soft // SHARE)


def require_descriptors(neighbours: int) -> None:
    """Refuse to begin where there are not enough of them for every neighbour.

    Raises:
        UserError: there are not; says how many it takes.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    least = _in_use() + FIXED + EACH * neighbours
    if least > soft:
        raise UserError(
            f"{neighbours} neighbours take {least} open files and connections, and this "
            f"process may have {soft}; raise it: ulimit -n {least}"
        )


def _in_use() -> int:
    """How many descriptors there are, or the limit where another finds no room."""
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.close(lowest)
    return lowest


def shut(descriptor: int) -> None:
    """Shut a connection down; ZeroMQ, whose it is, sees its end and closes the descriptor.

    It may have done so a moment ago, and the number be another's: a file, which is no socket, or
    another connection, which is made anew.
    """
    with contextlib.suppress(OSError):
        connection = socket.socket(fileno=descriptor)
        try:
            connection.shutdown(socket.SHUT_RDWR)
        finally:
            connection.detach()

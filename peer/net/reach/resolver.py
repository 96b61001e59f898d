"""Names of machines, looked up by threads of our own.

ZeroMQ looks names up on its only I/O thread: one name that nobody answers for stalls every link. So
ZeroMQ gets numbers, and a name that takes long, or is not known, keeps nobody waiting. A name that
is not known is asked for again until it is: a machine may be switched on later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from peer.experiment.addresses import look_up

AGAIN = 5.0
"""Seconds after which a name that was not known is asked for again."""

SLOW = 5.0
"""Seconds without an answer after which a name counts as one that nobody answers for."""


Find = Callable[[str, int], tuple[str, ...]]
"""Looks up the numbers of a name; raises OSError, and may take its time."""


class Unannounced(OSError):
    """Nobody says that it is the one that is looked for: what it says is the reason."""


@dataclass(frozen=True)
class Found:
    """A neighbour's name stands for these numbers, each as ``tcp://NUMBER:PORT``."""

    neighbour: int
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class NotFound:
    """A neighbour's name is not known, and why."""

    neighbour: int
    reason: str


class Resolver:
    """Looks up neighbours' names, a thread for each that is being looked up.

    Args:
        tell: is called, from such a thread, with what was found, and with each new reason why a
            name was not.

    Attributes:
        find: looks one name up: the system's way, unless it is set to another.
    """

    def __init__(self, tell: Callable[[Found | NotFound], None]) -> None:
        self.find: Find = look_up
        self._tell = tell
        self._lock = threading.Lock()
        self._asking: dict[int, float] = {}  # neighbours, and since when they are looked up
        self._closed = threading.Event()

    def ask(self, neighbour: int, host: str, port: int) -> None:
        """Look a neighbour's name up, unless that is under way."""
        with self._lock:
            if neighbour in self._asking or self._closed.is_set():
                return
            self._asking[neighbour] = time.monotonic()
        asked = (neighbour, host, port)
        threading.Thread(target=self._look_up, args=asked, name="resolver", daemon=True).start()

    def is_slow(self, neighbour: int) -> bool:
        """Whether a neighbour's name has been without an answer for long."""
        since = self._asking.get(neighbour)
        return since is not None and time.monotonic() - since > SLOW

    def close(self) -> None:
        """Ask no more; threads that wait for an answer end with the process."""
        self._closed.set()

    def _look_up(self, neighbour: int, host: str, port: int) -> None:
        reason = ""
        while not self._closed.is_set():
            try:
                found = self.find(host, port)
            except (OSError, UnicodeError) as problem:
                words = getattr(problem, "strerror", None) or str(problem)
                if words != reason:
                    reason = words
                    whole = f"the name {host} is not known here ({words})"
                    is_said = isinstance(problem, Unannounced)
                    self._tell(NotFound(neighbour, words if is_said else whole))
                self._closed.wait(AGAIN)
                continue
            with self._lock:
                del self._asking[neighbour]
            self._tell(Found(neighbour, found))
            return

"""What the machine may lack: descriptors (some are kept back), a name for the user."""

from __future__ import annotations

import contextlib
import getpass
import os
import resource
from collections.abc import Iterator

KEPT_BACK = 8
"""Descriptors that saving a peer's state may take, whatever else has taken the rest."""


def raise_descriptor_limit() -> None:
    """As many open files and sockets as this user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems have a limit of their own
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def name_this_user() -> None:
    """Let libraries that ask for the user's name get one: in a container there may be none.

    Torch asks for it when its first optimizer is made, to name a folder of its own after.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"user-{os.getuid()}"


class Reserve:
    """Descriptors that are held so that there are some when there are no others."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._take()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Inside the block, they are free."""
        while self._held:
            os.close(self._held.pop())
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # then there will be fewer
            while len(self._held) < KEPT_BACK:
                self._held.append(os.open(os.devnull, os.O_RDONLY))

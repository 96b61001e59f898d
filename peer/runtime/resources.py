"""Descriptors: as many as may be, and some kept back for what must not fail."""

from __future__ import annotations

import contextlib
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

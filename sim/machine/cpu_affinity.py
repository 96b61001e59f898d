"""The processors that this process computes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cores() -> int:
    """How many this process may use."""
    return len(_own()) or os.cpu_count() or 1


@contextmanager
def share(number: int, of: int) -> Iterator[int]:
    """Keep to one of ``of`` equal parts of this machine's processors, if there are enough (Linux).

    Others that compute then leave it alone. Threads that are begun inside the block keep to it,
    too. Gives how many threads may compute, at least 1.
    """
    before = sorted(_own())
    size = len(before) // of
    if not size:
        yield max(1, cores() // of)
        return
    with suppress(OSError):  # it is not allowed everywhere, and only makes things faster
        os.sched_setaffinity(0, before[size * number : size * (number + 1)])
    try:
        yield size
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, before)


def let_others_first(thread: str) -> None:
    """Those of this process's threads that are called ``thread`` take the processor from nobody.

    They compute when it is free, or at the next tick (Linux).
    """
    if not hasattr(os, "SCHED_BATCH"):
        return
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended, or that is not allowed
            if (task / "comm").read_text(encoding="utf-8").strip() == thread:
                os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))


def _own() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

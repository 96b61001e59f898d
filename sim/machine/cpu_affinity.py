"""The CPU cores that this process computes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cores() -> int:
    """How many cores this process may use."""
    return len(_own()) or os.cpu_count() or 1


@contextmanager
def share_of_cores(number: int, of: int) -> Iterator[int]:
    """Keep this process to one of ``of`` equal parts of the machine's cores, if it has enough.

    Processes with other parts then do not compete with it. Threads that are started inside the
    block keep to the part, too (Linux; elsewhere, cores are not assigned).

    Yields:
        How many threads may compute, at least 1.
    """
    before = sorted(_own())
    size = len(before) // of
    if not size:
        yield max(1, cores() // of)
        return
    with suppress(OSError):  # not allowed everywhere, and only a matter of speed
        os.sched_setaffinity(0, before[size * number : size * (number + 1)])
    try:
        yield size
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, before)


def schedule_as_batch(thread: str) -> None:
    """Let this process's threads of the name ``thread`` preempt no other thread (Linux).

    They get a core when one is free, or at the kernel's next tick.
    """
    if not hasattr(os, "SCHED_BATCH"):
        return
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended, or that is not allowed
            if (task / "comm").read_text(encoding="utf-8").strip() == thread:
                os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))


def _own() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

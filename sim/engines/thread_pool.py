"""The threads that compute for an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from peer.compute.execute import prepare_compute_thread
from sim.engines.trace_cache import Recordings
from sim.engines.workspace import Workbench
from sim.machine.malloc import keep_freed_memory

T = TypeVar("T")


class Crew:
    """So many threads, each with a workbench of its own; one alone is the caller's.

    Attributes:
        threads: how many.
        recordings: what they all may replay.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.recordings = Recordings()
        self._workbench = Workbench(self.recordings)
        self._pool = (
            ThreadPoolExecutor(threads, "crew", _prepare, (self.recordings,))
            if threads > 1
            else None
        )
        self._begun: set[Future[Any]] = set()  # and not done
        keep_freed_memory()

    def begin(self, work: Callable[[Workbench], T], *, here: bool = False) -> Future[T]:
        """Let one of the threads do ``work``; or do it ``here`` and now."""
        if self._pool is not None and not here:
            future = self._pool.submit(_at_its_workbench, work)
            self._begun.add(future)
            future.add_done_callback(self._begun.discard)
            return future
        done: Future[T] = Future()
        done.set_result(work(self._workbench))
        return done

    def wait(self) -> None:
        """Until all that was begun is done, well or not."""
        wait(list(self._begun))


_own = threading.local()
"""A computing thread's. It holds no crew, so that threads end when their crew is forgotten."""


def _prepare(recordings: Recordings) -> None:
    prepare_compute_thread(1)
    _own.workbench = Workbench(recordings)


def _at_its_workbench(work: Callable[[Workbench], T]) -> T:
    return work(_own.workbench)

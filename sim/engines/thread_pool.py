"""The threads that compute for an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from peer.compute.execute import prepare_compute_thread
from sim.engines.trace_cache import TraceCache
from sim.engines.workspace import Workspace
from sim.machine.malloc import keep_freed_memory

T = TypeVar("T")


class ThreadPool:
    """Threads that compute, each with a workspace of its own.

    A pool of one thread starts none: the caller's thread computes.

    Attributes:
        threads: how many.
        traces: the steps that were traced, for all threads.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.traces = TraceCache()
        self._workspace = Workspace(self.traces)  # the caller's
        self._executor = (
            ThreadPoolExecutor(threads, "compute", _prepare, (self.traces,))
            if threads > 1
            else None
        )
        self._running: set[Future[Any]] = set()
        keep_freed_memory()

    def submit(self, work: Callable[[Workspace], T], *, here: bool = False) -> Future[T]:
        """Let one of the threads do ``work``; or, with ``here``, do it now in the caller's."""
        if self._executor is not None and not here:
            future = self._executor.submit(_with_own_workspace, work)
            self._running.add(future)
            future.add_done_callback(self._running.discard)
            return future
        done: Future[T] = Future()
        done.set_result(work(self._workspace))
        return done

    def wait(self) -> None:
        """Wait until all submitted work has ended, well or not."""
        wait(list(self._running))


_own = threading.local()
"""A computing thread's. It refers to no pool, so that threads end when their pool is dropped."""


def _prepare(traces: TraceCache) -> None:
    prepare_compute_thread(1)
    _own.workspace = Workspace(traces)


def _with_own_workspace(work: Callable[[Workspace], T]) -> T:
    return work(_own.workspace)

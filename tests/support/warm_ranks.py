"""Two ranks that stay, so that a test that needs them does not wait for their imports."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

from sim.sharding.collectives import Communicator, launch

RANKS = 2


class WarmRanks:
    """Stands in for :func:`launch`: the same tasks in the same kind of processes, started once.

    The ranks of a task that fails end, as those that ``launch`` starts do; the next task gets new
    ones.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def launch(
        self,
        task: Callable[..., None],
        processes: int,
        *arguments: Any,
        device: str = "cpu",
        stop: Callable[[], bool] = bool,
    ) -> None:
        assert (processes, device, stop()) == (RANKS, "cpu", False)
        if self._thread is None:
            self._begin()
        for tasks in self._tasks:
            tasks.put((task, arguments))
        for _ in range(RANKS):
            problem = self._answers.get()
            if problem is not None:
                self.end()
                raise RuntimeError(problem)

    def end(self) -> None:
        if self._thread is not None:
            for tasks in self._tasks:
                tasks.put(None)
            self._thread.join()
            self._thread = None

    def _begin(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._tasks = [spawning.SimpleQueue() for _ in range(RANKS)]
        self._answers = spawning.SimpleQueue()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        try:
            launch(_work, RANKS, self._tasks, self._answers)
        except RuntimeError as problem:
            self._answers.put(str(problem))


def _work(communicator: Communicator, tasks: list[Any], answers: Any) -> None:
    while (given := tasks[communicator.rank].get()) is not None:
        task, arguments = given
        task(communicator, *arguments)
        communicator.barrier()  # none answers for itself where another fails
        answers.put(None)

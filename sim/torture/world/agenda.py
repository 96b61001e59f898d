"""Virtual time: what is to happen, and when."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[], None]


class Agenda:
    """Actions in the order of their times; those of one time, in the order in which they came.

    Attributes:
        now: the time, in seconds.
        done: actions carried out.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.done = 0
        self._actions: list[tuple[float, int, Action]] = []
        self._count = 0

    def at(self, time: float, action: Action) -> None:
        """Carry it out then; not before what is due earlier."""
        self._count += 1
        heapq.heappush(self._actions, (max(time, self.now), self._count, action))

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Go on until it holds; returns False where it does not by the time ``limit``."""
        while not until():
            if not self._actions or self._actions[0][0] > limit:
                return False
            self.now, _, action = heapq.heappop(self._actions)
            self.done += 1
            action()
        return True

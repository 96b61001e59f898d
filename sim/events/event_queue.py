"""The event queue: what is to be done, in the order of virtual time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable


class EventQueue:
    """Events by time stamp; those of one time stamp in the order in which they were scheduled."""

    def __init__(self) -> None:
        self._events: list[tuple[float, int, Callable[[], None]]] = []  # a heap
        self._scheduled = 0  # how many ever were

    def __bool__(self) -> bool:
        """Whether an event is left."""
        return bool(self._events)

    @property
    def next_time(self) -> float:
        """The earliest time stamp; infinite where no event is left."""
        return self._events[0][0] if self._events else math.inf

    def schedule(self, time: float, event: Callable[[], None]) -> None:
        """Call ``event`` at ``time``, in seconds."""
        heapq.heappush(self._events, (time, self._scheduled, event))
        self._scheduled += 1

    def run_until(self, time: float, *, only_queued: bool = False) -> None:
        """Process the events up to and including ``time``.

        With ``only_queued``, those alone that are in the queue now: what they schedule stays.
        """
        limit = self._scheduled if only_queued else math.inf
        events = self._events
        while events and events[0][0] <= time and events[0][1] < limit:
            _, _, event = heapq.heappop(events)
            event()

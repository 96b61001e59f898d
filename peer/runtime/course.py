"""How far a peer goes: to its last round, to one that all peers agree on, or to this one's end.

A stop of the whole network loses no exchange if every peer stops after the same round. So whoever
started the peers asks each for the latest round it can promise not to go beyond, takes the largest
of the answers, and lets all run to it. A peer that has promised, and is there before it knows,
waits.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

from peer.runtime.signals import Stop


class Course:
    """One peer's course; used by its compute thread and by whoever asks it to stop.

    Args:
        stop: set where this peer alone is to stop, at the end of its round.
        round: completed so far.
    """

    def __init__(self, stop: threading.Event, round: int) -> None:
        self.stop = stop
        self._round = round
        self._promise: int | None = None  # not to go beyond, until the last round is known
        self._last: int | None = None  # agreed with the others
        self._changed = threading.Condition()

    def promise(self) -> int:
        """The round that this peer will not go beyond, until it is told the :meth:`last`."""
        with self._changed:
            if self._promise is None:
                self._promise = self._round + 1
            return self._promise

    def last(self, round: int) -> None:
        """All peers have agreed to stop after ``round``."""
        with self._changed:
            self._last = round
            self._changed.notify_all()

    def goes_on(self, round: int) -> bool:
        """``round`` is completed: whether another follows. Waits for the answer if it must."""
        with self._changed:
            self._round = round
            while self._promise is not None and self._last is None and round >= self._promise:
                if self.stop.is_set():
                    return False
                self._changed.wait(0.1)
            return not self.stop.is_set() and (self._last is None or round < self._last)


def listen_to_parent(course: Course, log: Callable[[str], None], stop: Stop) -> None:
    """Do as whoever started this peer says on standard input; stop when that ends.

    ``promise`` is answered by ``{"promise": ROUND}`` (see :class:`Course`); ``stop after R`` tells
    what all peers agreed on.
    """

    def listen() -> None:
        with os.fdopen(os.dup(0), encoding="utf-8", errors="replace") as orders:
            for order in orders:
                match order.split():
                    case ["promise"]:
                        log(json.dumps({"promise": course.promise()}))
                    case ["stop", "after", round]:
                        course.last(int(round))
        stop.ask("whoever started this peer is gone")

    threading.Thread(target=listen, name="parent", daemon=True).start()

"""The facts that a page has been told and those that it has not, kept within bounds."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable

from peer.live.facts import Fact

MOST_FACTS = 1000
"""Of one kind and peer; of pictures 40. Beyond it every other is dropped, but for the newest."""

MOST_PICTURES = 40


class Feed:
    """Numbers facts as they come; whoever was told some asks for those behind.

    Threads: one adds, others read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: defaultdict[tuple[str, int | None], list[tuple[int, Fact]]]
        self._facts = defaultdict(list)
        self._count = 0
        self._is_closed = False

    @property
    def count(self) -> int:
        """The number of the newest fact; 0 before the first."""
        return self._count

    @property
    def is_closed(self) -> bool:
        """Whether no fact will come any more."""
        return self._is_closed

    def add(self, facts: Iterable[Fact]) -> None:
        """Take facts in."""
        with self._lock:
            for fact in facts:
                self._count += 1
                kept = self._facts[str(fact["kind"]), fact.get("peer")]
                kept.append((self._count, fact))
                most = MOST_PICTURES if fact["kind"] == "picture" else MOST_FACTS
                if len(kept) > most:
                    kept[:] = [*kept[:-1:2], kept[-1]]

    def close(self) -> None:
        """No fact will come any more."""
        self._is_closed = True

    def after(self, number: int, most: int = 2000) -> tuple[int, list[Fact]]:
        """Facts behind that number, the oldest first, and the number of the last of them."""
        if number >= self._count:
            return number, []
        with self._lock:
            found = sorted(
                (pair for kept in self._facts.values() for pair in kept if pair[0] > number),
                key=lambda pair: pair[0],
            )[:most]
        return (found[-1][0] if found else number), [fact for _, fact in found]

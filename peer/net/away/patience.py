"""How long a peer waits for each of its neighbours, by what neighbours really take.

A neighbour that answers, but is slow, would be waited for in every exchange. So each has a bucket
of patience (a token bucket, as networks shape traffic with). Waiting beyond what is usual drains
it, passing time refills it at a twentieth of its own pace. Once it is empty, exchanges go on
without the neighbour as soon as nobody else is waited for. So a slow neighbour costs a peer one
capacity, and then at most 5 % of its time.

Pure: times go in, judgements come out, and the clock is the caller's. The simulator waits by the
same object in virtual time.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from peer.effects import Moment

REFILL = 0.05
"""Seconds of patience that a second brings."""

MULTIPLE = 10
"""Usual exchanges that a full bucket waits for."""

LEAST, MOST = 1.0, 60.0
"""Seconds that a full bucket holds, at least and at most; at most, too, while little is known."""

ENOUGH = 5
"""Measured exchanges of one kind from which on what is usual is known."""

KEPT = 20
"""Measured exchanges of one kind that are remembered of each peer."""

WORTHWHILE = 0.1
"""Part of a full bucket that an empty one has to hold before the neighbour is waited for again."""


class Pace:
    """What exchanges take: of each kind, at oneself (None) and at each neighbour."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, dict[int | None, deque[float]]] = defaultdict(dict)

    def note(self, kind: str, who: int | None, seconds: float) -> None:
        """One of that kind took ``who`` so many seconds."""
        self._taken[kind].setdefault(who, deque(maxlen=KEPT)).append(seconds)

    def note_at_least(self, kind: str, who: int, seconds: float) -> None:
        """It took longer than that, and was not waited for: news only where it is unusual."""
        if seconds > self.percentile(kind, who):
            self.note(kind, who, seconds)

    def percentile(self, kind: str, who: int | None) -> float:
        """The 90th percentile (nearest rank) of what it took ``who``; 0 where nothing is known."""
        taken = sorted(self._taken[kind].get(who, ()))
        return taken[math.ceil(0.9 * len(taken)) - 1] if taken else 0.0

    def usual(self, kind: str) -> float | None:
        """The lower median of these percentiles; None until enough is known of oneself."""
        known = [who for who, taken in self._taken[kind].items() if len(taken) >= ENOUGH]
        if None not in known:
            return None
        found = sorted(self.percentile(kind, who) for who in known)
        return found[(len(found) - 1) // 2]

    def dump(self) -> list[tuple[str, int | None, list[float]]]:
        """All of it in types that JSON knows."""
        return [
            (kind, who, list(taken))
            for kind, of in self._taken.items()
            for who, taken in of.items()
        ]

    def load(self, dumped: Iterable[tuple[str, int | None, list[float]]]) -> None:
        """Be as :meth:`dump` said."""
        for kind, who, taken in dumped:
            self._taken[kind][who] = deque(taken, KEPT)

    def has_measured(self, who: int) -> bool:
        """Whether anything is known of ``who``."""
        return any(who in taken for taken in self._taken.values())


@dataclass
class Bucket:
    """One neighbour's patience: what of it is spent, at what time, and whether all was."""

    spent: float = 0.0
    at: float = 0.0
    is_empty: bool = False

    def spent_by(self, now: float) -> float:
        """What is spent of it, if nothing more is until ``now``."""
        return max(0.0, self.spent - REFILL * max(0.0, now - self.at))

    def drain(self, start: float, end: float, capacity: float) -> None:
        """Wait from ``start`` to ``end``; beyond what was left, it is not on its account."""
        spent = self.spent_by(start)
        self.spent = spent + min(end - start, max(0.0, capacity - spent))
        self.at = end


class Patience:
    """One peer's patience with its neighbours.

    For every exchange, :meth:`begin`; for every neighbour in it, in time, :meth:`come` or
    :meth:`without`; then :meth:`end`. Between, :meth:`ends_at` says until when to wait for whom.

    Args:
        neighbours: all that the peer may ever exchange with.
        now: the time.

    Attributes:
        capacity: seconds that a full bucket holds in the exchange at hand.
        usual: seconds that an exchange like it takes.
    """

    def __init__(self, neighbours: Iterable[int], now: float = 0.0) -> None:
        self.pace = Pace()
        self.capacity = MOST
        self.usual = 0.0
        self._buckets = {k: Bucket(at=now) for k in neighbours}
        self._came: dict[int, Moment] = {}  # the last exchange of both, if it came to that
        self._kind = ""
        self._moments: Mapping[int, Moment] = {}
        self._awaited: set[int] = set()
        self._began = now
        self._ended: float | None = None  # the exchange before
        self._since: dict[int, float] = {}  # from when on a neighbour's time is on its account
        self._is_all = False  # nothing would be left of the exchange

    def meet(self, neighbour: int, now: float) -> None:
        """There is another neighbour; with one that it knows, nothing changes."""
        self._buckets.setdefault(neighbour, Bucket(at=now))

    def begin(
        self, kind: str, moments: Mapping[int, Moment], now: float, is_all: bool = False
    ) -> None:
        """An exchange begins.

        Args:
            kind: exchanges of one kind are alike in what peers do before them.
            moments: which exchange it is, by neighbour.
            now: the time.
            is_all: nothing would be left of it without these neighbours: they are waited for.
        """
        if self._ended is not None:
            self.pace.note(kind, None, now - self._ended)
        usual = self.pace.usual(kind)
        self.usual = usual or 0.0
        self.capacity = MOST if usual is None else min(max(MULTIPLE * usual, LEAST), MOST)
        self._kind, self._moments, self._began, self._is_all = kind, moments, now, is_all
        self._awaited = set(moments)
        before = now if self._ended is None else self._ended
        for k in moments:
            self._since[k] = before
            bucket = self._buckets[k]
            enough = (1 - WORTHWHILE) * self.capacity
            bucket.is_empty = bucket.is_empty and bucket.spent_by(now) > enough

    def come(self, neighbour: int, now: float, has_begun: bool = True) -> None:
        """The neighbour's part is under way, or done; said again, that it is still in touch.

        It ``has_begun`` the exchange at hand where it sends a value. Who only takes ours may be
        far from it.
        """
        if neighbour in self._awaited:
            self.pace.note(self._kind, neighbour, now - self._since[neighbour])
            self._account(neighbour, now)
            self._awaited.remove(neighbour)
            self._came.pop(neighbour, None)
            if has_begun:
                self._came[neighbour] = self._moments[neighbour]
        self.excuse(neighbour, now)

    def excuse(self, neighbour: int, now: float) -> None:
        """It is not the neighbour's fault that it has been waited for until now."""
        if neighbour in self._since:
            self._since[neighbour] = max(self._since[neighbour], now)

    def without(self, neighbour: int, now: float) -> None:
        """The exchange goes on without the neighbour."""
        self._came.pop(neighbour, None)
        if neighbour in self._awaited:
            self.pace.note_at_least(self._kind, neighbour, now - self._since[neighbour])
            if not self._buckets[neighbour].is_empty:
                self._account(neighbour, now)
            self._awaited.remove(neighbour)

    def end(self, now: float) -> None:
        """The exchange is over; local work follows."""
        self._ended = now

    def came_to(self, neighbour: int) -> Moment | None:
        """The exchange before the one at hand, if the neighbour began that, too.

        Where the neighbour is still in it, it waits for somebody else, and is to be excused.
        """
        moment = self._came.get(neighbour)
        return None if moment == self._moments.get(neighbour) else moment

    def ends_at(self, neighbour: int) -> float:
        """Until when to wait for the neighbour; infinite where it has never been there yet."""
        if self._is_all or not self.pace.has_measured(neighbour):
            return math.inf
        bucket, since = self._buckets[neighbour], self._since[neighbour]
        if neighbour not in self._awaited:  # it has begun, and was there at that time
            return since + self.capacity
        if bucket.is_empty:
            return since + self.usual if since > self._began else self._began
        start = self._start(neighbour)
        return start + max(0.0, self.capacity - bucket.spent_by(start))

    def is_over(self, outstanding: Collection[int], now: float) -> bool:
        """Whether to go on without all that are outstanding."""
        return bool(outstanding) and all(self.ends_at(k) <= now for k in outstanding)

    def skip_time(self, seconds: float) -> None:
        """Our own loop stood still for so long: the time was not the neighbours'."""
        self._began += seconds
        self._ended = None if self._ended is None else self._ended + seconds
        self._since = {k: since + seconds for k, since in self._since.items()}

    def dump(self) -> dict[str, Any]:
        """Between two exchanges, all of it in types that JSON knows, for :meth:`load`."""
        return {
            "ended": self._ended,
            "buckets": [[k, *astuple(bucket)] for k, bucket in self._buckets.items()],
            "came": [[k, *t] for k, t in self._came.items()],
            "pace": self.pace.dump(),
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Be as :meth:`dump` said."""
        self._ended = dumped["ended"]
        self._buckets = {k: Bucket(*of) for k, *of in dumped["buckets"]}
        self._came = {k: Moment(*t) for k, *t in dumped["came"]}
        self.pace.load(dumped["pace"])

    def _start(self, neighbour: int) -> float:
        """From when on waiting for the neighbour is beyond what is usual."""
        return max(self._began, self._since[neighbour] + self.usual)

    def _account(self, neighbour: int, now: float) -> None:
        """Drain its bucket for the time that it was waited for; in time, it has none to regain."""
        bucket, is_over = self._buckets[neighbour], self.ends_at(neighbour) <= now
        start = self._start(neighbour)
        if now <= start:
            bucket.is_empty = False
        elif not bucket.is_empty:
            bucket.drain(start, now, self.capacity)
            bucket.is_empty = is_over

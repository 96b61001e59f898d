"""What has a limited bandwidth: one direction of a link, a peer's uplink or downlink."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

_KEPT = 4096  # busy intervals kept; a transfer at a time before them finds the channel free


class Channel:
    """Carries bytes at a fixed rate, first come first served in the order of calls.

    It is never idle while there is something to carry. Transfers may be registered out of the order
    of virtual time: one that is registered later for an earlier time gets what is still free then.

    Args:
        mbit_s: 10^6 bits a second.
    """

    def __init__(self, mbit_s: float) -> None:
        self.bytes_a_second = mbit_s * 1e6 / 8
        self._starts: list[float] = []  # of busy intervals, disjoint and in order
        self._ends: list[float] = []

    def dump(self) -> list[list[float]]:
        """When it is busy, for :meth:`load`."""
        return [list(self._starts), list(self._ends)]

    def load(self, dumped: Sequence[Sequence[float]]) -> None:
        """Be busy as :meth:`dump` said."""
        self._starts, self._ends = (list(times) for times in dumped)

    def carry(self, now: float, nbytes: float) -> float:
        """Register a transfer of ``nbytes`` from ``now`` on; returns when it is complete."""
        left = nbytes / self.bytes_a_second
        if left <= 0:
            return now
        first = bisect_right(self._ends, now)  # the first busy interval that is not over by now
        last, at = first, now
        while last < len(self._starts) and self._starts[last] - at < left:
            left -= max(0.0, self._starts[last] - at)
            at = self._ends[last]
            last += 1
        done = at + left
        begin = min(now, self._starts[first]) if last > first else now
        if first and self._ends[first - 1] == begin:  # no gap between: one interval
            first -= 1
            begin = self._starts[first]
        self._starts[first:last], self._ends[first:last] = [begin], [done]
        del self._starts[:-_KEPT], self._ends[:-_KEPT]
        return done

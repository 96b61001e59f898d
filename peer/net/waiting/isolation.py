"""Whether a peer is isolated: without any neighbour since the start, or for long.

Pure, as the endpoint whose part it is. A peer that trains alone learns nothing of the others, so it
must not end as if all had gone well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peer.net.link import Link
from peer.net.session import Phase


@dataclass(frozen=True)
class Isolated:
    """No neighbour has been reached for so many seconds; from the beginning, if ``never``."""

    seconds: float
    never: bool


class IsolationWatch:
    """Looks whether any neighbour is in touch.

    Args:
        links: one a neighbour.
        now: the time.
        seconds: without any neighbour, after which the peer is isolated; None: it never is. At the
            beginning, the links' start time-out counts instead.

    Attributes:
        is_hopeless: it never was in touch, and gives up: the first exchange is not to be settled.
    """

    def __init__(self, links: Mapping[int, Link], now: float, seconds: float | None) -> None:
        self.links = links
        self.is_hopeless = False
        self._seconds = seconds if links else None
        self._in_touch_at = now
        self._never_in_touch = True

    def look(self, now: float) -> Isolated | None:
        """What is to be told, once. Neighbours that have all finished leave nobody isolated."""
        if self._seconds is None:
            return None
        phases = {link.phase for link in self.links.values()}
        if phases & {Phase.UP, Phase.SUSPECT} or phases == {Phase.LEFT}:
            self._in_touch_at = now
            self._never_in_touch = False
            return None
        start = next(iter(self.links.values())).timing.start_timeout
        limit = start if self._never_in_touch else self._seconds
        if now - self._in_touch_at < limit:
            return None
        self._seconds = None
        self.is_hopeless = self._never_in_touch
        return Isolated(limit, self._never_in_touch)

    def skip_time(self, seconds: float) -> None:
        """Our own loop stood still for so long: the silence was not the neighbours'."""
        self._in_touch_at += seconds

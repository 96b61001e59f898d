"""Taking leave: what is owed to neighbours is sent, and then they are told."""

from __future__ import annotations

from collections.abc import Mapping

from peer.net.link import Link
from peer.net.session import Phase

GRACE = 1.0
"""Seconds in which what was said last may leave: a refusal, a farewell."""


class Farewell:
    """How far we are in taking leave.

    Args:
        links: by neighbour; they may become more.
    """

    def __init__(self, links: Mapping[int, Link]) -> None:
        self._links = links
        self._round = 0
        self._reason = ""
        self._until: float | None = None
        self._is_said = False

    @property
    def has_begun(self) -> bool:
        """Whether we are about to leave."""
        return self._until is not None

    def begin(self, round: int, reason: str, now: float, patience: float) -> None:
        """Begin to take leave after that round; what is owed is waited for so many seconds.

        Owed is a decision, too: a neighbour that had not heard it could ask nobody any more.
        """
        self._round, self._reason, self._until = round, reason, now + patience
        for link in self._links.values():
            if not link.idle:
                link.session.tell(now)  # it answers how far it is

    def look(self, now: float) -> bool:
        """Say it once nothing is owed, or patience is at its end; whether it is said just now."""
        if self._until is None or self._is_said:
            return False
        links = self._links.values()
        if now < self._until and not all(link.idle for link in links):
            return False
        for link in links:
            link.abandon()
            if link.phase in (Phase.UP, Phase.SUSPECT):
                link.leave(self._round, self._reason)
        self._until, self._is_said = now + GRACE, True
        return True

    def has_left(self, now: float) -> bool:
        """Whether what we said has left, or had the time to."""
        if self._until is None or not self._is_said:
            return False
        return now >= self._until or all(not link.outbox for link in self._links.values())

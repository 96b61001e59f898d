"""How far ahead the others are, as far as that is to be believed of who says so.

A peer that was left behind leaves out the rounds that its neighbours have had. One neighbour that
tells a false round must not take it to the end of the run. So a round is believed as far as a
second neighbour is there, too. Of a round that one neighbour alone tells, no more is believed than
could have passed since we last swapped with it, at :data:`HASTE` times our own quickest pace.

What it sent before we stood still is swapped when we go on, and does not say that it is still
there. So that time is counted from :data:`STALE` rounds before the last swap.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from peer.effects import BEFORE_ALL
from peer.net.link import Link
from peer.net.session import Phase, Session

HASTE = 4.0
"""How many times our own quickest pace others may have, who go on without us."""

SLACK = 64
"""Rounds that are believed of anybody: a pace is measured over :data:`BLOCK` of them."""

BLOCK = 16

STALE = 4
"""Rounds of a neighbour's values that may wait here: the one at hand, and those sent ahead."""


class Leads:
    """What the neighbours say of their rounds.

    Args:
        links: by neighbour; they may become more.
    """

    def __init__(self, links: Mapping[int, Link]) -> None:
        self._links = links
        self._pace = 0.0  # rounds a second, in our quickest block; 0: no block is over yet
        self._block = -1, 0.0  # its first round, and when that began
        self._begun: deque[tuple[int, float]] = deque(maxlen=STALE + 1)  # our last rounds, and when
        self._together: dict[
            int, tuple[int, float]
        ] = {}  # by neighbour: our round, not apart since

    def begin(self, round: int | None, now: float) -> None:
        """An exchange of that round begins; None where nobody takes part in it."""
        if round is None:
            return
        last = self._begun[-1][0] if self._begun else None
        if last is None or round not in (last, last + 1):  # we have begun, or left rounds out
            self._block = round, now
            self._begun.clear()
        if round != last:
            self._begun.append((round, now))
        for k, link in self._links.items():
            if not link.session.are_apart and link.session.done > BEFORE_ALL:
                self._together[k] = round, self._begun[0][1]
        first, began = self._block
        if round - first >= BLOCK:
            took = now - began
            self._pace = max(self._pace, BLOCK / took if took > 0 else math.inf)
            self._block = round, now

    def furthest(self, now: float) -> int:
        """Rounds that neighbours who went on without us have completed; -1 where nobody did."""
        told = sorted(told_by(link.session) for link in self._links.values())
        backed = told[-2] if len(told) > 1 else -1
        found = -1
        for k, link in self._links.items():
            lead = told_by(link.session) if link.session.are_apart else -1
            if lead > backed:
                lead = max(backed, min(lead, self._possible(k, lead, now)))
            found = max(found, lead)
        return found

    def _possible(self, neighbour: int, told: int, now: float) -> int:
        """The round that a neighbour may be in by now; what it told, where we know too little."""
        if neighbour not in self._together or not 0 < self._pace < math.inf:
            return told
        round, since = self._together[neighbour]
        return round + SLACK + math.floor(HASTE * self._pace * (now - since))


def told_by(session: Session) -> int:
    """Rounds that the neighbour says that it has completed, if it is there; or -1.

    Of one that was left behind itself, those do not count that it leaves out: two that follow each
    other's leaps would soon leap to the end.
    """
    tells = session.phase is Phase.UP and session.their_at.round > session.listens_in
    return session.their_at.round if tells else -1

"""How far ahead the others are, as far as that is to be believed of who says so.

A peer that was left behind leaves out the rounds that its neighbours have had. One neighbour that
tells a false round must not take it to the end of the run. So a round is believed as far as a
second neighbour is there, too. Of a round that one neighbour alone tells, no more is believed than
could have passed since we last swapped with it, at :data:`HASTE` times our own quickest pace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from peer.net.link import Link
from peer.net.session import Phase, Session

HASTE = 4.0
"""How many times our own quickest pace others may have, who go on without us."""

SLACK = 64
"""Rounds that are believed of anybody: a pace is measured over :data:`BLOCK` of them."""

BLOCK = 16


class Leads:
    """What the neighbours say of their rounds.

    Args:
        links: by neighbour; they may become more.
    """

    def __init__(self, links: Mapping[int, Link]) -> None:
        self._links = links
        self._pace = 0.0  # rounds a second, in our quickest block; 0: no block is over yet
        self._block = -1, 0.0  # its first round, and when that began
        self._round = -1

    def begin(self, round: int | None, now: float) -> None:
        """An exchange of that round begins; None where nobody takes part in it."""
        if round is None:
            return
        if round not in (self._round, self._round + 1) or self._block[0] < 0:
            self._block = round, now  # we have left rounds out
        self._round = round
        first, began = self._block
        if round - first >= BLOCK:
            took = now - began
            self._pace = max(self._pace, BLOCK / took if took > 0 else math.inf)
            self._block = round, now

    def furthest(self, now: float) -> int:
        """Rounds that neighbours who went on without us have completed; -1 where nobody did."""
        sessions = [link.session for link in self._links.values()]
        told = sorted(map(told_by, sessions))
        backed = told[-2] if len(told) > 1 else -1
        found = -1
        for session in sessions:
            lead = told_by(session) if session.are_apart else -1
            if lead > backed:
                lead = max(min(backed, lead), min(lead, self._possible(session, now)))
            found = max(found, lead)
        return found

    def _possible(self, session: Session, now: float) -> int:
        """The round that a neighbour may be in by now; any, where we know too little of it."""
        if session.together is None or not 0 < self._pace < math.inf:
            return session.their_at.round
        since, round = session.together
        return round + SLACK + math.floor(HASTE * self._pace * (now - since))


def told_by(session: Session) -> int:
    """Rounds that the neighbour says that it has completed, if it is there; or -1.

    Of one that was left behind itself, those do not count that it leaves out: two that follow each
    other's leaps would soon leap to the end.
    """
    tells = session.phase is Phase.UP and session.their_at.round > session.listens_in
    return session.their_at.round if tells else -1

"""When a peer that was left behind leaves out what it has missed, and where it joins the others."""

from __future__ import annotations

MARGIN = 2
"""Rounds beyond the furthest neighbour in which to join, at first; what it told may be old."""

LARGEST_MARGIN = 64

LISTENS_AGAIN = 3
"""Rounds in a row in which to listen once more, after one in which a net came from nobody.

Two late comers that have nobody but each other would listen for ever: neither sends anything.
"""


class LateComer:
    """Decides, after every round, whether to go on in a later one.

    A peer that joins takes the others' values in its first round (it *listens*), of every net that
    is combined. If nobody sends one of them, they were either past that round before they heard of
    it, and it tries again, further ahead; or they were slow to come there, and it listens in the
    next round as well.

    Args:
        catch_up: rounds; with fewer missing the peer makes them up by itself.
    """

    def __init__(self, catch_up: int) -> None:
        self.catch_up = catch_up
        self._unheard = 0  # rounds in a row in which it has listened, and heard too little
        self._heard: list[bool] = []  # of the round at hand, by exchange in which it listens

    def heard(self, something: bool) -> None:
        """It has listened in one exchange: whether any value came."""
        self._heard.append(something)

    def target(self, round: int, ahead: int, rounds: int) -> int | None:
        """The round to join in, which may be the one at hand; None to go on as it is.

        Args:
            round: that the peer has completed.
            ahead: rounds that neighbours who went on without it have completed; -1: nobody did.
            rounds: of the whole program.
        """
        if self._heard:
            self._unheard = 0 if all(self._heard) else self._unheard + 1
            self._heard.clear()
        if self._unheard and ahead < round < rounds:
            if self._unheard <= LISTENS_AGAIN:
                return round
            self._unheard = 0  # it goes on with what it has, as one of them
        is_late = ahead >= round if self._unheard else ahead - round > self.catch_up
        target = min(ahead + min(MARGIN << self._unheard, LARGEST_MARGIN), rounds - 1)
        return target if is_late and target > round else None

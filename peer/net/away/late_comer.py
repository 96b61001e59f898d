"""When a peer that was left behind leaves out what it has missed, and where it joins the others."""

from __future__ import annotations

MARGIN = 2
"""Rounds beyond the furthest neighbour in which to join, at first; what it told may be old."""

LARGEST_MARGIN = 64


class LateComer:
    """Decides, after every round, whether to go on in a later one.

    A peer that joins takes the others' values in its first round (it *listens*). If nobody sends
    any, they were past that round before they heard of it: it tries again, further ahead.

    Args:
        catch_up: rounds; with fewer missing the peer makes them up by itself.
    """

    def __init__(self, catch_up: int) -> None:
        self.catch_up = catch_up
        self._margin = MARGIN
        self._joins = False  # it has listened, and heard nothing yet

    def heard(self, something: bool) -> None:
        """It has listened: whether any value came."""
        self._joins = not something
        self._margin = MARGIN if something else min(2 * self._margin, LARGEST_MARGIN)

    def target(self, round: int, ahead: int, rounds: int) -> int | None:
        """The round to join in; None to go on as it is.

        Args:
            round: that the peer has completed.
            ahead: rounds that neighbours who went on without it have completed; -1: nobody did.
            rounds: of the whole program.
        """
        is_late = ahead >= round if self._joins else ahead - round > self.catch_up
        target = min(ahead + self._margin, rounds - 1)
        return target if is_late and target > round else None

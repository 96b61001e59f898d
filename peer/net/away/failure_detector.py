"""Whether a neighbour is alive: when it was last heard, and when it last heard us.

A neighbour that says things but does not get ours is as good as silent. So two times are kept: when
anything valid came, and when something came that proves that our messages arrive (an answer to a
PING, an acknowledgement). Times go in, judgements come out; the clock is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """The protocol's times, in seconds, and its patience with who is left behind, in rounds."""

    start_timeout: float = 120.0  # the first exchange waits so long for a neighbour
    deadline: float = 60.0  # silence after which an exchange goes on without it
    ping: float = 1.0  # idle time after which we ask whether it is there
    suspect: float = 5.0  # silence after which it is not waited for in later exchanges
    down: float = 30.0  # silence after which its connection is made anew
    retry: float = 2.0  # without an answer, greet or offer again
    hello: float = 0.25  # between two HELLOs, doubling up to one second
    catch_up: int = 10  # rounds; a neighbour that is further behind is not waited for

    @classmethod
    def within(cls, start_timeout: float, deadline: float, catch_up: int = catch_up) -> Timing:
        """The times that fit a deadline: a short one needs livelier questions."""
        return cls(
            start_timeout=start_timeout,
            deadline=deadline,
            ping=min(cls.ping, deadline / 4),
            retry=min(cls.retry, deadline / 4),
            suspect=min(cls.suspect, deadline / 2),
            down=min(cls.down, deadline / 2),  # nothing is sent from a value that was given up
            catch_up=catch_up,
        )


OFTEN = 0.1
"""Seconds between two questions to a neighbour whose round has to be known at any time."""


class FailureDetector:
    """Heartbeats with one neighbour.

    Args:
        timing: the protocol's times.
        now: the time.

    Attributes:
        answered: the number of the newest question that has got an answer; 0 for none.
    """

    def __init__(self, timing: Timing, now: float) -> None:
        self.timing = timing
        self._heard = now  # when it last said anything valid
        self._confirmed = now  # when it last proved that our messages arrive
        self.answered = 0
        self._pings = 0
        self._pinged_at: float | None = None  # an unanswered PING

    def hear(self, now: float, *, confirms: bool = False) -> None:
        """It said something valid; ``confirms`` where that proves that our messages arrive."""
        self._heard = now
        if confirms:
            self._confirmed = now

    def silence(self, now: float) -> float:
        """Seconds since it was last heard."""
        return now - self._heard

    def out_of_touch(self, now: float) -> float:
        """Seconds since it was last heard, or last heard us, whichever is longer ago."""
        return now - min(self._heard, self._confirmed)

    def deafness(self, now: float) -> float:
        """Seconds since it last proved that our messages arrive."""
        return now - self._confirmed

    def is_ping_due(self, now: float, often: bool = False) -> bool:
        """Whether to ask it, having been out of touch for a while; ``often``: for a moment."""
        idle = OFTEN if often else self.timing.ping
        return self._pinged_at is None and self.out_of_touch(now) >= idle

    def ping(self, now: float) -> int:
        """It is asked now; the question's number."""
        self._pings += 1
        self._pinged_at = now
        return self._pings

    def answer(self, number: int, now: float) -> None:
        """It answers the question of that number."""
        self.hear(now, confirms=True)
        if self.answered < number <= self._pings:
            self.answered = number
        if number == self._pings:
            self._pinged_at = None

    def is_answer_overdue(self, now: float) -> bool:
        """Whether a question has been without an answer for too long; asked of again from now."""
        if self._pinged_at is None:
            return False
        if now - max(self._pinged_at, self._confirmed) < self.timing.retry:
            return False
        self._pinged_at = now
        return True

    def forget_question(self) -> None:
        """No answer is expected any more: the connection is another one."""
        self._pinged_at = None

    def begin_anew(self, now: float) -> None:
        """It knows us from now on."""
        self._pinged_at, self._confirmed = None, now

    def skip_time(self, seconds: float) -> None:
        """Our own loop stood still for so long: the silence was not the neighbour's."""
        self._heard += seconds
        self._confirmed += seconds
        if self._pinged_at is not None:
            self._pinged_at += seconds

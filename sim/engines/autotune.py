"""Which way of carrying out a kind of local step is the faster: timed, then kept."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

TRIALS = 3
"""How often ``auto`` times each way of carrying out a kind of local step, after a first time."""


@dataclass
class Way:
    """How a kind of local effect is carried out, and what ``auto`` has measured of it.

    Attributes:
        stacked: as one batched step, or side by side; None while ``auto`` has not decided.
        seconds: a task, by whether it was stacked.
    """

    stacked: bool | None
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    def next(self) -> bool:
        """Whether to stack the next time."""
        if self.stacked is not None:
            return self.stacked
        return len(self.seconds[True]) <= len(self.seconds[False])

    def words(self) -> str:
        """What was chosen, and why."""
        if self.stacked is None:
            return "not decided: too few steps"
        name = "together" if self.stacked else "side by side"
        timed = [self.seconds[way][1:] for way in (self.stacked, not self.stacked)]
        if not all(timed):
            return name
        chosen, other = map(statistics.median, timed)
        return f"{name}, {other / chosen:.2f} times as fast"

    def measured(self, stacked: bool, seconds: float) -> None:
        """Take note, and decide once each way was timed often enough (first times apart)."""
        if self.stacked is not None:
            return
        self.seconds[stacked].append(seconds)
        if min(map(len, self.seconds.values())) > TRIALS:
            together, alone = (statistics.median(self.seconds[way][1:]) for way in (True, False))
            self.stacked = together < alone

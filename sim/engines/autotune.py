"""Which variant of a kind of local step is the faster, stacked or one peer at a time: measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

TRIALS = 3
"""How often ``auto`` times each variant of a kind of local step, after an untimed first run."""


@dataclass
class Autotuner:
    """Times both variants of one kind of local effect, then keeps to the faster.

    Attributes:
        stacked: whether the effect runs as one batched step of many peers, or one peer a thread;
            None while that is not decided.
        seconds: measured, a peer, by whether the effect ran stacked.
    """

    stacked: bool | None
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    def choose(self) -> bool:
        """Whether to stack the next time."""
        if self.stacked is not None:
            return self.stacked
        return len(self.seconds[True]) <= len(self.seconds[False])

    def describe(self) -> str:
        """The choice and its reason, for ``engine.json``."""
        if self.stacked is None:
            return "not decided: too few steps"
        name = "together" if self.stacked else "side by side"
        timed = [self.seconds[variant][1:] for variant in (self.stacked, not self.stacked)]
        if not all(timed):
            return name
        chosen, other = map(statistics.median, timed)
        return f"{name}, {other / chosen:.2f} times as fast"

    def record(self, stacked: bool, seconds: float) -> None:
        """Add a measurement; decide once both variants have :data:`TRIALS` beside their first."""
        if self.stacked is not None:
            return
        self.seconds[stacked].append(seconds)
        if min(map(len, self.seconds.values())) > TRIALS:
            medians = {v: statistics.median(self.seconds[v][1:]) for v in (True, False)}
            self.stacked = medians[True] < medians[False]

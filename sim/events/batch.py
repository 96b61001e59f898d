"""The messages of one moment of virtual time, which are delivered together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from peer.effects import Moment
from sim.environment.network import Transmission


class Withdrawal(NamedTuple):
    """A value that was sent earlier must not be used any more, from ``at`` on."""

    sender: int
    receiver: int
    t: Moment
    at: float


class ProgressUpdate(NamedTuple):
    """How far a peer is.

    Attributes:
        peer: whose progress it is.
        at: virtual time.
        round: rounds that it has completed.
        finished: whether its coroutine has ended.
        listens_in: the round in which, left behind before, it takes values and sends no net's; -1.
        settled: the exchanges that it has just settled, by neighbour.
    """

    peer: int
    at: float
    round: int
    finished: bool
    listens_in: int
    settled: Mapping[int, Moment]


@dataclass(slots=True)
class Batch:
    """All messages of peers in one moment, of each kind in the order in which they were sent."""

    transmissions: list[Transmission] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    updates: list[ProgressUpdate] = field(default_factory=list)

    @property
    def earliest_effect(self) -> float:
        """A lower bound on the time stamps of all events that delivering the batch entails."""
        # A sender that wants nothing back resumes at once if it learns that its value is not used.
        ends = (
            each.earliest_arrival if each.is_mutual else each.sent_at for each in self.transmissions
        )
        updates = (update.at for update in self.updates)
        withdrawals = (withdrawal.at for withdrawal in self.withdrawals)
        return min(chain(ends, updates, withdrawals), default=math.inf)

    @property
    def latest(self) -> float:
        """The moment in which its messages were sent, or the last such moment."""
        sent = (each.sent_at for each in self.transmissions)
        updates = (update.at for update in self.updates)
        withdrawals = (withdrawal.at for withdrawal in self.withdrawals)
        return max(chain(sent, updates, withdrawals), default=-math.inf)

    def extend(self, other: Batch) -> None:
        """Append the messages of other peers."""
        self.transmissions += other.transmissions
        self.withdrawals += other.withdrawals
        self.updates += other.updates

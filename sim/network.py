"""The simulated network: how long an exchange is under way, which are lost, and who is away.

Everything is drawn from (seed, link, moment), never from the order in which things happen.
"""

from __future__ import annotations

import math

from peer.effects import Moment
from peer.experiment import Experiment
from peer.streams import stream

SUSPECT_AFTER = 5.0
"""Seconds of silence after which a neighbour is not waited for any more (as over ZeroMQ)."""


class Network:
    """Delay, loss and absence, as the experiment's ``network:`` and ``faults:`` say."""

    def __init__(self, experiment: Experiment) -> None:
        spec = experiment.network
        self.seed = experiment.seed
        self.step = spec.step
        self._default = (spec.delay, spec.jitter, spec.loss)
        self._links = {
            frozenset(link.between): (
                spec.delay if link.delay is None else link.delay,
                spec.jitter if link.jitter is None else link.jitter,
                spec.loss if link.loss is None else link.loss,
            )
            for link in spec.links
        }
        self.absences: dict[int, list[tuple[float, float]]] = {}
        for fault in experiment.faults:
            until = math.inf if fault.up is None else fault.up
            self.absences.setdefault(fault.peer, []).append((fault.down, until))

    def delay(self, sender: int, receiver: int, t: Moment) -> float:
        """Seconds that a message sent at ``t`` is under way."""
        delay, jitter, _ = self._of(sender, receiver)
        if not jitter:
            return delay
        return delay + jitter * stream(self.seed, "delay", sender, receiver, *t).random()

    def loses(self, one: int, other: int, t: Moment) -> bool:
        """Whether the link's exchange at ``t`` is lost: for both ends, as the protocol agrees."""
        loss = self._of(one, other)[2]
        if not loss:
            return False
        low, high = sorted((one, other))
        return bool(stream(self.seed, "loss", low, high, *t).random() < loss)

    def back_at(self, peer: int, now: float) -> float:
        """When ``peer`` is next there: ``now`` itself, or the end of its absence."""
        for down, up in sorted(self.absences.get(peer, [])):
            if down <= now < up:
                now = up
        return now

    def away_since(self, peer: int, now: float) -> float | None:
        """When the absence that ``peer`` is in began, if it is away."""
        return next((d for d, up in self.absences.get(peer, []) if d <= now < up), None)

    def _of(self, one: int, other: int) -> tuple[float, float, float]:
        return (
            self._links.get(frozenset((one, other)), self._default)
            if self._links
            else (self._default)
        )

"""How a peer is getting on, in one line."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from peer.net.status.shown import Shown
from peer.runtime.output import Output

PROGRESS = 30.0
"""Seconds between two lines of progress, where no terminal shows it."""

REACHABLE = ("up", "left")
"""Phases of a neighbour that nobody need worry about."""


class Pace:
    """Rounds a second, over the last minute or so."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=120)

    def rate(self, now: float, round: int) -> float:
        """The rate, ``round`` being completed ``now``; 0.0 while there is none yet."""
        if not self._seen or now - self._seen[-1][0] >= 0.5:
            self._seen.append((now, round))
        began, first = self._seen[0]
        return (round - first) / (now - began) if now > began else 0.0


def describe(
    round: int,
    rounds: int,
    rate: float,
    losses: Mapping[str, float],
    phases: Mapping[int, str] | Mapping[str, str],
    score: Mapping[str, Any] | None = None,
) -> str:
    """Round, pace, time left, losses and links: ``round 170 of 2500 (6.8%), 12.3 rounds/s, ...``"""
    parts = [f"round {round} of {rounds} ({round / max(1, rounds):.1%})"]
    if rate > 0:
        parts.append(f"{rate:.3g} rounds/s, {in_words((rounds - round) / rate)} left")
    parts += [f"loss {net[0].upper()} {loss:.3f}" for net, loss in sorted(losses.items())]
    if score:
        parts.append(score_in_words(score))
    if phases:
        up = sum(phase in REACHABLE for phase in phases.values())
        parts.append(f"{up}/{len(phases)} links up")
    return ", ".join(parts)


def score_in_words(score: Mapping[str, Any]) -> str:
    """``RFD 3.21 (own 5.02)``: the distance to all images, and to the peer's own."""
    distances = (score.get(str(score["measure"])), score.get("own"))
    network, own = ("-" if x is None else f"{x:.3g}" for x in distances)
    return f"{str(score['measure']).upper()} {network} (own {own})"


def in_words(seconds: float) -> str:
    """``45 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def bytes_in_words(count: float) -> str:
    """``512 B``, ``3.4 kB``, ``1.25 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def loss_in_words(value: float | None) -> str:
    """Three digits behind the point; empty where there is none."""
    return "" if value is None else f"{value:.3f}"


def follow(
    status: Shown, rounds: int, finished: threading.Event, output: Output, as_json: bool
) -> None:
    """Say how a peer is getting on until it has ``finished``.

    On a terminal, in a live line; else in a line every :data:`PROGRESS` seconds; or, for whoever
    started it, twice a second as JSON.
    """
    pace, told = Pace(), time.monotonic()
    while True:
        now = time.monotonic()
        rate = pace.rate(now, status.round)
        state = dict(status.losses), dict(status.phases), status.score
        line = describe(status.round, rounds, rate, *state)
        if as_json:
            output.put(json.dumps(asdict(status)))
        elif output.is_live:
            output.show(line)
        elif now - told >= PROGRESS:
            told = now
            output.say(line)
        if finished.wait(0.5):
            return

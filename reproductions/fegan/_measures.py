"""What this paper's figures measure: what the server has seen, throughput, traffic, gains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import algorithms
from peer.data import label_counts, load_source
from reproductions.claims import Found
from reproductions.measures import plain
from sim.metrics.pace import convergence_gain
from sim.metrics.seen import seen_by_rounds
from sim.records.reader import RecordedRun, read_run
from sim.records.run_metrics import participants


def seconds_of(run: RecordedRun) -> float:
    """Virtual seconds of the whole run, by the server's clock."""
    return run.records[0][-1].seconds


def seen_of(run: Path) -> dict[str, Any]:
    """What the server has seen after each round, and a round's virtual seconds on average.

    ``rounds``; ``divergence`` from the data set's classes, nats; ``samples`` a class on average,
    with repetition; ``total`` of all classes; ``epochs``: that by the number of images there are.
    """
    recorded = read_run(run)
    experiment = recorded.experiment
    images = load_source(experiment.data, folder=experiment.folder)
    real = label_counts(images, range(len(images)))
    chosen = participants(recorded, algorithms.find(experiment, check=False))
    held = {k: of.labels for k, of in recorded.results.items() if of.labels}
    seen = seen_by_rounds(chosen, held, real)
    return {
        "rounds": list(range(1, len(chosen) + 1)),
        "divergence": plain(seen.divergence),
        "samples": plain(seen.samples),
        "epochs": plain(seen.samples * len(real) / len(images)),
        "unique": plain(seen.unique),
        "seconds a round": seconds_of(recorded) / max(1, recorded.rounds),
    }


def first_reached(values: Sequence[float | None], target: float) -> float | None:
    """After how many rounds a growing quantity reaches ``target``, on the straight line between
    two of them; None if it never does."""
    before = 0.0
    for t, value in enumerate(values):
        if value is not None and value >= target:
            return t + (target - before) / (value - before)
        before = before if value is None else value
    return None


def throughput_of(run: Path, iterations: int, batch: int = 50) -> dict[str, float]:
    """Iterations, updates and images that a run processed in a virtual second.

    Args:
        run: its folder.
        iterations: of a device in a round.
        batch: images of an iteration.
    """
    recorded = read_run(run)
    program = algorithms.find(recorded.experiment, check=False)
    chosen = participants(recorded, program)
    workers = len(program.workers(recorded.experiment.peers))
    updates = sum(map(len, chosen)) or workers * recorded.rounds
    seconds = seconds_of(recorded)
    return {
        "iterations": iterations * recorded.rounds / seconds,
        "updates": updates / seconds,
        "images": updates * iterations * batch / seconds,
    }


def ratios(found: Found, one: str, other: str, key: str) -> list[float]:
    """By seed, ``one``'s number in parts of ``other``'s; NaN where either is unknown."""
    pairs = zip(found[one], found[other], strict=True)
    return [_ratio(a.get(key), b.get(key)) for a, b in pairs]


def gains(found: Found, baseline: str, other: str) -> list[float]:
    """By seed, how many times sooner ``other`` reaches the best score of ``baseline``; 0: never."""
    found_gains = []
    for slow, fast in zip(found[baseline], found[other], strict=True):
        a, b = (
            ([_number(x) for x in of["curve"]["seconds"]], _running_best(of["curve"]["distance"]))
            for of in (slow, fast)
        )
        found_gains.append(convergence_gain(a, b) or 0.0)
    return found_gains


def best(numbers: dict[str, Any]) -> float:
    """The least distance of a run's curve; NaN where there is none."""
    known = [x for x in map(_number, numbers["curve"]["distance"]) if math.isfinite(x)]
    return min(known, default=math.nan)


def median(values: Sequence[float]) -> float:
    """Of those that are known; NaN where none is."""
    known = [x for x in values if math.isfinite(x)]
    return statistics.median(known) if known else math.nan


def _running_best(values: Sequence[float | None]) -> list[float]:
    numbers = np.array([_number(x) for x in values], dtype=float)
    return np.fmin.accumulate(numbers).tolist() if len(numbers) else []


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _ratio(one: float | None, other: float | None) -> float:
    return math.nan if one is None or not other else one / other

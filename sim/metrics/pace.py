"""How fast a run went: updates and epochs a second, bytes, and when it reached a score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Series = tuple[Sequence[float], Sequence[float]]


class Pace(NamedTuple):
    """FeGAN's two definitions of throughput, and traffic."""

    updates_per_second: float  # model updates that the server (or all peers) processed
    epochs_per_second: float  # an epoch: as many samples as there are
    bytes_per_second: float  # in and out, of a peer on average


def pace(
    updates: float, samples: float, total_samples: float, bytes_moved: float, seconds: float
) -> Pace:
    """From counts over ``seconds``; NaN where no time passed, or the amount of data is unknown."""
    if seconds <= 0:
        return Pace(*[math.nan] * 3)
    epochs = samples / total_samples if total_samples else math.nan
    return Pace(updates / seconds, epochs / seconds, bytes_moved / seconds)


def time_to_score(seconds: Sequence[float], scores: Sequence[float], target: float) -> float | None:
    """When a score that is better the lower it is first reached ``target``; None if it never did.

    Between two measurements, on the straight line; those that are not finite are passed over.
    """
    before: tuple[float, float] | None = None
    for at, score in zip(seconds, scores, strict=True):
        if not math.isfinite(score):
            continue
        if score <= target:
            if before is None or before[1] == score:
                return at
            share = (before[1] - target) / (before[1] - score)
            return before[0] + share * (at - before[0])
        before = at, score
    return None


def convergence_gain(
    baseline: tuple[Sequence[float], Sequence[float]],
    other: tuple[Sequence[float], Sequence[float]],
) -> float | None:
    """How many times sooner ``other`` reaches the best score of ``baseline`` (FeGAN, section 6).

    Each is (seconds, scores), lower is better; None where it never does.
    """
    best = min(filter(math.isfinite, baseline[1]), default=math.nan)
    slow, fast = time_to_score(*baseline, best), time_to_score(*other, best)
    if slow is None or fast is None:
        return None
    return float("inf") if fast == 0 else slow / fast


def delta_loss(discriminator: Floats, generator: Floats) -> tuple[Floats, Floats]:
    """Oasis's Delta = L_D - L_G: mean and standard deviation over peers, (R,) each.

    Args:
        discriminator: (R, K), NaN where a peer logged none; the sum over real and fake.
        generator: (R, K).
    """
    difference = discriminator - generator
    known = np.isfinite(difference)
    count = known.sum(axis=1)
    safe = np.where(known, difference, 0.0)
    mean = np.divide(safe.sum(axis=1), count, out=np.full(len(count), np.nan), where=count > 0)
    spread = np.where(known, difference - mean[:, None], 0.0)
    variance = np.divide(
        (spread**2).sum(axis=1), count, out=np.full(len(count), np.nan), where=count > 0
    )
    return mean, np.sqrt(variance)


def mode_score(probabilities: Floats) -> float:
    """MS = exp(E_x KL(p(y|x) || p(y))), from the judge's verdicts (n, classes): 1 to classes."""
    p = np.clip(probabilities, 1e-12, None)
    p = p / p.sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    return float(np.exp(np.mean(np.sum(p * np.log(p / marginal), axis=1))))

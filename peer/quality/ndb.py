"""Statistically different bins (Richardson and Weiss 2018): NDB/K, and the bins' JS divergence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SIGNIFICANCE = 0.05


class Bins(NamedTuple):
    """What :func:`different_bins` finds. Equal distributions give about 0.05, not 0."""

    share: float  # NDB/K: of bins whose proportions differ
    divergence: float  # Jensen-Shannon, in nats, of the proportions
    k: int


def different_bins(one: npt.ArrayLike, other: npt.ArrayLike) -> Bins:
    """From two histograms over the same bins: the share that differs at the 5 % level, and JS."""
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    p1, p2 = first / first.sum(), second / second.sum()
    _, p = z_test(p1, first.sum(), p2, second.sum())
    middle = (p1 + p2) / 2
    divergence = (_kl(p1, middle) + _kl(p2, middle)) / 2
    return Bins(float((p < SIGNIFICANCE).mean()), divergence, len(p1))


def z_test(p1: npt.ArrayLike, n1: float, p2: npt.ArrayLike, n2: float) -> tuple[Floats, Floats]:
    """The two-proportion z and its two-sided p-value, element by element.

    Where no bin has anything in it the standard error is zero: not different.
    """
    from scipy.special import ndtr  # a peer that does not judge loads no scipy

    p1, p2 = np.atleast_1d(np.asarray(p1, float)), np.atleast_1d(np.asarray(p2, float))
    pooled = (p1 * n1 + p2 * n2) / (n1 + n2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    z = np.divide(p1 - p2, error, out=np.zeros_like(error), where=error > 0)
    return z, np.asarray(2 * ndtr(-np.abs(z)))


def _kl(p: Floats, q: Floats) -> float:
    held = p > 0
    return float(np.sum(p[held] * np.log(p[held] / q[held])))

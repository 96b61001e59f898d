"""Statistically different bins (Richardson and Weiss 2018): NDB/K, and the bins' JS divergence."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from peer.streams import stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SIGNIFICANCE = 0.05
_MANY_DIMENSIONS = 1000
_SHARE_OF_DIMENSIONS = 6
_SAMPLES_A_BIN = 5


class Bins(NamedTuple):
    """What :func:`different_bins` finds. Equal distributions give about 0.05, not 0."""

    share: float  # NDB/K: of bins whose proportions differ
    divergence: float  # Jensen-Shannon, in nats, of the proportions
    k: int


class Binning:
    """Bins from the training images: Voronoi cells of k-means.

    Of images with more than 1,000 pixels the clustering uses a random sixth, as distances do then;
    centres are the means in all dimensions.

    Args:
        real: training images, (n, pixels) in [0, 1].
        k: bins; fewer where there are not five images for each.
        seed: of the clustering.
    """

    def __init__(self, real: Floats, k: int = 100, seed: int = 0) -> None:
        self.k = max(2, min(k, len(real) // _SAMPLES_A_BIN))
        dimensions = real.shape[1]
        rng = stream(seed, "bins")
        self.used: Ints = np.arange(dimensions)
        if dimensions > _MANY_DIMENSIONS:
            size = dimensions // _SHARE_OF_DIMENSIONS
            self.used = np.sort(rng.choice(dimensions, size, replace=False))
        clusters = KMeans(self.k, n_init=1, random_state=int(rng.integers(2**31)))
        with warnings.catch_warnings():
            # Fewer distinct images than bins: the bins that stay empty are left out.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = clusters.fit_predict(real[:, self.used])
        self.centres = np.stack([real[found == i].mean(axis=0) for i in np.unique(found)])
        self.k = len(self.centres)
        self.counts = np.bincount(self.assign(real), minlength=self.k)

    def assign(self, images: Floats) -> Ints:
        """The bin of each image, (n,)."""
        distances = cdist(images[:, self.used], self.centres[:, self.used])
        return np.asarray(distances.argmin(axis=1))

    def compare(self, fake: Floats) -> Bins:
        """NDB/K and JS of samples (m, pixels) in [0, 1]; NaN where one is not finite."""
        if not np.isfinite(fake).all():
            return Bins(math.nan, math.nan, self.k)
        counts = np.bincount(self.assign(fake), minlength=self.k)
        return different_bins(self.counts, counts)


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
    p1, p2 = np.atleast_1d(np.asarray(p1, float)), np.atleast_1d(np.asarray(p2, float))
    pooled = (p1 * n1 + p2 * n2) / (n1 + n2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    z = np.divide(p1 - p2, error, out=np.zeros_like(error), where=error > 0)
    return z, np.asarray(2 * norm.sf(np.abs(z)))


def _kl(p: Floats, q: Floats) -> float:
    held = p > 0
    return float(np.sum(p[held] * np.log(p[held] / q[held])))

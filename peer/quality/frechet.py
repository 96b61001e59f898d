"""The Fréchet distance between two Gaussians, the formula beneath FID and CFID."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def gaussian(features: npt.ArrayLike) -> tuple[Array, Array]:
    """Mean (d,) and unbiased covariance (d, d) of ``features`` (n, d), n >= 2, in float64."""
    rows = np.asarray(features, dtype=np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    return mean, centred.T @ centred / (len(rows) - 1)


def frechet_distance(
    mu1: npt.ArrayLike, cov1: npt.ArrayLike, mu2: npt.ArrayLike, cov2: npt.ArrayLike
) -> float:
    """||mu1 - mu2||² + Tr(C1 + C2 - 2 (C1 C2)^½), for means (d,) and covariances (d, d).

    The trace of (C1 C2)^½ is that of (C1^½ C2 C1^½)^½, whose argument is symmetric and positive
    semi-definite: its eigenvalues are real, and those that rounding pushes below zero (a covariance
    of fewer samples than dimensions has many) are zero. No complex square root and no ridge.

    Returns:
        The squared 2-Wasserstein distance, >= 0; NaN where an input is not finite.
    """
    return Reference(mu1, cov1).distance(mu2, cov2)


class Reference:
    """One of the two Gaussians, to which many others are compared: its root is computed once.

    Args:
        mean: (d,).
        covariance: (d, d).
    """

    def __init__(self, mean: npt.ArrayLike, covariance: npt.ArrayLike) -> None:
        self.mean = np.asarray(mean, dtype=np.float64)
        self.covariance = np.asarray(covariance, dtype=np.float64)
        self._is_finite = bool(np.isfinite(self.mean).all() and np.isfinite(self.covariance).all())

    @cached_property
    def _root(self) -> Array:
        """C^½, (d, d)."""
        values, vectors = np.linalg.eigh(self.covariance)
        return np.asarray((vectors * np.sqrt(values.clip(0.0))) @ vectors.T)

    def distance_of(self, features: npt.ArrayLike) -> float:
        """The distance to the Gaussian of ``features`` (n, d), n >= 2.

        Of fewer images than features, the eigenvalues that count are those of X C X^T / (n - 1),
        an (n, n) matrix, X being the centred features: no root of a (d, d) matrix is needed.
        """
        rows = np.asarray(features, dtype=np.float64)
        n, d = rows.shape
        if n > d:
            return self.distance(*gaussian(rows))
        if not (self._is_finite and np.isfinite(rows).all()):
            return math.nan
        mean = rows.mean(axis=0)
        centred = rows - mean
        gram = centred @ self.covariance @ centred.T / (n - 1)
        cross = np.sqrt(np.linalg.eigvalsh((gram + gram.T) / 2).clip(0.0)).sum()
        spread = np.square(centred).sum() / (n - 1)  # the trace of the samples' covariance
        traces = np.square(self.mean - mean).sum() + np.trace(self.covariance) + spread
        return max(0.0, float(traces - 2.0 * cross))

    def distance(self, mu: npt.ArrayLike, cov: npt.ArrayLike) -> float:
        """The distance to the Gaussian of mean (d,) and covariance (d, d)."""
        mean_2, cov_2 = np.asarray(mu, dtype=np.float64), np.asarray(cov, dtype=np.float64)
        if not (self._is_finite and np.isfinite(mean_2).all() and np.isfinite(cov_2).all()):
            return math.nan
        middle = self._root @ cov_2 @ self._root
        cross = np.sqrt(np.linalg.eigvalsh((middle + middle.T) / 2).clip(0.0)).sum()
        traces = np.square(self.mean - mean_2).sum() + np.trace(self.covariance) + np.trace(cov_2)
        return max(0.0, float(traces - 2.0 * cross))

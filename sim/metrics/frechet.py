"""The Fréchet distance between two Gaussians, the formula beneath FID and CFID."""

from __future__ import annotations

import math

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
    mean_1, mean_2 = np.asarray(mu1, dtype=np.float64), np.asarray(mu2, dtype=np.float64)
    cov_1, cov_2 = np.asarray(cov1, dtype=np.float64), np.asarray(cov2, dtype=np.float64)
    if not all(np.isfinite(part).all() for part in (mean_1, mean_2, cov_1, cov_2)):
        return math.nan
    values, vectors = np.linalg.eigh(cov_1)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    middle = root @ cov_2 @ root
    cross = np.sqrt(np.linalg.eigvalsh((middle + middle.T) / 2).clip(0.0)).sum()
    distance = np.square(mean_1 - mean_2).sum() + np.trace(cov_1) + np.trace(cov_2) - 2.0 * cross
    return max(0.0, float(distance))

"""Improved precision and recall (Kynkäänniemi et al. 2019): balls around nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

Floats = npt.NDArray[np.float64]

_CHUNK = 1024


class PrecisionRecall(NamedTuple):
    """Shares, from 0 to 1."""

    precision: float  # of fakes that lie in a real ball
    recall: float  # of reals that lie in a fake ball


def precision_recall(real: Floats, fake: Floats, k: int = 3) -> PrecisionRecall:
    """From features (n, d) and (m, d); a ball reaches to its centre's k-th nearest neighbour.

    Compare sets of equal size: balls grow as a set thins out. NaN where a feature is not finite.
    """
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        return PrecisionRecall(float("nan"), float("nan"))
    return PrecisionRecall(_share_within(fake, real, k), _share_within(real, fake, k))


def neighbour_radii(points: Floats, k: int) -> Floats:
    """(n,): to the k-th nearest other of ``points`` (n, d), or the furthest where they are few."""
    k = min(k, len(points) - 1)
    parts = [
        # A point is its own nearest, at distance 0: the k-th other one is at index k.
        np.partition(cdist(points[start : start + _CHUNK], points), k, axis=1)[:, k]
        for start in range(0, len(points), _CHUNK)
    ]
    return np.concatenate(parts)


def _share_within(points: Floats, centres: Floats, k: int) -> float:
    """Share of ``points`` that lie in, or on, a ball of ``centres``."""
    radii = neighbour_radii(centres, k)
    inside = [
        (cdist(points[start : start + _CHUNK], centres) <= radii).any(axis=1)
        for start in range(0, len(points), _CHUNK)
    ]
    return float(np.concatenate(inside).mean())

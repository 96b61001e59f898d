"""Improved precision and recall (Kynkäänniemi et al. 2019): balls around nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

Floats = npt.NDArray[np.float64]


class PrecisionRecall(NamedTuple):
    """Shares, from 0 to 1."""

    precision: float  # of fakes that lie in a real ball
    recall: float  # of reals that lie in a fake ball


def precision_recall(real: Floats, fake: Floats, k: int = 3) -> PrecisionRecall:
    """From features (n, d) and (m, d); a ball reaches to its centre's k-th nearest neighbour."""
    between = cdist(real, fake)  # (n, m)
    in_real = between <= _radii(real, k)[:, None]
    in_fake = between <= _radii(fake, k)[None, :]
    return PrecisionRecall(float(in_real.any(axis=0).mean()), float(in_fake.any(axis=1).mean()))


def _radii(points: Floats, k: int) -> Floats:
    """(n,): to the k-th nearest other point."""
    k = min(k, len(points) - 1)
    return np.asarray(np.partition(cdist(points, points), k, axis=1)[:, k])

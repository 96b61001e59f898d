"""Bins from training images (Richardson and Weiss 2018), where all of them are in one place."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from peer.quality.ndb import Bins, different_bins
from peer.streams import stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MANY_DIMENSIONS = 1000
_SHARE_OF_DIMENSIONS = 6
_SAMPLES_A_BIN = 5


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

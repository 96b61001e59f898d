"""Bins whose counts add up: NDB of images that no machine has all of.

Richardson and Weiss 2018 take k-means' cells of the training images, which needs them in one place.
Here a bin is a corner of five random planes through the network's mean, in features each scaled by
the network's deviation: 32 bins that every peer knows once it knows the network's moments. Each
counts its own images in them, and the counts are averaged as the moments were.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from peer.quality.together.moments import BLOCK, Extract, Moments
from peer.streams import stream

PLANES = 5
BINS = 2**PLANES

KEPT = "bins/network"
"""The name of the network's counts, (BINS,), among a peer's tensors."""

Array = npt.NDArray[np.float64]


def count(features: Array, moments: Moments) -> Array:
    """How many of the images with these features, (n, d), lie in each bin: (BINS,)."""
    mean, covariance = moments.gaussian()
    scale = np.sqrt(np.diagonal(covariance).clip(0.0)) + 1e-6
    sides = ((features - mean) / scale) @ _planes(len(mean)) > 0  # (n, PLANES)
    places = sides @ (1 << np.arange(PLANES))  # (n,)
    return np.bincount(places, minlength=BINS).astype(np.float64)


def count_images(extract: Extract, images: torch.Tensor, moments: Moments) -> Array:
    """The same of images (n, c, h, w), a block at a time."""
    counts = np.zeros(BINS)
    for start in range(0, len(images), BLOCK):
        counts += count(extract(images[start : start + BLOCK]), moments)
    return counts


@cache
def _planes(dimension: int) -> Array:
    """Normals of the planes, (d, PLANES), the same at every peer."""
    return stream(0, "bins", dimension).standard_normal((dimension, PLANES))

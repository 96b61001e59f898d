"""Moments of features: all that the Fréchet distance needs of images, and they add up.

For n images with features f in R^d: the count n, the sum of f and the sum of the outer products
f f^T. Those of several peers' images together are the sums of the peers' own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]
Extract = Callable[[torch.Tensor], Array]

BLOCK = 1024
"""Images whose features are in memory at once."""


@dataclass(frozen=True)
class Moments:
    """The moments of some images' features, in float64.

    Attributes:
        count: n.
        total: (d,), the sum of f.
        outer: (d, d), the sum of f f^T.
    """

    count: float
    total: Array
    outer: Array

    @classmethod
    def none(cls, dimension: int) -> Moments:
        """Those of no image."""
        return cls(0.0, np.zeros(dimension), np.zeros((dimension, dimension)))

    @classmethod
    def of(cls, extract: Extract, images: torch.Tensor, dimension: int) -> Moments:
        """Those of ``images`` (n, c, h, w), a block at a time; ``extract`` gives (n, d)."""
        total, outer = np.zeros(dimension), np.zeros((dimension, dimension))
        for start in range(0, len(images), BLOCK):
            features = extract(images[start : start + BLOCK])  # (block, d)
            total += features.sum(axis=0)
            outer += features.T @ features
        return cls(float(len(images)), total, outer)

    def __add__(self, other: Moments) -> Moments:
        """Those of both together."""
        total, outer = self.total + other.total, self.outer + other.outer
        return Moments(self.count + other.count, total, outer)

    def gaussian(self) -> tuple[Array, Array]:
        """The mean (d,) and the unbiased covariance (d, d); at least two images."""
        mean = self.total / self.count
        spread = self.outer / self.count - np.outer(mean, mean)
        return mean, spread * (self.count / (self.count - 1))

    def scaled(self, factor: float) -> Moments:
        """As of ``factor`` times as many images."""
        return Moments(self.count * factor, self.total * factor, self.outer * factor)

    def packed(self) -> torch.Tensor:
        """(1 + d + d (d + 1)/2,) float64: the outer products' upper triangle is all of them."""
        upper = np.triu_indices(len(self.total))
        return torch.from_numpy(np.concatenate(([self.count], self.total, self.outer[upper])))

    @classmethod
    def unpacked(cls, packed: torch.Tensor) -> Moments:
        """What :meth:`packed` gave.

        Raises:
            ValueError: it has another length than any.
        """
        values = packed.detach().cpu().numpy()
        dimension = (math.isqrt(8 * len(values) + 1) - 3) // 2
        if len(values) != packed_length(dimension):
            raise ValueError(f"{len(values)} numbers are no moments")
        outer = np.zeros((dimension, dimension))
        outer[np.triu_indices(dimension)] = values[1 + dimension :]
        outer += np.triu(outer, 1).T
        return cls(float(values[0]), values[1 : 1 + dimension].copy(), outer)


def packed_length(dimension: int) -> int:
    """How many numbers the moments of features in R^d are."""
    return 1 + dimension + dimension * (dimension + 1) // 2

"""Kernel distance: the unbiased maximum mean discrepancy of two sets of features (KID's formula).

KID proper takes Inception features; on the judge's features it is named CKID here, as CFID is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from peer.streams import stream

Floats = npt.NDArray[np.float64]


class KernelDistance(NamedTuple):
    """Mean and standard deviation over subsets."""

    mean: float
    std: float


def kernel_distance(
    real: Floats, fake: Floats, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Unbiased MMD^2 with the kernel ``(x.y / d + 1)^3``, over random subsets.

    Args:
        real: features (n, d).
        fake: features (m, d).
        subsets: how many.
        size: of each, of either side; no more than there are.
        seed: of the choice of subsets.
    """
    size = min(size, len(real), len(fake))
    if size < 2:
        return KernelDistance(float("nan"), float("nan"))
    rng = stream(seed, "kernel distance")
    values = [
        mmd_squared(
            real[rng.choice(len(real), size, replace=False)],
            fake[rng.choice(len(fake), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def mmd_squared(x: Floats, y: Floats) -> float:
    """The unbiased estimate from x (m, d) and y (n, d); it may be below zero."""
    m, n, d = len(x), len(y), x.shape[1]
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within_x = (xx.sum() - np.trace(xx)) / (m * (m - 1))
    within_y = (yy.sum() - np.trace(yy)) / (n * (n - 1))
    return float(within_x + within_y - 2 * xy.mean())

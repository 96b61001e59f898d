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

    Bińkowski et al. 2018, Demystifying MMD GANs, section 4. Unlike a Fréchet distance it does not
    depend on the number of samples, and may be a little below zero.

    Args:
        real: features (n, d).
        fake: features (m, d).
        subsets: how many; one is enough where ``size`` takes in both sets whole.
        size: of each, of either side; no more than there are.
        seed: of the choice of subsets.

    Returns:
        NaN where either side has fewer than two rows, or a feature that is not finite.
    """
    size = min(size, len(real), len(fake))
    if size < 2 or not (np.isfinite(real).all() and np.isfinite(fake).all()):
        return KernelDistance(float("nan"), float("nan"))
    if size == len(real) == len(fake):
        subsets = 1
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
    m, n = len(x), len(y)
    within_x = (_sum_of_kernel(x, x) - _trace_of_kernel(x)) / (m * (m - 1))
    within_y = (_sum_of_kernel(y, y) - _trace_of_kernel(y)) / (n * (n - 1))
    return within_x + within_y - 2 * _sum_of_kernel(x, y) / (m * n)


def _sum_of_kernel(x: Floats, y: Floats) -> float:
    """Over all pairs. Two products: NumPy's third power takes several times as long."""
    inner: Floats = x @ y.T / x.shape[1] + 1
    return float(np.vdot(inner * inner, inner))


def _trace_of_kernel(x: Floats) -> float:
    """Over the pairs of a row with itself."""
    return float(((np.square(x).sum(axis=1) / x.shape[1] + 1) ** 3).sum())

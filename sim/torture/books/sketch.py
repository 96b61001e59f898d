"""A net as a few numbers that add up as it does.

A linear map to :data:`WIDTH` numbers: every float has a random sign and is added to one of them (a
count sketch: Charikar, Chen and Farach-Colton, 2004, doi:10.1016/S0304-3975(03)00400-6). So sums
and differences of nets are sums and differences of sketches, whatever the nets' size, and two nets
that differ have the same sketch by a coincidence of all its numbers only.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

WIDTH = 32

Vector = np.ndarray  # (at most WIDTH,) float64


@lru_cache(8)
def _signs(length: int) -> np.ndarray:
    return np.random.default_rng(length).choice([-1.0, 1.0], length)  # (P,)


def sketch(w: torch.Tensor) -> Vector:
    """The sketch of an arena (P,), in float64; a copy of it, where it is as short."""
    values: Vector = np.asarray(w.detach().cpu().numpy(), dtype=np.float64)  # (P,)
    if len(values) <= WIDTH:
        return values.copy()
    rows = -(-len(values) // WIDTH)
    padded = np.zeros(rows * WIDTH)
    np.multiply(values, _signs(len(values)), out=padded[: len(values)])
    total: Vector = padded.reshape(rows, WIDTH).sum(0)
    return total


def spread_of_rounding(length: int) -> float:
    """By how much more than one float's the rounding of ``length`` floats shows in a sketch."""
    return math.sqrt(max(1.0, length / WIDTH))

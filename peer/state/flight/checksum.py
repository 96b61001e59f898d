"""A checksum of a peer's nets that costs a hundredth of a round's time, not a digest's twentieth.

It tells apart what differs by accident, in one bit or in many; it does not withstand an adversary.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

Words = npt.NDArray[np.uint64]

BLOCK = 8192
"""64-bit words that are multiplied at a time: they and the factors stay in a core's own cache."""

_FACTORS: Words = np.random.Generator(np.random.PCG64(0)).integers(
    2**64, size=BLOCK, dtype=np.uint64
) | np.uint64(1)
_NEXT = 0x9E3779B97F4A7C15  # odd: from block to block
_ALL = 2**64 - 1


def checksum(vectors: Iterable[torch.Tensor]) -> int:
    """A number of 64 bits that depends on every bit of the vectors, and on its place.

    Of a block of words x_i it is the multilinear sum over i of m_i x_i modulo 2^64, with fixed odd
    factors m_i (Lemire and Kaser, The Computer Journal 57(11), 2014, doi:10.1093/comjnl/bxt070);
    blocks follow each other in a polynomial.

    Args:
        vectors: float32, (P,) each, contiguous, on any device.
    """
    found = 0
    products = np.empty_like(_FACTORS)
    for vector in vectors:
        words = _words(vector)
        for start in range(0, len(words), BLOCK):
            block = words[start : start + BLOCK]
            count = len(block)
            np.multiply(block, _FACTORS[:count], out=products[:count])
            found = (found * _NEXT + int(np.add.reduce(products[:count])) + count) & _ALL
    return found


def _words(vector: torch.Tensor) -> Words:
    """The vector's memory as 64-bit words; where a float is left over, a copy with a zero more."""
    values = vector.detach().cpu().numpy()
    if len(values) % 2:
        values = np.append(values, np.float32(0))
    words: Words = values.view(np.uint64)
    return words

"""Memory that lies as torch's own would."""

from __future__ import annotations

import numpy as np

ALIGNMENT = 64
"""Bytes: memory of tensors begins on a multiple of it."""


def aligned(nbytes: int) -> memoryview:
    """``nbytes`` of memory, not set: where a matrix begins may decide how it is rounded."""
    memory = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + nbytes].data

"""Memory that lies as torch's own would, and how much of it this process has."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

ALIGNMENT = 64
"""Bytes: memory of tensors begins on a multiple of it."""


def aligned(nbytes: int) -> memoryview:
    """``nbytes`` of memory, not set: where a matrix begins may decide how it is rounded."""
    memory = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + nbytes].data


def resident_bytes() -> int:
    """This process's memory that is not swapped out; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

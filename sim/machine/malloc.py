"""Memory that is freed and wanted again at once."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the names of glibc's mallopt(3)
_KEPT = 2**30
_LARGEST = 2**25  # what glibc allows


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, a GiB a thread at most, as long as we run (glibc).

    A step frees its activations, and the next one wants as many. Threads other than the first give
    them back to the kernel in between, and a sixth of their time goes into clearing new pages.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)

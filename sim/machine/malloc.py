"""Settings of the C library's allocator."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the names of glibc's mallopt(3)
_KEPT = 2**30
_LARGEST = 2**25  # what glibc allows


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, at most a GiB a thread, while this process runs (glibc).

    A step frees its activations, and the next step allocates as many. By default, threads other
    than the first return them to the kernel in between, and then spend a sixth of their time on
    clearing new pages.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)

"""How a value is cut into chunks, and how it is coded."""

from __future__ import annotations

from typing import Protocol

from peer.net.transfer.letters import PREFIX
from peer.net.wire import CHUNK_LARGEST, CHUNK_SMALLEST

FLOATS, LETTER = "float32", "letter"
"""How a value is coded, unless the experiment compresses arenas: its floats, or a letter."""

SLOWEST_RETRY = 30.0
"""Seconds between two offers of the same value, and between two questions for it, at most."""


class Payload(Protocol):
    """The bytes of a value of ours.

    A slice of a value that is still being written holds what is there, and so may be too short.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> memoryview: ...


Checksums = dict[tuple[str, int, int], int]
"""Of one value, by (which checksum, start, length) of a piece: computed once for all neighbours."""


def is_letter(net: str) -> bool:
    """Whether a value offered under that name is a letter, and no arena."""
    return net.startswith(PREFIX)


def chunk_size(bytes_per_second: float) -> int:
    """Bytes of a chunk: a twentieth of a second's worth, from 256 KiB (unknown) to 4 MiB."""
    twentieth = int(bytes_per_second / 20)
    return min(CHUNK_LARGEST, max(CHUNK_SMALLEST, 1 << max(0, twentieth.bit_length() - 1)))


def chunk_count(nbytes: int, chunk: int) -> int:
    """How many chunks a value of ``nbytes`` is cut into (an empty one, into one)."""
    return max(1, -(-nbytes // chunk))

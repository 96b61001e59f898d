"""The checksum of a value's pieces, which the two ends of a link agree on in their HELLOs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

KNOWN: dict[str, Callable[[memoryview], int]] = {"crc32": zlib.crc32}
"""By its word in HELLO, the quickest first: what is read at 3 GB/s by XXH3, CRC-32 reads at 0.6."""

try:
    from xxhash import xxh3_64_intdigest
except ImportError:  # no wheel for this machine: CRC-32, which every Python has
    pass
else:
    KNOWN = {"xxh3": xxh3_64_intdigest, **KNOWN}


class Checksum:
    """How one link's pieces are checked.

    Where CURVE authenticates every byte, or one end has checksums off, they are not.

    Args:
        is_on: whether this end checks at all.
    """

    def __init__(self, is_on: bool) -> None:
        self.known = list(KNOWN) if is_on else []
        self.name = ""  # of the one agreed on, once both ends have said what they know

    def agree(self, theirs: Sequence[str]) -> None:
        """Use the quickest that both know: the same one at both ends."""
        self.name = next((name for name in KNOWN if name in self.known and name in theirs), "")

    def of(self, body: memoryview) -> int:
        """A piece's checksum, of at most 64 bits; 0 where nothing is checked."""
        return KNOWN[self.name](body) if self.name else 0

    def fits(self, body: memoryview, told: int) -> bool:
        """Whether a piece is as it was sent, as far as is checked."""
        return not self.name or KNOWN[self.name](body) == told

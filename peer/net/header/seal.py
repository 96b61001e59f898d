"""Bytes of a header to its parts and back, with a checksum behind them.

The CRC-32 is of all header bytes before its own four: one flipped bit in a HELLO would make a
neighbour one of another experiment, and one in an ACK would say what nobody said. TCP's own
checksum, of 16 bits, lets some damage through, and does not see what a middlebox did.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgpack

HEADER_LIMIT = 2048
"""Bytes of a header, at most."""


class WireError(ValueError):
    """Bytes that are not a message of this protocol."""


def sealed(parts: list[Any]) -> bytes:
    """The bytes of a header with these parts, its CRC-32 behind them."""
    packed: bytes = msgpack.packb([*parts, 2**32 - 1])  # which takes five bytes, the number last
    begun = packed[:-4]
    return begun + zlib.crc32(begun).to_bytes(4, "big")


def opened(header: bytes | memoryview, magic: str, version: int) -> list[Any]:
    """The parts of a header that :func:`sealed` made; its magic word and version come first.

    Raises:
        WireError: it is none, or not of this version.
    """
    if len(header) > HEADER_LIMIT:
        raise WireError("a header longer than 2 KiB")
    try:
        parts = msgpack.unpackb(header)
    except Exception:  # msgpack raises a dozen kinds for hostile bytes; all mean the same
        raise WireError("not msgpack") from None
    if type(parts) is not list or len(parts) < 2 or parts[0] != magic:
        raise WireError(f"not a header of {magic}")
    if type(parts[1]) is not int or parts[1] != version:
        found = parts[1] if type(parts[1]) is int else "that is no number"
        raise WireError(f"protocol version {found}, not {version}")
    if zlib.crc32(header[:-4]) != int.from_bytes(header[-4:], "big"):
        raise WireError("a header that was damaged on its way")
    return parts

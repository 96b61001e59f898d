"""Records of bytes in a file that is appended to: each with its length and a checksum.

A frame is ``[length: u32][CRC-32 of the record: u32][record]``, little-endian. What follows the
last sound frame is what a killed process, or a power cut, left half-written, or damage.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from peer.state.json_lines import AppendedFile

HEAD = struct.Struct("<II")

LARGEST = 16 * 2**20
"""Bytes of a record, at most: whatever claims more is damaged."""

LIMIT = 64 * 2**20
"""Bytes of a file that are written, and read, at most: two million rounds or so."""


def framed(record: bytes) -> bytes:
    """The record as it is written."""
    return HEAD.pack(len(record), zlib.crc32(record)) + record


def sound_frames(content: bytes) -> tuple[list[bytes], int]:
    """The records in ``content`` up to the first that is not sound, and the bytes they take."""
    records: list[bytes] = []
    place = 0
    while place + HEAD.size <= len(content):
        length, checksum = HEAD.unpack_from(content, place)
        start = place + HEAD.size
        # Of zeros, which a power cut may leave, the CRC-32 is right: no record is empty.
        if not 0 < length <= min(LARGEST, len(content) - start):
            break
        record = content[start : start + length]
        if zlib.crc32(record) != checksum:
            break
        records.append(record)
        place = start + length
    return records, place


def read_frames(path: Path) -> tuple[list[bytes], int]:
    """The sound records at the beginning of a file, and how many bytes follow them.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(LIMIT + LARGEST + HEAD.size)
        size = os.fstat(file.fileno()).st_size
    records, sound = sound_frames(content)
    return records, size - sound


class FrameFile:
    """Appends records to a file; one that is half-written at its end is cut off first.

    Args:
        path: the file; its folder is made.
        tell: gets a line where something is cut off, or cannot be written.

    Attributes:
        path: the file.
        records: those that it held before.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self.records: list[bytes] = []
        if path.exists():
            self.records, lost = read_frames(path)
            if lost:
                tell(f"{path}: the last {lost:,} bytes are no whole records, and are cut off")
                os.truncate(path, path.stat().st_size - lost)
        self.path = path
        self._file = AppendedFile(path, tell)
        self._room = LIMIT - path.stat().st_size
        self._tell = tell

    def append(self, record: bytes) -> None:
        """Append a record; returns in any case. A full file takes no more, which is said once."""
        frame = framed(record)
        if self._room < 0:
            return
        self._room -= len(frame)
        if self._room < 0:
            self._tell(f"{self.path}: is full; what follows cannot be replayed")
            return
        self._file.append(frame)

    def close(self) -> None:
        """No more is to come."""
        self._file.close()

"""A journal's file: records with bodies, each with a checksum, synced when it is said.

A record is ``[length of the header: u32][of the body: u64][CRC-32 of both: u32][header][body]``,
little-endian; the header is a msgpack list. What follows the last sound record is what a killed
process, or a power cut, left half-written.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgpack

from peer.machine.memory import aligned
from peer.state.disk import REAL, Disk, make_folders

_HEAD = struct.Struct("<IQI")
_NAME = re.compile(r"journal-([0-9]+)\.msgpack")

Record = tuple[list[Any], memoryview]
"""A header, and the body behind it."""


def journal_path(folder: Path, round: int) -> Path:
    """Where the journal is of what came after the checkpoint of that round."""
    return folder / f"journal-{round:08d}.msgpack"


def journal_rounds(folder: Path, disk: Disk = REAL) -> list[int]:
    """The rounds of a folder's journals, the earliest first."""
    found = map(_NAME.fullmatch, disk.names(folder))
    return sorted(int(name[1]) for name in found if name)


def _sound_records(content: bytes) -> Iterator[tuple[Record, int]]:
    """The records up to the first that is not sound, each with the place where it ends."""
    view, place = memoryview(content), 0
    while place + _HEAD.size <= len(view):
        length, nbytes, checksum = _HEAD.unpack_from(view, place)
        start = place + _HEAD.size
        place = start + length + nbytes
        # Of zeros, which a power cut may leave, the CRC-32 is right: no header is empty.
        if not length or place > len(view) or zlib.crc32(view[start:place]) != checksum:
            return
        try:
            header = msgpack.unpackb(view[start : start + length], strict_map_key=False)
        except Exception:  # msgpack raises a dozen kinds; all mean the same
            return
        if type(header) is not list:
            return
        body = aligned(nbytes)
        body[:] = view[start + length : place]
        yield (header, body), place


def read_records(path: Path, disk: Disk = REAL) -> list[Record]:
    """The sound records at the beginning of a file.

    Raises:
        OSError: it cannot be read.
    """
    with disk.open(path) as file:
        content = file.read()
    return [record for record, _ in _sound_records(content)]


class JournalFile:
    """Appends records to a file; what is half-written at its end is cut off first.

    Args:
        path: the file, in a folder that is there or can be made.
        disk: on which it is.

    Attributes:
        nbytes: how long it is.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, disk: Disk = REAL) -> None:
        make_folders(path.parent, disk=disk)
        self._disk = disk
        is_new = path.name not in disk.names(path.parent)
        self._file: IO[bytes] = disk.append(path)
        if is_new:
            disk.sync_folder(path.parent)
        with disk.open(path) as file:
            content = file.read()
        self.nbytes = max((end for _, end in _sound_records(content)), default=0)
        if self.nbytes < len(content):
            self._file.truncate(self.nbytes)
            self._file.seek(0, os.SEEK_END)
            disk.sync(self._file)
        self._is_synced = True

    def append(self, header: list[Any], body: memoryview | bytes = b"") -> None:
        """Append a record; it is on the disk once it is synced.

        Raises:
            OSError: the disk does not take it.
        """
        packed = msgpack.packb(header)
        checksum = zlib.crc32(body, zlib.crc32(packed))
        self._is_synced = False
        self._write(_HEAD.pack(len(packed), len(body), checksum) + packed)
        if body:
            self._write(body)

    def _write(self, content: memoryview | bytes) -> None:
        rest = memoryview(content)
        while rest:  # what finds no room at last is an OSError
            taken = self._file.write(rest)
            self.nbytes += taken
            rest = rest[taken:]

    def sync(self) -> None:
        """Wait until every record is on the disk.

        Raises:
            OSError: the disk does not say so.
        """
        if not self._is_synced:
            self._disk.sync(self._file)
            self._is_synced = True

    def close(self) -> None:
        """No more is to come."""
        self._file.close()

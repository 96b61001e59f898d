"""Files to which a run appends, one JSON object a line, though the disk be full for a time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peer.state.disk import REAL, Disk, make_folders, replacing

WAITING = 16 * 2**20
"""Bytes of records that are kept while they cannot be written; beyond it the oldest are lost."""


class AppendedFile:
    """Appends records of bytes to a file, each whole or not at all.

    Where the disk takes none, records wait, and are tried again with the next one.

    Args:
        path: the file; its folder is made.
        tell: gets a line when records cannot be written, and when they can again.
        disk: on which it is.
    """

    def __init__(self, path: Path, tell: Callable[[str], None], disk: Disk = REAL) -> None:
        make_folders(path.parent, disk=disk)
        self.path = path
        self.tell = tell
        self._disk = disk
        self._file = disk.append(path)
        self._half_from: int | None = None  # where a line begins of which only a part is written
        self._waiting: list[bytes] = []
        self._is_troubled = False

    def append(self, record: bytes) -> None:
        """Append a record; returns in any case."""
        self._waiting.append(record)
        while len(self._waiting) > 1 and sum(map(len, self._waiting)) > WAITING:
            del self._waiting[0]
        self._try()

    def _try(self) -> None:
        """Append what waits."""
        try:
            while self._waiting:
                self._append(self._waiting[0])
                del self._waiting[0]
        except OSError as problem:
            if not self._is_troubled:
                self._is_troubled = True
                self.tell(f"{self.path}: cannot be written ({problem.strerror}); it is tried again")
        else:
            if self._is_troubled:
                self._is_troubled = False
                self.tell(f"{self.path}: is written again")

    def _append(self, line: bytes) -> None:
        self._drop_half_line()
        before = self._file.seek(0, os.SEEK_END)
        try:
            while line:  # what finds no room at last is an OSError
                line = line[self._file.write(line) :]
        except OSError:
            self._half_from = before
            with contextlib.suppress(OSError):  # or else before the next line
                self._drop_half_line()
            raise

    def _drop_half_line(self) -> None:
        if self._half_from is not None:
            self._file.truncate(self._half_from)
            self._half_from = None

    def sync(self) -> None:
        """Wait until what was written is on the disk; returns in any case."""
        with contextlib.suppress(OSError):
            self._disk.sync(self._file)

    def close(self) -> None:
        """No more is to come; what waits is tried a last time."""
        if self._waiting:
            self._try()
        if self._waiting:
            count = len(self._waiting)
            self.tell(f"{self.path}: records of its end are not written: {count}")
            self._waiting.clear()
        with contextlib.suppress(OSError):
            self._file.close()


class JsonLines(AppendedFile):
    """Appends records as lines of JSON."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record; returns in any case."""
        self.append((json.dumps(record) + "\n").encode())


def cut_back(path: Path, round: int, disk: Disk = REAL) -> None:
    """Drop the records of rounds after ``round``, and lines that are no records (cut short).

    A file that is not there, or holds nothing to be dropped, is left alone.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with disk.open(path) as file:
            if all(_is_kept(line, round) for line in file):
                return
    except FileNotFoundError:
        return
    with disk.open(path) as file, replacing(path, disk=disk) as kept:
        kept.writelines(line for line in file if _is_kept(line, round))


def _is_kept(line: bytes, round: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return int(json.loads(line)["round"]) <= round
    except (ValueError, KeyError, TypeError):
        return False

"""Files to which a run appends, one JSON object a line, though the disk be full for a time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WAITING = 16 * 2**20
"""Bytes of records that are kept while they cannot be written; beyond it the oldest are lost."""


class AppendedFile:
    """Appends records of bytes to a file, each whole or not at all.

    Where the disk takes none, records wait, and are tried again with the next one.

    Args:
        path: the file; its folder is made.
        tell: gets a line when records cannot be written, and when they can again.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.tell = tell
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
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
        before = os.fstat(self._file).st_size
        try:
            while line:  # what finds no room at last is an OSError
                line = line[os.write(self._file, line) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)  # no half line stays
            raise

    def close(self) -> None:
        """No more is to come; what waits is tried a last time."""
        if self._waiting:
            self._try()
        if self._waiting:
            count = len(self._waiting)
            self.tell(f"{self.path}: records of its end are not written: {count}")
            self._waiting.clear()
        with contextlib.suppress(OSError):
            os.close(self._file)


class JsonLines(AppendedFile):
    """Appends records as lines of JSON."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record; returns in any case."""
        self.append((json.dumps(record) + "\n").encode())


def cut_back(path: Path, round: int) -> None:
    """Drop the records of rounds after ``round``, and lines that are no records (cut short).

    A file that is not there, or holds nothing to be dropped, is left alone.

    Raises:
        OSError: it cannot be written.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        if all(_is_kept(line, round) for line in file):
            return
    beside = path.with_name(f".{path.name}.part")
    try:
        with path.open("rb") as file, beside.open("wb") as kept:
            kept.writelines(line for line in file if _is_kept(line, round))
            kept.flush()
            os.fsync(kept.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _is_kept(line: bytes, round: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return int(json.loads(line)["round"]) <= round
    except (ValueError, KeyError, TypeError):
        return False

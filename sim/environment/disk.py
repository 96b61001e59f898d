"""A disk in memory that forgets, at a power cut, what was not synced; that fills up, and fails.

It promises what POSIX does and no more, which is less than most file systems keep. Without
``fsync`` of a file, each of its sectors may hold what it held after any of the writes since the
last one, or nothing. Without ``fsync`` of a folder, any of the names that were given, changed or
taken away since the last one may be there or not: also the later ones and not the earlier.

Everything random comes from generators that are given: the same ones, the same disk.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

SECTOR = 512
"""Bytes that are written as a whole, or not at all."""


class PowerCut(BaseException):
    """The power is gone: nothing runs on, and so nothing that handles errors may catch it."""


@dataclass(eq=False)
class File:
    """A file, whatever its names are.

    Attributes:
        content: what is read.
        kept: what is on the platter.
        since: what the file was after each write, or cut, since it was synced.
    """

    content: bytes = b""
    kept: bytes = b""
    since: list[bytes] = field(default_factory=list)

    def change(self, content: bytes) -> None:
        """Be ``content`` from now on; the platter may learn of it at any time."""
        self.content = content
        self.since.append(content)

    def sync(self) -> None:
        """What is read is on the platter, too."""
        self.kept = self.content
        self.since.clear()

    def crash(self, rng: np.random.Generator) -> None:
        """Be what the platter may hold."""
        versions = [self.kept, *self.since]
        at = int(rng.integers(len(versions)))
        found = versions[at]
        if self.since and rng.random() < 0.5:  # otherwise, writes in their order, up to one
            found = _mixed(versions, len(found), rng)
        self.content = found
        self.sync()


@dataclass(eq=False)
class Folder:
    """A folder.

    Attributes:
        names: what is in it, by name.
        kept: the same, as the platter has it.
        since: what changed since it was synced: names, and what they mean now (None: nothing).
    """

    names: dict[str, Node] = field(default_factory=dict)
    kept: dict[str, Node] = field(default_factory=dict)
    since: list[Mapping[str, Node | None]] = field(default_factory=list)

    def change(self, names: Mapping[str, Node | None]) -> None:
        """Change some names, all at once; the platter may learn of it at any time."""
        _apply(names, self.names)
        self.since.append(names)

    def sync(self) -> None:
        """The platter has the names that are seen."""
        self.kept = dict(self.names)
        self.since.clear()

    def crash(self, rng: np.random.Generator) -> None:
        """Have the names, with all below them, that the platter may have."""
        count = len(self.since)
        chosen = np.arange(count) < rng.integers(count + 1)  # in their order, up to one
        if rng.random() < 0.5:
            chosen = rng.random(count) < rng.random()
        self.names = dict(self.kept)
        for changed, is_there in zip(self.since, chosen, strict=True):
            if is_there:
                _apply(changed, self.names)
        self.sync()
        for node in self.names.values():
            node.crash(rng)


Node = File | Folder


class SimulatedDisk:
    """A disk (see :class:`peer.state.disk.Disk`) that does what real ones are feared for.

    Args:
        room: bytes that its files may have in all; None: as many as memory has.
        short: draws how much of a write is taken; None: all that has room.

    Attributes:
        operations: how many there were; what is closed is none.
        cut_at: the number of the operation before which the power is cut.
        failing: what goes wrong with an operation, by its number: an errno.
    """

    def __init__(self, room: int | None = None, short: np.random.Generator | None = None) -> None:
        self.room = room
        self.short = short
        self.operations = 0
        self.cut_at: int | None = None
        self.failing: dict[int, int] = {}
        self._root = Folder()
        self._mount = 0  # how often it was mounted; files of before are of no use
        self._is_off = False
        self._parts = 0  # files that got a name of their own

    def crash(self, rng: np.random.Generator) -> None:
        """Cut the power, where it is not cut yet, and mount what is on the platter then."""
        self._root.crash(rng)
        self._mount += 1
        self._is_off = False
        self.cut_at = None

    def flip(self, path: Path, bit: int) -> None:
        """Flip a bit of a file, on the platter and in what is read; no operation."""
        file = self._file(path)
        content = bytearray(file.content)
        content[bit // 8] ^= 1 << bit % 8
        file.content = bytes(content)
        file.sync()

    @property
    def used(self) -> int:
        """Bytes of all files that have names."""
        return sum(len(file.content) for file in _files(self._root))

    # --- what a disk does -------------------------------------------------------------------------

    def open(self, path: Path) -> IO[bytes]:
        """A file to be read."""
        self.operate(path)
        return io.BufferedReader(_Opened(self, self._file(path)))

    def append(self, path: Path) -> IO[bytes]:
        """A file to be appended to, made if it is missing."""
        self.operate(path)
        folder = self._folder(path.parent)
        if path.name not in folder.names:
            folder.change({path.name: File()})
        return cast("IO[bytes]", _Opened(self, self._file(path)))

    def create_beside(self, path: Path) -> tuple[IO[bytes], Path]:
        """A new file, numbered."""
        self.operate(path)
        self._parts += 1
        beside = path.with_name(f".{path.name}.{self._parts}.part")
        file = File()
        self._folder(path.parent).change({beside.name: file})
        return io.BufferedWriter(_Opened(self, file)), beside

    def sync(self, file: IO[bytes]) -> None:
        """What was written into ``file`` is on the platter."""
        file.flush()
        opened = cast("_Opened", getattr(file, "raw", file))
        opened.operate()
        opened.file.sync()

    def sync_folder(self, folder: Path) -> None:
        """The names in ``folder`` are on the platter."""
        self.operate(folder)
        self._folder(folder).sync()

    def rename(self, path: Path, to: Path) -> None:
        """Within a folder; between two, it would not be all at once."""
        self.operate(path)
        file = self._file(path)
        if path.parent != to.parent:
            raise _error(errno.EXDEV, path)
        folder = self._folder(path.parent)
        if isinstance(folder.names.get(to.name), Folder):
            raise _error(errno.EISDIR, to)
        folder.change({path.name: None, to.name: file})

    def remove(self, path: Path) -> None:
        """Take a file's name away."""
        self.operate(path)
        self._file(path)
        self._folder(path.parent).change({path.name: None})

    def make_folder(self, folder: Path) -> bool:
        """Make a folder in one that is there; returns whether it was missing."""
        self.operate(folder)
        parts = _parts(folder)
        within = self._folder(folder.parent)
        if not parts or isinstance(within.names.get(parts[-1]), Folder):
            return False
        if parts[-1] in within.names:
            raise _error(errno.EEXIST, folder)
        within.change({parts[-1]: Folder()})
        return True

    def names(self, folder: Path) -> list[str]:
        """In the order of the alphabet."""
        self.operate(folder)
        try:
            return sorted(self._folder(folder).names)
        except (FileNotFoundError, NotADirectoryError):
            return []

    # --- what goes wrong --------------------------------------------------------------------------

    def operate(self, path: Path | None = None, mount: int | None = None) -> None:
        """Count an operation on ``path``, or on a file opened in ``mount``; fail if it is to."""
        if self._is_off or mount not in (None, self._mount):
            raise PowerCut
        number = self.operations
        self.operations += 1
        if number == self.cut_at:
            self._is_off = True
            raise PowerCut
        if number in self.failing:
            raise _error(self.failing[number], path)

    def taken(self, wanted: int) -> int:
        """How many of ``wanted`` bytes a write takes."""
        count = wanted if self.room is None else min(wanted, max(0, self.room - self.used))
        if self.short is not None and count > 1 and self.short.random() < 0.5:
            count = int(self.short.integers(1, count))
        return count

    # --- what is where ----------------------------------------------------------------------------

    def _folder(self, path: Path) -> Folder:
        node: Node = self._root
        for part in _parts(path):
            if not isinstance(node, Folder):
                raise _error(errno.ENOTDIR, path)
            if part not in node.names:
                raise _error(errno.ENOENT, path)
            node = node.names[part]
        if not isinstance(node, Folder):
            raise _error(errno.ENOTDIR, path)
        return node

    def _file(self, path: Path) -> File:
        node = self._folder(path.parent).names.get(path.name)
        if node is None:
            raise _error(errno.ENOENT, path)
        if not isinstance(node, File):
            raise _error(errno.EISDIR, path)
        return node


class _Opened(io.RawIOBase):
    """An open file: read from its beginning, or written at its end."""

    def __init__(self, disk: SimulatedDisk, file: File) -> None:
        self.disk = disk
        self.file = file
        self.mount = disk._mount
        self._read = 0

    def operate(self) -> None:
        """Count an operation, and let it fail if it is to; a descriptor does not tell its name."""
        self.disk.operate(mount=self.mount)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readall(self) -> bytes:
        self.operate()
        rest = self.file.content[self._read :]
        self._read += len(rest)
        return rest

    def readinto(self, into: WriteableBuffer, /) -> int:
        self.operate()
        view = memoryview(into).cast("B")
        some = self.file.content[self._read : self._read + len(view)]
        view[: len(some)] = some
        self._read += len(some)
        return len(some)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Only to the end, whose place is told; and that is no operation."""
        assert (offset, whence) == (0, os.SEEK_END), "nothing that is durable needs more"
        return len(self.file.content)

    def tell(self) -> int:
        return self._read or len(self.file.content)

    def write(self, content: ReadableBuffer, /) -> int:
        self.operate()
        wanted = bytes(content)
        count = self.disk.taken(len(wanted))
        if wanted and not count:
            raise _error(errno.ENOSPC)
        self.file.change(self.file.content + wanted[:count])
        return count

    def truncate(self, size: int | None = None, /) -> int:
        self.operate()
        assert size is not None
        self.file.change(self.file.content[:size].ljust(size, b"\0"))
        return size


def _mixed(versions: list[bytes], length: int, rng: np.random.Generator) -> bytes:
    """A file each of whose sectors is of one of the versions; beyond a version's end are zeros."""
    newest = rng.random()  # how many sectors are of the last write; of the others, any
    mixed = bytearray()
    for start in range(0, length, SECTOR):
        is_newest = rng.random() < newest
        version = versions[-1 if is_newest else int(rng.integers(len(versions)))]
        mixed += version[start : start + SECTOR].ljust(SECTOR, b"\0")
    return bytes(mixed[:length])


def _apply(changed: Mapping[str, Node | None], names: dict[str, Node]) -> None:
    for name, node in changed.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _files(folder: Folder) -> Iterator[File]:
    for node in folder.names.values():
        if isinstance(node, Folder):
            yield from _files(node)
        else:
            yield node


def _parts(path: Path) -> tuple[str, ...]:
    return path.parts[1:] if path.anchor else path.parts


def _error(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([] if path is None else [str(path)]))

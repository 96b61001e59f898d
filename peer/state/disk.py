"""The disk: the few operations that everything durable goes through.

A file is written beside its place, flushed to the disk, renamed, and the folder flushed: a power
cut leaves the old file or the new one. :func:`replacing` is that order, and nothing else knows it.
It runs on the machine's own disk, and on one that forgets and fails when a test tells it to.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol


class Disk(Protocol):
    """Files and folders. Every operation raises OSError where the disk does not do it.

    What is written survives a power cut once it is synced, and not before: a file's bytes by
    :meth:`sync`, the names in a folder, and of what, by :meth:`sync_folder`.
    """

    def open(self, path: Path) -> IO[bytes]:
        """A file to be read."""

    def append(self, path: Path) -> IO[bytes]:
        """A file to be appended to, made if it is missing; nothing of it is buffered.

        Its ``write`` says how many bytes it took, which may be fewer than it was given.
        """

    def create_beside(self, path: Path) -> tuple[IO[bytes], Path]:
        """A new file in the folder of ``path``, to be written, and its name: a hidden ``*.part``.

        No two have the same name: peers of one machine may write the same file at the same time.
        """

    def sync(self, file: IO[bytes]) -> None:
        """Wait until what was written into ``file`` is on the disk."""

    def sync_folder(self, folder: Path) -> None:
        """Wait until the names in ``folder`` are on the disk."""

    def rename(self, path: Path, to: Path) -> None:
        """Call ``path`` ``to``, in the place of what is called so, all at once."""

    def remove(self, path: Path) -> None:
        """Take a file away."""

    def make_folder(self, folder: Path) -> bool:
        """Make a folder in one that is there; returns whether it was missing."""

    def names(self, folder: Path) -> list[str]:
        """The names in ``folder``, in any order; none where there is no such folder."""


class RealDisk:
    """The disk of this machine."""

    def open(self, path: Path) -> IO[bytes]:
        """A file to be read."""
        return path.open("rb")

    def append(self, path: Path) -> IO[bytes]:
        """A file to be appended to, readable by everybody."""
        return open(path, "ab", buffering=0, opener=lambda name, how: os.open(name, how, 0o644))

    def create_beside(self, path: Path) -> tuple[IO[bytes], Path]:
        """A new file of a random name, as readable as the user's umask says."""
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        return os.fdopen(descriptor, "wb"), beside

    def sync(self, file: IO[bytes]) -> None:
        """By fsync."""
        file.flush()
        os.fsync(file.fileno())

    def sync_folder(self, folder: Path) -> None:
        """By fsync, too."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: Path, to: Path) -> None:
        """By rename, which is all at once."""
        path.replace(to)

    def remove(self, path: Path) -> None:
        """By unlink."""
        path.unlink()

    def make_folder(self, folder: Path) -> bool:
        """By mkdir."""
        try:
            folder.mkdir()
        except FileNotFoundError:
            raise
        except OSError:  # which one is told first differs between systems
            if not folder.is_dir():
                raise
            return False
        return True

    def names(self, folder: Path) -> list[str]:
        """Also none where this user may not look."""
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []


PART = ".part"
"""How the name of a file ends that is being written."""

REAL: Disk = RealDisk()
"""This machine's."""


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True, disk: Disk = REAL) -> Iterator[IO[bytes]]:
    """A file to be written, which takes the place of ``path``, all at once, where the block ends.

    If ``durable``, it is on the disk then. Where the block or the disk fails, ``path`` is as it
    was; but for the last step: when the folder cannot be flushed, it is either.
    """
    make_folders(path.parent, durable=durable, disk=disk)
    file, beside = disk.create_beside(path)
    try:
        with file:
            yield file
            if durable:
                disk.sync(file)
        disk.rename(beside, path)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            disk.remove(beside)
        if isinstance(problem, OSError) and problem.filename is None:
            problem.filename = str(path)  # a descriptor's problem does not tell whose
        raise
    if durable:
        disk.sync_folder(path.parent)


def make_folders(folder: Path, *, durable: bool = True, disk: Disk = REAL) -> None:
    """Make ``folder``, and those above it that are missing; if ``durable``, on the disk, too.

    Without that, a power cut could take a new folder away with all that was synced in it.
    """
    try:
        is_new = disk.make_folder(folder)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folders(folder.parent, durable=durable, disk=disk)
        is_new = disk.make_folder(folder)
    if is_new and durable:
        disk.sync_folder(folder.parent)


def remove_parts(folder: Path, *, disk: Disk = REAL) -> None:
    """Take away what was being written into ``folder`` when its only writer was cut off."""
    for name in disk.names(folder):
        if name.startswith(".") and name.endswith(PART):
            with contextlib.suppress(OSError):
                disk.remove(folder / name)

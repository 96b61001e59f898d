"""The simulated disk does what a real one does, and at a power cut no more than it must."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from peer.state.checkpoint import write_whole
from peer.state.disk import REAL, Disk, make_folders
from sim.environment.disk import SECTOR, PowerCut, SimulatedDisk

FILE = Path("run", "file")


def content_of(disk: Disk, path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError), disk.open(path) as file:
        return file.read()
    return None


def appended(disk: SimulatedDisk, *parts: bytes, synced: int = 0) -> None:
    """A file of so many parts, of which the first are on the platter, as is its name."""
    make_folders(FILE.parent, disk=disk)
    file = disk.append(FILE)
    disk.sync_folder(FILE.parent)
    for i, part in enumerate(parts):
        file.write(part)
        if i + 1 == synced:
            disk.sync(file)


def after_crashes(make: Callable[[SimulatedDisk], None], crashes: int = 300) -> set[bytes | None]:
    """What a file may be after a power cut."""
    found = set()
    for seed in range(crashes):
        disk = SimulatedDisk()
        make(disk)
        disk.crash(np.random.default_rng(seed))
        found.add(content_of(disk, FILE))
    return found


def outcome(disk: Disk, what: str, path: Path, other: Path, content: bytes) -> object:
    """What comes of one of the things that are done to disks: what is read, or the error."""
    try:
        match what:
            case "write":
                write_whole(path, content, disk=disk)
            case "append":
                with disk.append(path) as file:
                    file.write(content)
            case "rename":
                disk.rename(path, other)
            case "remove":
                disk.remove(path)
            case "make":
                return disk.make_folder(path)
            case "read":
                with disk.open(path) as file:
                    return list(file)
    except OSError as problem:
        return problem.errno
    return None


def test_it_does_what_a_real_disk_does(tmp_path: Path) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        simulated, root = SimulatedDisk(), tmp_path / str(seed)
        make_folders(root)
        make_folders(root, disk=simulated)
        paths = [root / "a", root / "b", root / "c", root / "c" / "d"]
        for _ in range(60):
            what = ("write", "append", "rename", "remove", "make", "read")[int(rng.integers(6))]
            path, other = (paths[int(rng.integers(4))] for _ in "ab")
            if what == "rename" and (
                path.is_dir() or other.is_dir() or path.parent != other.parent
            ):
                continue
            if what in ("remove", "read") and path.is_dir():
                continue
            content = rng.bytes(int(rng.integers(20_000)))
            of_both = [outcome(disk, what, path, other, content) for disk in (REAL, simulated)]
            assert of_both[0] == of_both[1], (what, path)
            for folder in (root, root / "c"):
                assert sorted(REAL.names(folder)) == simulated.names(folder)


def test_what_is_synced_is_there() -> None:
    parts = b"a" * SECTOR, b"b" * 700, b"c" * 300
    assert after_crashes(lambda disk: appended(disk, *parts, synced=3)) == {b"".join(parts)}
    found = after_crashes(lambda disk: appended(disk, *parts, synced=1))
    assert all(content is not None and content.startswith(parts[0]) for content in found)


def test_what_is_not_synced_is_there_in_part_or_not_at_all() -> None:
    parts = b"a" * SECTOR, b"b" * SECTOR
    found = after_crashes(lambda disk: appended(disk, *parts))
    nothing = b"\0" * SECTOR
    assert found == {
        b"", parts[0], b"".join(parts), nothing, nothing + parts[1], parts[0] + nothing,
        nothing + nothing,
    }  # fmt: skip


@pytest.mark.parametrize("is_synced", [False, True])
def test_a_name_is_there_once_its_folder_is_synced(is_synced: bool) -> None:
    def make(disk: SimulatedDisk) -> None:
        write_whole(FILE, b"old", disk=disk)
        file, beside = disk.create_beside(FILE)
        file.write(b"new")
        disk.sync(file)
        disk.rename(beside, FILE)
        if is_synced:
            disk.sync_folder(FILE.parent)

    assert after_crashes(make) == ({b"new"} if is_synced else {b"old", b"new"})


def test_changes_of_names_may_be_kept_in_another_order() -> None:
    def make(disk: SimulatedDisk) -> None:
        write_whole(FILE, b"old", disk=disk)
        write_whole(FILE.with_name("other"), b"other", disk=disk)
        disk.rename(FILE.with_name("other"), FILE.with_name("third"))
        disk.remove(FILE)

    states = set()
    for seed in range(100):
        disk = SimulatedDisk()
        make(disk)
        disk.crash(np.random.default_rng(seed))
        states.add(tuple(disk.names(FILE.parent)))
    assert states == {("file", "other"), ("file", "third"), ("other",), ("third",)}


def test_nothing_runs_on_without_power_and_no_file_outlives_it() -> None:
    disk = SimulatedDisk()
    appended(disk, b"x", synced=1)
    file = disk.append(FILE)
    disk.cut_at = disk.operations
    for _ in range(2):
        with pytest.raises(PowerCut):
            write_whole(FILE, b"y", disk=disk)
    disk.crash(np.random.default_rng(0))
    assert content_of(disk, FILE) == b"x"
    with pytest.raises(PowerCut):
        file.write(b"z")


def test_a_full_disk_takes_what_has_room() -> None:
    disk = SimulatedDisk(room=5)
    file = disk.append(Path("file"))
    assert file.write(b"1234567") == 5
    with pytest.raises(OSError, match="No space left on device"):
        file.write(b"67")
    disk.remove(Path("file"))
    assert disk.used == 0


def test_an_operation_fails_that_is_told_to() -> None:
    disk = SimulatedDisk()
    disk.failing[1] = errno.EIO
    assert disk.names(Path()) == []
    with pytest.raises(OSError, match="Input/output error"):
        disk.names(Path())
    assert disk.names(Path()) == []

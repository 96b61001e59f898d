"""A state is saved as soon as the disk takes it, and training never waits for that."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from peer.runtime.resources import KEPT_BACK, Reserve, name_this_user
from peer.runtime.saver import Saver
from peer.state import PeerState
from peer.state.checkpoint import save_state, saved_rounds
from peer.state.journal.journal import open_journal
from sim.environment.disk import SimulatedDisk
from tests.peer.state.test_checkpoint import trained
from topology.errors import UserError


@pytest.fixture(scope="module")
def state() -> PeerState:
    return trained()[0]


def at(saver: Saver, round: int) -> None:
    saver.state.round = round
    saver.save({})


FOLDER = Path("run", "peer-0")
LEAST = 1000
"""Bytes of room beside whole checkpoints."""


def size_of(state: PeerState) -> int:
    """Bytes of a checkpoint."""
    disk = SimulatedDisk()
    save_state(state, FOLDER, disk=disk)
    return disk.used


def test_what_cannot_be_saved_is_said_once_and_tried_again(state: PeerState) -> None:
    said: list[str] = []
    disk = SimulatedDisk(room=LEAST)
    saver = Saver(state, FOLDER, {}, said.append, disk)
    at(saver, 10)
    at(saver, 20)
    assert saver.problem == "No space left on device"
    assert saver.newest is None
    assert disk.used == 0
    disk.room = None
    at(saver, 30)
    assert saver.problem == ""
    assert saver.newest == 30
    assert said == [
        "the state after round 10 cannot be saved (No space left on device); training goes on, "
        "and it is tried again",
        "the state after round 30 could be saved again",
    ]


def test_older_checkpoints_make_room_for_the_newest(state: PeerState) -> None:
    said: list[str] = []
    disk = SimulatedDisk()
    saver = Saver(state, FOLDER, {}, said.append, disk)
    for round in (10, 20, 30):
        at(saver, round)
    disk.room = 2 * size_of(state) + LEAST  # one beside the new one
    at(saver, 40)
    assert saved_rounds(FOLDER, disk) == [40, 30]
    disk.room = size_of(state) + LEAST
    at(saver, 50)
    assert saved_rounds(FOLDER, disk) == [40]  # the last one is never given up for one to come
    assert len(said) == 1


def test_what_was_given_up_makes_room_before_what_is_gone_on_from(state: PeerState) -> None:
    disk = SimulatedDisk()
    saver = Saver(state, FOLDER, {}, print, disk)
    for round in (20, 30, 40):
        at(saver, round)
    disk.room = 2 * size_of(state) + LEAST
    at(saver, 25)  # gone on from round 20
    assert saved_rounds(FOLDER, disk) == [25, 20]


class Reluctant(SimulatedDisk):
    """Folders are not flushed while it is ``troubled``."""

    troubled = False

    def sync_folder(self, folder: Path) -> None:
        if self.troubled:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))
        super().sync_folder(folder)


def test_none_makes_room_while_the_newest_may_be_there_in_name_only(state: PeerState) -> None:
    for seed in range(20):
        disk = Reluctant()
        saver = Saver(state, FOLDER, {}, lambda line: None, disk)
        at(saver, 10)
        disk.troubled = True
        at(saver, 20)
        assert saved_rounds(FOLDER, disk) == [20, 10]
        assert saver.problem
        disk.room = disk.used + LEAST
        at(saver, 30)
        disk.crash(np.random.default_rng(seed))
        assert 10 in saved_rounds(FOLDER, disk)  # a save that returned


def journalled(state: PeerState, disk: SimulatedDisk) -> Saver:
    """The saver of a peer with a journal, after its first checkpoint."""
    state.round = 0
    journal = open_journal(FOLDER, 0, is_exact=True, disk=disk)
    assert journal is not None
    journal.begin(7)
    saver = Saver(state, FOLDER, {}, lambda line: None, disk, journal)
    at(saver, 0)
    return saver


def test_any_operation_may_fail_where_there_is_a_journal(state: PeerState) -> None:
    """The peer goes on, or ends with a line, as its journal cannot be written; and starts again."""
    disk = SimulatedDisk()
    saver = journalled(state, disk)
    before = disk.operations
    at(saver, 10)
    count = disk.operations - before
    ends = 0
    for failing in range(count):
        disk = SimulatedDisk()
        saver = journalled(state, disk)
        disk.failing[disk.operations + failing] = errno.EIO
        is_said_to_be_saved = False
        try:
            at(saver, 10)
            is_said_to_be_saved = not saver.problem
        except UserError:
            ends += 1
        newest = saved_rounds(FOLDER, disk)[0]
        assert newest == 10 or not is_said_to_be_saved
        again = open_journal(FOLDER, newest, is_exact=True, disk=disk)
        assert again is not None
        assert again.sessions == {7}
    assert 0 < ends < count
    disk.failing[disk.operations] = errno.EIO
    assert saver.newest is None  # nobody knows


@contextmanager
def descriptors(limit: int) -> Iterator[list[int]]:
    """No more than so many, and all of them taken."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield taken
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_state_is_saved_where_all_descriptors_are_taken(state: PeerState, tmp_path: Path) -> None:
    saver = Saver(state, tmp_path, {}, print)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    with descriptors(highest + 5):
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        at(saver, 10)
        assert saver.problem == ""
    assert saved_rounds(tmp_path) == [10]


def test_what_is_kept_back_is_lent_and_taken_back() -> None:
    reserve = Reserve()
    before = len(os.listdir("/proc/self/fd"))
    with reserve.lent():
        assert len(os.listdir("/proc/self/fd")) == before - KEPT_BACK
    assert len(os.listdir("/proc/self/fd")) == before
    with reserve.lent():
        pass


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.delenv("USER", raising=False)
    name_this_user()
    assert os.environ["USER"] == f"user-{os.getuid()}"
    monkeypatch.delenv("USER")

"""A state is saved as soon as the disk takes it, and training never waits for that."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peer.runtime.resources import KEPT_BACK, Reserve, name_this_user
from peer.runtime.saver import Saver
from peer.state import PeerState
from peer.state import checkpoint as module
from peer.state.checkpoint import saved_rounds
from tests.peer.state.test_checkpoint import trained


@pytest.fixture(scope="module")
def state() -> PeerState:
    return trained()[0]


def at(saver: Saver, round: int) -> None:
    saver.state.round = round
    saver.save({})


def room_for(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk on which so many checkpoints find room, the one that is being written among them."""
    write = module.write_whole

    def full(path: Path, content: bytes, *, durable: bool = True) -> None:
        if len(list(path.parent.glob("checkpoint-*"))) >= count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content, durable=durable)

    monkeypatch.setattr(module, "write_whole", full)


def test_what_cannot_be_saved_is_said_once_and_tried_again(
    state: PeerState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    saver = Saver(state, tmp_path, {}, said.append)
    with monkeypatch.context() as patch:
        room_for(0, patch)
        at(saver, 10)
        at(saver, 20)
        assert saver.problem == "No space left on device"
        assert saver.newest is None
    at(saver, 30)
    assert saver.problem == ""
    assert saver.newest == 30
    assert said == [
        "the state after round 10 cannot be saved (No space left on device); training goes on, "
        "and it is tried again",
        "the state after round 30 could be saved again",
    ]


def test_older_checkpoints_make_room_for_the_newest(
    state: PeerState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    saver = Saver(state, tmp_path, {}, said.append)
    for round in (10, 20, 30):
        at(saver, round)
    room_for(2, monkeypatch)  # one beside the new one
    at(saver, 40)
    assert saved_rounds(tmp_path) == [40, 30]
    room_for(1, monkeypatch)
    at(saver, 50)
    assert saved_rounds(tmp_path) == [40]  # the last one is never given up for one to come
    assert len(said) == 1


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

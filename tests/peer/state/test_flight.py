"""A peer's flight: what is written is read, whatever a kill or a bad disk leaves of it."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import torch

import algorithms
from peer.effects import Moment
from peer.experiment import Experiment, from_mapping
from peer.runtime.loading import load_peer
from peer.state import PeerState
from peer.state.flight.checksum import BLOCK, checksum
from peer.state.flight.frames import HEAD, LARGEST, FrameFile, framed, read_frames, sound_frames
from peer.state.flight.reader import Late, read_flight
from peer.state.flight.recorder import FlightRecorder
from tests.real.conftest import SMALL
from topology.errors import UserError

RECORDS = [b"one", b"two" * 100, b"\x00", b"four"]
WHOLE = b"".join(framed(record) for record in RECORDS)


def nothing(line: str) -> None:
    """Nothing is told, or nobody listens."""


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return from_mapping(SMALL)


@pytest.fixture(scope="module")
def state(experiment: Experiment) -> PeerState:
    return load_peer(experiment, 0, algorithms.find(experiment))[0]


def test_wherever_a_file_is_cut_short_the_whole_records_are_read() -> None:
    ends = [len(b"".join(framed(r) for r in RECORDS[:n])) for n in range(len(RECORDS) + 1)]
    for cut in range(len(WHOLE) + 1):
        whole = sum(end <= cut for end in ends) - 1
        assert sound_frames(WHOLE[:cut]) == (RECORDS[:whole], ends[whole])


def test_no_flipped_bit_goes_unnoticed() -> None:
    for place in range(len(WHOLE)):
        for bit in range(8):
            flipped = bytearray(WHOLE)
            flipped[place] ^= 1 << bit
            records, sound = sound_frames(bytes(flipped))
            assert records == RECORDS[: len(records)]
            assert sound <= place  # nothing from the damaged record on


@pytest.mark.parametrize("length", [2**32 - 1, LARGEST + 1, 1000, 0])
def test_a_claim_of_any_size_is_not_believed(length: int) -> None:
    assert sound_frames(WHOLE + struct.pack("<II", length, 0) + b"x") == (RECORDS, len(WHOLE))


def test_zeros_at_the_end_are_no_records() -> None:
    """A power cut may leave the file's new length, and none of its content."""
    assert sound_frames(WHOLE + bytes(100)) == (RECORDS, len(WHOLE))


def test_a_torn_tail_is_cut_off_and_said_before_more_is_written(tmp_path: Path) -> None:
    path = tmp_path / "flight.msgpack"
    path.write_bytes(WHOLE + framed(b"never written whole")[:-3])
    said: list[str] = []
    file = FrameFile(path, said.append)
    file.append(b"five")
    file.close()
    assert file.records == RECORDS
    assert len(said) == 1
    assert "no whole records, and are cut off" in said[0]
    assert read_frames(path) == ([*RECORDS, b"five"], 0)


def test_a_full_file_takes_no_more_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.state.flight.frames.LIMIT", 3 * HEAD.size + 30)
    said: list[str] = []
    file = FrameFile(tmp_path / "flight.msgpack", said.append)
    for _ in range(5):
        file.append(b"0123456789")
    file.close()
    assert read_frames(file.path)[0] == [b"0123456789"] * 3
    assert len(said) == 1
    assert "is full" in said[0]


def test_records_wait_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FrameFile(tmp_path / "flight.msgpack", nothing)

    def full(descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    write: Callable[[int, bytes], int] = os.write
    monkeypatch.setattr(os, "write", full)
    file.append(b"one")
    monkeypatch.setattr(os, "write", write)
    file.append(b"two")
    file.close()
    assert read_frames(file.path) == ([b"one", b"two"], 0)


def test_what_is_recorded_is_read(tmp_path: Path, experiment: Experiment, state: PeerState) -> None:
    path = tmp_path / "flight.msgpack"
    vectors = [net.arena.vector for _, net in sorted(state.nets.items())]
    for session, source in ((2**64 - 1, None), (7, 2**64 - 1)):
        file = FrameFile(path, nothing)
        recorder = FlightRecorder.of_file(file)
        recorder.started(experiment, state, session, source)
        recorder.agreed(["cat", "dog"])
        recorder.told_time(0.5)
        recorder.exchanged(0, (), {1: 11, 4: 44})
        recorder.asked()
        recorder.exchanged(0, {4}, {1: 11}, held={4})
        recorder.asked()
        recorder.used_late(4, Moment(0, 1))
        recorder.exchanged(1, (), {1: 12, 4: 44})
        state.round = 2
        recorder.completed(state)
        recorder.skipped(40)
        recorder.ended(40, "stopped")
        state.round = 0
        file.close()
    (first, second), lost = read_flight(path)
    assert lost == 0
    assert (first.number, first.session, first.source) == (0, 2**64 - 1, None)
    assert (second.number, second.session, second.source) == (1, 7, 2**64 - 1)
    assert first.experiment == second.experiment == experiment.resolved()
    assert path.read_bytes().count(b"mlp-digits") == 1  # not again where nothing has changed
    for each in (first, second):
        assert each.classes == ("cat", "dog")
        assert each.seconds == [0.5]
        assert each.senders == {(0, 0): {1: 11, 4: 44}, (1, 0): {1: 12}}
        assert each.without == {(0, 1): frozenset({4})}
        assert each.held == {(0, 1): frozenset({4})}
        assert each.late == [Late(2, 4, Moment(0, 1))]
        assert each.checksums == {2: checksum(vectors)}
        assert each.skips == {2: 40}
        assert each.completed == 40
        assert each.ending == (40, "stopped")


START = {
    "version": 1, "session": 1, "round": 0, "source": None, "classes": [], "torch": "", "cpu": "",
    "experiment": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([["round", 1, 2]], "does not begin with a start"),
        ([["start", START], ["turned", 1]], "unknown kind: 'turned'"),
        ([["start", START], ["round", 1]], "a record 'round' of other fields"),
        ([["start", START], ["without", 1, 2, "3"]], "a record 'without' of other fields"),
        ([["start", START], 5], "record 2 is none"),
        ([["start", START | {"version": 9}]], "version 9"),
        ([["start", {"version": 1}]], "lacks"),
        ([["start"]], "record 1 has no fields"),
    ],
)
def test_a_sound_file_of_something_else_is_refused(
    tmp_path: Path, records: list[object], why: str
) -> None:
    path = tmp_path / "flight.msgpack"
    path.write_bytes(b"".join(framed(msgpack.packb(record)) for record in records))
    with pytest.raises(UserError, match="no flight that this hearsay can read") as refused:
        read_flight(path)
    assert why in str(refused.value)


def test_every_bit_and_its_place_counts_in_a_checksum() -> None:
    vector = torch.linspace(-1, 1, 2 * BLOCK * 2 + 33)
    other = torch.zeros(3)
    known = checksum([vector, other])
    assert checksum([vector.clone(), other]) == known
    bits = vector.view(torch.int32)
    for place in (0, 1, 2 * BLOCK, len(vector) - 1):
        bits[place] ^= 1
        assert checksum([vector, other]) != known
        bits[place] ^= 1
    one_up_one_down = vector.clone()
    one_up_one_down.view(torch.int32)[10] += 1
    one_up_one_down.view(torch.int32)[20] -= 1
    assert checksum([one_up_one_down, other]) != known
    swapped = vector.clone()
    swapped[[4, 2 * BLOCK + 4]] = vector[[2 * BLOCK + 4, 4]]
    assert checksum([swapped, other]) != known
    assert checksum([other, vector]) != known
    assert checksum([vector]) != known

"""A bit that flips in a checkpoint, a journal or a flight record is found, or means nothing."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from peer.state import PeerState, SavedState
from peer.state.checkpoint import load_state, save_state, saved_rounds
from peer.state.disk import make_folders
from peer.state.flight.frames import framed, sound_frames
from peer.state.journal.file import JournalFile, journal_path, read_records
from sim.environment.disk import SimulatedDisk
from tests.peer.state.test_checkpoint import trained
from tests.peer.state.test_power_cuts import same
from topology.errors import UserError

FOLDER = Path("run", "peer-0")
JOURNAL = journal_path(FOLDER, 0)
NEWEST = FOLDER / "checkpoint-00000020.safetensors"
FLIPS = 10_000
MOST = 64 * 2**20
"""Bytes of memory that reading them may take."""


@pytest.fixture(scope="module")
def state() -> PeerState:
    return trained(gan="tests.support.games:bilinear")[0]


def saved_twice(state: PeerState) -> tuple[SimulatedDisk, list[SavedState]]:
    """A disk with the checkpoints of rounds 10 and 20, and what is in them."""
    disk, dumps = SimulatedDisk(), []
    for state.round in (10, 20):
        save_state(state, FOLDER, {"batch": 8}, {"bytes_in": state.round}, disk=disk)
        dumps.append(state.dump())
    return disk, dumps


def flip_bits(state: PeerState, count: int) -> int:
    """Flip so many bits of a checkpoint, one at a time; returns how many meant nothing."""
    disk, (older, newest) = saved_twice(state)
    with disk.open(NEWEST) as file:
        bits = 8 * len(file.read())
    rng = np.random.default_rng(0)
    fresh = state.copy()
    harmless = 0
    for _ in range(count):
        bit = int(rng.integers(bits))
        disk.flip(NEWEST, bit)
        said: list[str] = []
        found = load_state(fresh, FOLDER, {"batch": 8}, tell=said.append, disk=disk)
        assert found is not None
        if said:
            assert said == [f"{NEWEST} is damaged; set aside as {NEWEST.name}.damaged"]
            assert saved_rounds(FOLDER, disk) == [10]
            disk.rename(FOLDER / f"{NEWEST.name}.damaged", NEWEST)
        else:
            harmless += 1
        assert found.totals == {"bytes_in": 10 if said else 20}
        assert same(fresh.dump(), older if said else newest), f"bit {bit} gives another state"
        disk.flip(NEWEST, bit)
    return harmless


@pytest.mark.parametrize("flips", [1000, pytest.param(FLIPS, marks=pytest.mark.slow)])
def test_flipped_bits_of_checkpoints_are_found_or_mean_nothing(
    state: PeerState, flips: int
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    harmless = flip_bits(state, flips)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST  # whatever a header says, there is no more than the file
    assert 0 < harmless < flips / 100  # hexadecimal digits in capital letters


@pytest.mark.parametrize("kind", ["journal", "flight"])
def test_10000_flipped_bits_of_records_are_found(kind: str) -> None:
    """Of a flipped record, and of all behind it, nothing is read; what is before stays."""
    rng = np.random.default_rng(1)
    whole = [bytes(rng.bytes(int(size))) for size in rng.integers(1, 300, 40)]
    if kind == "flight":
        content = b"".join(map(framed, whole))
        ends = np.cumsum([len(framed(record)) for record in whole])
    else:
        content, ends = journal_of(whole)
    for _ in range(FLIPS):
        bit = int(rng.integers(8 * len(content)))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        read = sound_frames(bytes(flipped))[0] if kind == "flight" else bodies(bytes(flipped))
        assert read == whole[: int(np.searchsorted(ends, bit // 8, side="right"))]


def journal_of(bodies: list[bytes]) -> tuple[bytes, np.ndarray]:
    """A journal's content with these values in it, and where each record ends."""
    disk = SimulatedDisk()
    journal, ends = JournalFile(JOURNAL, disk), []
    for i, body in enumerate(bodies):
        journal.append(["value", i], body)
        ends.append(journal.nbytes)
    journal.sync()
    with disk.open(JOURNAL) as file:
        return file.read(), np.array(ends)


def bodies(content: bytes) -> list[bytes]:
    """What is read of a journal's content."""
    disk = SimulatedDisk()
    make_folders(FOLDER, disk=disk)
    with disk.append(JOURNAL) as file:
        file.write(content)
    records = read_records(JOURNAL, disk)
    assert [header for header, _ in records] == [["value", i] for i in range(len(records))]
    return [bytes(body) for _, body in records]


def test_without_the_digest_they_would_not_be_found(
    state: PeerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.state.checkpoint._digest", lambda saved, metadata: "none")
    with pytest.raises((AssertionError, UserError)):
        flip_bits(state, 100)

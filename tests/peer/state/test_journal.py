"""The journal: what was synced is told again, in order, whatever the disk forgets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from peer.effects import BEFORE_ALL, Moment
from peer.machine.memory import ALIGNMENT
from peer.state.journal.file import journal_path, journal_rounds, read_records
from peer.state.journal.journal import (
    Decided,
    Exchanged,
    Journal,
    Number,
    Value,
    open_journal,
)
from sim.environment.disk import PowerCut, SimulatedDisk
from topology.errors import UserError

T, LATER = Moment(4, 0), Moment(4, 1)


def value(number: int, is_letter: bool = False) -> Value:
    floats = np.full(50, number, dtype="<f4")
    return Value("@model" if is_letter else "generator", 7, floats.data.cast("B"), is_letter)


def begun(folder: Path, round: int = 4) -> Journal:
    journal = Journal(folder, round)
    journal.begin(31)
    return journal


def test_what_was_told_is_told_again_in_order(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.add_value(1, T, value(1))
    journal.add_value(2, T, value(2))
    journal.add(Exchanged({1: T}, frozenset({5}), {2: T}))
    journal.add(Number("time", 12.5))
    journal.add(Decided(2, T, True))
    journal.sync()
    journal.close()
    again = Journal(tmp_path, 4)
    assert again.sessions == {31}
    assert again.doubts({}) == {}
    told = again.tell_again(Exchanged)
    assert told == Exchanged({1: T}, frozenset({5}), {2: T})
    found = again.values_of({**told.used, **told.in_doubt})
    assert [bytes(found[k].content) == bytes(value(k).content) for k in (1, 2)] == [True, True]
    assert again.doubts({2: T}) == {}
    assert again.tell_again(Number) == Number("time", 12.5)
    assert again.tell_again(Decided) == Decided(2, T, True)
    assert not again.events


def test_values_lie_as_they_did_when_they_came(tmp_path: Path) -> None:
    """Where a matrix begins may decide how it is rounded."""
    journal = begun(tmp_path)
    journal.add_value(1, T, value(1))
    journal.close()
    held = Journal(tmp_path, 4).held(1, T)
    assert held is not None
    floats = np.frombuffer(held.content, dtype=np.uint8)
    assert floats.__array_interface__["data"][0] % ALIGNMENT == 0
    assert floats.flags.writeable


def test_what_no_exchange_has_used_is_held_and_follows_into_the_next_file(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.add_value(1, T, value(1))
    journal.add_value(3, Moment(5, 0), value(3, is_letter=True))
    journal.add(Exchanged({1: T}, frozenset(), {}))
    journal.go_on_in(5)
    journal.close()
    again = Journal(tmp_path, 5)
    assert again.sessions == {31}
    assert not again.events
    assert again.held(1, T) is None
    held = again.held(3, Moment(5, 0))
    assert held is not None
    assert held.is_letter
    assert again.last(3, is_letter=True) == Moment(5, 0)
    assert again.last(1, is_letter=False) == BEFORE_ALL


def test_a_file_whose_beginning_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.add_value(3, Moment(5, 0), value(3, is_letter=True))
    journal.sync()
    journal.close()
    journal_path(tmp_path, 5).write_bytes(b"\0\0\0")
    again = Journal(tmp_path, 4)
    again.begin(32)
    again.go_on_in(5)
    again.close()
    last = Journal(tmp_path, 5)
    assert last.held(3, Moment(5, 0)) is not None
    assert last.sessions == {31, 32}


def test_an_older_checkpoint_is_followed_by_all_files_since(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.add(Number("time", 1.0))
    journal.go_on_in(6)
    journal.add(Number("time", 2.0))
    journal.close()
    again = Journal(tmp_path, 4)
    assert [again.tell_again(Number).value for _ in range(2)] == [1.0, 2.0]
    assert len(Journal(tmp_path, 6).events) == 1
    again.begin(32)
    again.add(Number("time", 3.0))
    again.close()
    assert [event.value for event in Journal(tmp_path, 6).events] == [2.0, 3.0]


def test_files_older_than_every_checkpoint_are_taken_away(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    for round in (6, 8):
        journal.go_on_in(round)
    journal.tidy(6)
    assert journal_rounds(tmp_path) == [6, 8]
    journal.close()


def test_a_half_written_record_is_cut_off_before_more_is_written(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.add(Number("time", 1.0))
    whole = journal.nbytes
    journal.add_value(1, T, value(1))
    journal.close()
    path = journal_path(tmp_path, 4)
    content = path.read_bytes()
    for cut in (whole + 1, whole + 15, len(content) - 1):
        path.write_bytes(content[:cut])
        again = Journal(tmp_path, 4)
        assert again.held(1, T) is None
        again.begin(32)
        again.add(Number("time", 2.0))
        again.close()
        assert [event.value for event in Journal(tmp_path, 4).events] == [1.0, 2.0]
    flipped = bytearray(content)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    assert Journal(tmp_path, 4).held(1, T) is None


@pytest.mark.parametrize("is_exact", [True, False])
def test_what_came_after_a_checkpoint_that_is_asked_for_is_given_up(
    is_exact: bool, tmp_path: Path
) -> None:
    journal = begun(tmp_path)
    journal.add(Number("time", 1.0))
    journal.go_on_in(6)
    journal.close()
    found = open_journal(tmp_path, 4, is_exact, is_anew=is_exact)
    assert (found is None) != is_exact
    assert journal_rounds(tmp_path) == []


def test_a_program_that_asks_for_something_else_is_told_so(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.add(Number("time", 1.0))
    journal.close()
    with pytest.raises(UserError, match="does not fit this run"):
        Journal(tmp_path, 4).tell_again(Exchanged)


def test_whatever_was_synced_survives_a_power_cut() -> None:
    folder, draw = Path("/run/peer"), np.random.default_rng(3)
    for cut in range(4, 60):
        disk = SimulatedDisk(short=draw)
        disk.make_folder(folder.parent)
        disk.sync_folder(folder.parent.parent)
        disk.cut_at = cut
        synced = 0.0
        try:
            journal = Journal(folder, 0, disk)
            journal.begin(31)
            for round in (0, 1):
                for step in range(4):
                    journal.add_value(1, Moment(round, step), value(step))
                    journal.add(Number("time", 4.0 * round + step + 1))
                    journal.sync()
                    synced += 1
                journal.go_on_in(round + 1)
        except PowerCut:
            pass
        disk.crash(draw)
        told = [event.value for event in Journal(folder, 0, disk).events]
        assert told == list(range(1, len(told) + 1))
        assert len(told) >= synced, f"cut at {cut}"


def test_a_full_disk_stops_the_peer_with_a_line(tmp_path: Path) -> None:
    disk = SimulatedDisk(room=400)
    disk.make_folder(Path("/run"))
    journal = Journal(Path("/run/peer"), 0, disk)
    journal.begin(31)
    journal.add_value(1, T, value(1))
    with pytest.raises(UserError, match="with durability: exact nothing is used"):
        journal.add_value(2, T, value(2))
    records = read_records(journal_path(Path("/run/peer"), 0), disk)
    assert [header[0] for header, _ in records] == ["session", "value"]

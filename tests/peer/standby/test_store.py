"""What of an election is on the disk: found again, replaced whole, and damage told."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.standby.election.messages import BEGINNING, Ballot, Position
from peer.standby.store import Store
from topology.errors import UserError


def test_a_new_process_finds_what_the_last_one_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "election", print)
    assert (store.ballot, store.held, store.content) == (Ballot(), BEGINNING, b"")
    store.save_ballot(Ballot(3, 7, Position(2, 9)))
    store.save_state(Position(2, 9), b"nine")
    again = Store(tmp_path / "election", print)
    assert again.ballot == Ballot(3, 7, Position(2, 9))
    assert (again.held, again.content) == (Position(2, 9), b"nine")


def test_a_later_term_replaces_a_later_round_and_never_the_other_way(tmp_path: Path) -> None:
    store = Store(tmp_path, print)
    store.save_state(Position(1, 10), b"old")
    store.save_state(Position(2, 9), b"new")
    store.save_state(Position(1, 11), b"of a server that is one no more")
    assert (store.held, store.content) == (Position(2, 9), b"new")


@pytest.mark.parametrize("at", [0, 10, 20, 47, 48, 51])
def test_a_damaged_state_is_left_out_and_said(tmp_path: Path, at: int) -> None:
    Store(tmp_path, print).save_state(Position(1, 4), b"four")
    content = bytearray((tmp_path / "state").read_bytes())
    assert len(content) == 52
    content[at] ^= 4
    (tmp_path / "state").write_bytes(content)
    said: list[str] = []
    store = Store(tmp_path, said.append)
    assert (store.held, store.content) == (BEGINNING, b"")
    assert "is damaged" in said[0]


def test_a_damaged_ballot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ballot.json").write_text('{"term": 3, "vo')
    with pytest.raises(UserError, match=r"ballot\.json: it cannot be read .* remove it"):
        Store(tmp_path, print)

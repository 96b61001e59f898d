"""Whom a peer lets in on a neighbour's word: bounded, never in another's place, not for ever."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peer.experiment import Experiment, from_mapping
from peer.invite.admitting import MOST, Admitting
from peer.net.keys import pair_of
from peer.net.members.newcomers import Contact, read_admitted
from topology.errors import UserError
from topology.membership import Change, Membership


def key(number: int) -> str:
    return pair_of(number.to_bytes(16, "big"))[0].decode()


PUBLIC = {k: key(k) for k in range(4)}


def experiment(**keys: Any) -> Experiment:
    common = {
        "peers": 4, "graph": "ring", "algorithm": {"name": "diffusion", "rounds": 3},
        "optimizer": "adam", "gan": "mlp-digits", "keys": PUBLIC,
    }  # fmt: skip
    return from_mapping(common | keys)


class Peer:
    """What letting in asks of a peer's process; :attr:`met` are those that it has links to."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.folder = folder / "peer-0"
        self.folder.mkdir()
        self.experiment = experiment(**keys)
        self.state = SimpleNamespace(peer=0, round=10)
        self.admitted: dict[int, Contact] = {}
        self.met: list[tuple[int, str, bytes]] = []
        self.turned_away: list[int] = []
        self.lines: list[str] = []
        self.io = SimpleNamespace(
            members=Membership(),
            admit=lambda link, address, key: self.met.append((link, address, key)),
            turn_away=self.turned_away.append,
        )

    def link_to(self, peer: int) -> int:
        return peer

    def log(self, line: str) -> None:
        self.lines.append(line)

    def knows(self, *changes: Change) -> None:
        self.io.members = Membership.of([*self.io.members.changes, *changes])


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    return Peer(tmp_path)


AT = "tcp://10.0.0.5:1"


def test_whom_a_neighbour_has_invited_is_let_in_and_kept(peer: Peer) -> None:
    admitting = Admitting(peer)  # type: ignore[arg-type]
    admitting.introduced(1, 4, key(4), AT)
    assert peer.met == [(4, AT, key(4).encode())]
    assert read_admitted(peer.folder) == {4: Contact(AT, key(4), invited=True)}
    assert peer.lines == ["peer 4, at tcp://10.0.0.5:1, is let in: peer 1 has invited it"]
    admitting.introduced(1, 4, key(4), AT)  # said again: an answer was lost
    assert len(peer.met) == len(peer.lines) == 1
    admitting.introduced(1, 4, key(4), "tcp://10.0.0.6:1")  # the same, elsewhere
    assert peer.met[-1] == (4, "tcp://10.0.0.6:1", key(4).encode())


@pytest.mark.parametrize(
    ("who", "words"),
    [(0, "peer 0 is one that the file lists"), (3, "comes by: peer --id 3"),
     (4 + 1024, "ids of newcomers are 4 to 1027"), (5, "peer 5 is taken; choose another --id, or")],
)  # fmt: skip
def test_nobody_takes_anothers_place(peer: Peer, who: int, words: str) -> None:
    admitting = Admitting(peer)  # type: ignore[arg-type]
    admitting.admit(5, AT, key(5))
    with pytest.raises(UserError) as told:
        admitting.introduced(1, who, key(99), AT)
    assert words in str(told.value)
    assert peer.met == [(5, AT, key(5).encode())]


@pytest.mark.parametrize("wrong", ["#" * 40, "short", "0" * 39 + "é"])
def test_a_key_that_is_none_is_refused(peer: Peer, wrong: str) -> None:
    """ZeroMQ would end the I/O thread by it."""
    with pytest.raises(UserError, match="its key: a public key has 40 characters"):
        Admitting(peer).introduced(1, 4, wrong, AT)  # type: ignore[arg-type]
    assert peer.met == []


def test_who_was_invited_lets_nobody_in_at_others(peer: Peer) -> None:
    """Whoever has stolen a code is one peer by it, and no more."""
    admitting = Admitting(peer)  # type: ignore[arg-type]
    admitting.introduced(1, 4, key(4), AT)
    with pytest.raises(UserError, match="peer 4 was invited itself, and lets nobody in at peer 0"):
        admitting.introduced(4, 5, key(5), AT)


def test_a_neighbour_that_lies_brings_so_many_and_no_more(peer: Peer) -> None:
    admitting = Admitting(peer)  # type: ignore[arg-type]
    for number in range(MOST):
        admitting.introduced(1, 4 + number, key(4 + number), AT)
    with pytest.raises(UserError, match="peer 0 has let in 16 by codes, and no more"):
        admitting.introduced(1, 100, key(100), AT)
    admitting.admit(101, AT, key(101))  # an operator's word counts all the same


def test_no_neighbours_word_counts_where_the_file_says_so(tmp_path: Path) -> None:
    peer = Peer(tmp_path, invitations=False)
    with pytest.raises(UserError, match="lets nobody in on a neighbour's word"):
        Admitting(peer).introduced(1, 4, key(4), AT)  # type: ignore[arg-type]


def test_who_is_forgotten_is_turned_away_once_it_counts(peer: Peer) -> None:
    admitting = Admitting(peer)  # type: ignore[arg-type]
    admitting.introduced(1, 4, key(4), AT)
    peer.knows(Change(3, 4, "join", 1, (0, 1)), Change(12, 4, "forget", 1))
    assert not admitting.turn_away()  # it still trains, in round 10
    assert peer.turned_away == []
    peer.state.round = 12
    assert admitting.turn_away()
    assert peer.turned_away == [4]
    assert read_admitted(peer.folder) == {}

    admitting.introduced(1, 4, key(44), AT)  # another, in its place
    assert admitting.turn_away()
    again = Admitting(peer)  # type: ignore[arg-type]
    peer.admitted = read_admitted(peer.folder)  # and after a start
    assert again.turn_away()
    assert peer.turned_away == [4]
    assert set(peer.admitted) == {4}


def test_who_leaves_keeps_its_key(peer: Peer) -> None:
    admitting = Admitting(peer)  # type: ignore[arg-type]
    admitting.introduced(1, 4, key(4), AT)
    peer.knows(Change(3, 4, "join", 1, (0, 1)), Change(5, 4, "leave", 4))
    assert admitting.turn_away()
    assert peer.turned_away == []

"""Peers that the file does not list, and keys that are to follow others."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import algorithms
from peer.experiment import Experiment, from_mapping
from peer.net.keys import (
    KeyRing,
    curve_secret,
    make_keys,
    public_key,
    read_secret,
    rotate_keys,
    secret_of,
    take_next,
)
from peer.net.members.newcomers import (
    FILE,
    Contact,
    address_of,
    as_listed,
    check_newcomer,
    contacts_of,
    read_admitted,
    write_admitted,
)
from topology.errors import UserError


def experiment(**keys: Any) -> Experiment:
    common = {
        "peers": 4, "graph": "ring", "algorithm": {"name": "diffusion", "rounds": 3},
        "optimizer": "adam", "gan": "mlp-digits",
    }  # fmt: skip
    return from_mapping(common | keys)


@pytest.mark.parametrize(
    ("keys", "peer", "joins", "links", "words"),
    [
        ({}, 4, False, (), "--id 4: the experiment has peers 0 to 3; choose one, or join them"),
        ({}, -1, False, (), "--id -1: the experiment has peers 0 to 3"),
        ({}, 4, True, (), "say --links 0,1"),
        ({}, 2, False, (0,), "--links: are those of a peer that joins"),
        ({}, 4, True, (4,), "--links: 4 is no neighbour of peer 4"),
        ({"algorithm": {"name": "gossip", "rounds": 3}}, 4, True, (0,), "gossip gives each a part"),
        ({"compression": "choco"}, 1, True, (), "--join: compression: choco keeps copies"),
    ],
)
def test_who_cannot_join_is_told_why(
    keys: dict[str, Any], peer: int, joins: bool, links: tuple[int, ...], words: str
) -> None:
    of = experiment(**keys)
    with pytest.raises(UserError) as told:
        check_newcomer(of, algorithms.find(of), peer, joins, links)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_a_newcomer_has_the_same_nets_and_data_of_its_own() -> None:
    of = experiment()
    own = as_listed(of, 6)
    assert own.peers == 7
    assert own.fingerprint()["gan"] == of.fingerprint()["gan"]
    assert own.fingerprint()["data"] == of.fingerprint()["data"]
    assert as_listed(of, 3) is of


def test_where_a_newcomer_is_and_whom_it_meets() -> None:
    of = experiment()
    assert address_of(of, 6) == f"tcp://127.0.0.1:{of.port + 6}"
    found = contacts_of(of, 6, links=(0, 3), address="tcp://127.0.0.1:9")
    assert {k: each.address for k, each in found.items()} == {
        0: of.address(0), 3: of.address(3), 6: "tcp://127.0.0.1:9"
    }  # fmt: skip
    there = contacts_of(of, 0, admitted={6: Contact("tcp://127.0.0.1:9")})
    assert sorted(there) == [0, 1, 3, 6]
    with pytest.raises(UserError, match=r"127\.0\.0\.1:x"):
        address_of(of, 6, "tcp://127.0.0.1:x")


def test_whom_a_peer_lets_in_it_lets_in_again(tmp_path: Path) -> None:
    assert read_admitted(tmp_path) == {}
    admitted = {6: Contact("tcp://10.0.0.6:4000", "k" * 40), 9: Contact("tcp://10.0.0.9:4000")}
    write_admitted(tmp_path, admitted)
    assert read_admitted(tmp_path) == admitted
    for damage in ("{", "[]", '{"6": 1}', '{"x": {"address": "a"}}', '{"6": {"bogus": 1}}'):
        (tmp_path / FILE).write_text(damage)
        with pytest.raises(UserError, match=r"cannot be read .*'peer admit' again"):
            read_admitted(tmp_path)


# --- keys -----------------------------------------------------------------------------------------


def test_the_pair_that_is_to_follow_lies_beside_the_one_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    with pytest.raises(UserError, match="has no secret key"):
        rotate_keys(1, folder)
    used = make_keys(1, folder)
    following = rotate_keys(1, folder)
    assert following != used
    assert rotate_keys(1, folder) == following  # until it is in use
    path = folder / "peer-1.secret.next"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret_of(1, folder, used) == (read_secret(1, folder), False)
    assert secret_of(1, folder, following) == (path.read_bytes().strip(), True)
    assert secret_of(1, folder, "x" * 40) is None
    take_next(1, folder)
    assert public_key(read_secret(1, folder)) == following
    assert not path.exists()


def test_a_peer_that_was_stopped_meanwhile_starts_with_the_key_that_the_file_names(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "keys"
    keys = {k: make_keys(k, folder) for k in range(4)}
    keys[1] = rotate_keys(1, folder)
    secret = curve_secret(experiment(keys=keys), 1, folder)
    assert secret is not None
    assert public_key(secret) == keys[1]
    assert read_secret(1, folder) == secret


def test_a_newcomers_own_key_is_in_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys = {k: make_keys(k, folder) for k in range(4)}
    of = experiment(keys=keys)
    with pytest.raises(UserError, match="peer 6 has no secret key"):
        curve_secret(of, 6, folder, contacts_of(of, 6, (0,)))
    make_keys(6, folder)
    assert curve_secret(of, 6, folder, contacts_of(of, 6, (0,))) == read_secret(6, folder)
    with pytest.raises(UserError, match=r"^keys: peer 9 has none"):
        curve_secret(of, 0, folder, contacts_of(of, 0, (9,)))


def test_two_keys_open_until_the_new_one_was_used() -> None:
    ring = KeyRing({1: b"old", 2: b"other"})
    assert ring.who(b"old") == 1
    assert not ring.came(1, b"old")
    ring.expect(1, b"new")
    assert [ring.who(key) for key in (b"old", b"new", b"none")] == [1, 1, -1]
    assert ring.used(1) == b"old"
    assert not ring.came(1, b"old")
    assert ring.callback("", b"new")
    assert ring.came(1, b"new")
    assert not ring.callback("", b"old")
    assert [ring.used(1), ring.used(2)] == [b"new", b"other"]
    ring.expect(1, b"newer")
    ring.expect(1, b"newest")  # the one between was never used
    assert not ring.callback("", b"newer")
    ring.expect(7, b"first")
    assert ring.used(7) == b"first"

"""Peers that leave for good, are forgotten, join, and change their keys, while all others train."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

from peer.net.keys import is_let_in, make_keys, public_key, read_secret
from sim.replay.run import replay_run
from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import ForkedPeer, Processes, until

LONG = SMALL | {"batch": 8, "deadline": 10.0, "algorithm": {"name": "diffusion", "rounds": 1000}}


def records(run: Path, peer: int) -> list[dict[str, Any]]:
    path = run / f"peer-{peer}" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def wait_for_round(run: Path, peer: int, round: int, process: ForkedPeer) -> None:
    while not (found := records(run, peer)) or found[-1]["round"] < round:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def told(processes: Processes, *words: str) -> str:
    """What a command says that must succeed."""
    command = processes.command(*words)
    assert command.wait(timeout=60) == 0, command.communicate()[0]
    return command.communicate()[0]


def refused(processes: Processes, *words: str) -> str:
    """The one line of a command that must be refused."""
    command = processes.command(*words)
    assert command.wait(timeout=60) == 2
    said = command.communicate()[0]
    assert len(said.splitlines()) == 1, said
    return said.rstrip("\n")


def test_one_leaves_others_are_forgotten_and_nobody_waits(processes: Processes) -> None:
    """Peer 3 leaves; 1 is killed, and forgotten; 4 is forgotten though it is alive."""
    run = processes.folder / "run"
    edges = [[0, 1], [1, 2], [2, 3], [3, 4], [0, 4], [0, 2]]
    file = processes.write(LONG | {"graph": {"edges": edges}, "addresses": free_addresses(5)})
    peers = {k: processes.peer(file, k) for k in range(5)}
    wait_for_round(run, 3, 20, peers[3])

    folder = ("--run-dir", str(run))
    assert "5 peers run in" in refused(processes, "leave", *folder)
    said = told(processes, "leave", "--id", "3", *folder)
    last = int(said.split("up to round ")[1].split()[0])
    assert peers[3].wait(timeout=60) == 0
    end = peers[3].communicate()[0]
    assert f"left after round {last}; its generator is in" in end
    assert records(run, 3)[-1]["round"] == last
    line = refused(processes, "leave", "--id", "3", *folder)
    assert "error: --run-dir: no peer is running in" in line

    wait_for_round(run, 0, last + 20, peers[0])
    peers[1].kill()
    peers[1].wait(timeout=10)
    said = told(processes, "forget", "1", "--id", "4", *folder)
    first = int(said.split("from round ")[1].split()[0])
    wait_for_round(run, 2, first, peers[2])
    line = refused(processes, "forget", "1", "--id", "2", *folder)
    assert line == f"error: peer 1 is forgotten from round {first} on already"
    assert "there is no peer 9" in refused(processes, "forget", "9", "--id", "2", *folder)
    assert "cannot forget itself" in refused(processes, "forget", "2", "--id", "2", *folder)

    said = told(processes, "forget", "4", "--id", "0", *folder)
    assert "it is up, and ends when it hears of it" in said
    assert peers[4].wait(timeout=60) == 3
    assert "peer 4 was forgotten from round" in peers[4].communicate()[0]

    for k in (0, 2):
        assert peers[k].wait(timeout=200) == 0, peers[k].communicate()[0]
        missing = {each["round"]: each["missing"] for each in records(run, k)}
        assert max(missing) == 1000
        gone = [(round, away) for round, away in missing.items() if away]
        assert all(away == [1] and round < first for round, away in gone)
    assert "is forgotten from round" in peers[2].communicate()[0]


def test_keys_change_while_all_train_and_one_joins_by_its_key(processes: Processes) -> None:
    """Peer 1 is told first, and uses its old key until both neighbours let the new one in.

    Then peer 3 comes, let in by 0 and 1; it would have a link to 2 as well, which was not told.
    """
    run, secrets = processes.folder / "run", processes.folder / "keys"
    folder = ("--keys", str(secrets))
    keys = {k: make_keys(k, secrets) for k in range(3)}
    addresses = free_addresses(3)
    what = LONG | {"peers": 3, "addresses": addresses}
    what |= {"algorithm": {"name": "diffusion", "rounds": 10**6}, "metrics": {"sketch": False}}
    file = processes.write(what | {"keys": keys})
    peers = {k: processes.peer(file, k, *folder) for k in range(3)}
    wait_for_round(run, 1, 10, peers[1])
    old = read_secret(1, secrets)
    assert "no key is another one" in told(processes, "reload", "--id", "1", "--run-dir", str(run))

    said = told(processes, "keys", "--id", "1", "--rotate", *folder)
    new = said.splitlines()[-1].split('"')[1]
    assert new != keys[1]
    processes.write(what | {"keys": keys | {1: new}})
    peers[1].send_signal(signal.SIGHUP)
    until(peers[1], "new key: not let in yet by peers 0, 2; using the old one")
    for k in (0, 2):
        peers[k].send_signal(signal.SIGHUP)
        until(peers[k], "SIGHUP: peer 1 may come by a new key")
    until(peers[1], "new key: all neighbours let it in; it is used from now on")
    for k in (0, 2):
        until(peers[k], "peer 1 has a new key; its old one opens nothing here any more")
    server = keys[0].encode()
    assert is_let_in(addresses[0], server, keys[1].encode(), old) is False
    assert is_let_in(addresses[1], new.encode(), keys[0].encode(), read_secret(0, secrets))
    assert public_key(read_secret(1, secrets)) == new
    assert not (secrets / "peer-1.secret.next").exists()

    more, at = make_keys(3, secrets), free_addresses(1)[0]
    admit = ("admit", "3", "--run-dir", str(run), "--address", at)
    assert "--key: links have keys here" in refused(processes, *admit, "--id", "0")
    assert "--key: a public key has 40" in refused(processes, *admit, "--id", "0", "--key", "k")
    for k in ("0", "1"):  # and not 2
        told(processes, *admit, "--id", k, "--key", more)
    joins = ("--join", "--links", "0,1,2", "--address", at)
    processes.write(what | {"keys": keys | {1: new}})
    peers[3] = processes.peer(file, 3, *joins, *folder)
    until(peers[3], "its links: 0, 1")

    wait_for_round(run, 3, 1, peers[3])
    now = records(run, 3)[-1]["round"]
    wait_for_round(run, 3, now + 20, peers[3])
    first = records(run, 3)[0]["round"]
    for k in (0, 1):
        missing = {each["round"]: each["missing"] for each in records(run, k)}
        assert {round for round, away in missing.items() if away} <= {first}
    assert all(each["missing"] == [] for each in records(run, 3))
    peers[3].send_signal(signal.SIGTERM)
    assert peers[3].wait(timeout=60) == 130
    assert "--join --links 0,1,2 --address" in peers[3].communicate()[0]
    assert all(each["missing"] == [] for each in records(run, 2))  # no exchange was lost
    for k in range(3):
        peers[k].send_signal(signal.SIGTERM)
    for k in range(3):
        assert peers[k].wait(timeout=60) == 130


def test_a_sixth_joins_trains_and_leaves(processes: Processes) -> None:
    """It has the same file, an id beyond, and the word of each of its two neighbours' operators."""
    run = processes.folder / "run"
    *listed, address = free_addresses(6)
    file = processes.write(LONG | {"addresses": listed})
    peers = {k: processes.peer(file, k) for k in range(5)}
    wait_for_round(run, 0, 20, peers[0])
    folder = ("--run-dir", str(run))
    assert "--address: the file lists an address for each" in refused(
        processes, "admit", "5", "--id", "0", *folder
    )
    for k in ("0", "3"):
        said = told(processes, "admit", "5", "--id", k, "--address", address, *folder)
        assert said == f"peer {k} lets peer 5 in, at {address}\n"
    peers[5] = processes.peer(file, 5, "--join", "--links", "0,3", "--address", address)
    until(peers[5], "peer 5 joins in round")
    wait_for_round(run, 5, 1, peers[5])
    joined = records(run, 5)[0]
    first = joined["round"] - 1  # from 0
    assert joined["rejoined"]["after"] == 0
    assert joined["rejoined"]["jump of generator"] > 0
    assert joined["missing"] == []  # it had the values of both
    wait_for_round(run, 5, first + 30, peers[5])

    told(processes, "leave", "--id", "5", *folder)
    for process in peers.values():
        assert process.wait(timeout=120) == 0, process.communicate()[0]
    last = records(run, 5)[-1]["round"]
    assert first + 30 <= last < 1000
    assert all(each["missing"] == [] for each in records(run, 5)[1:])
    for k in range(5):
        missing = {each["round"] - 1: each["missing"] for each in records(run, k)}
        assert {round for round, away in missing.items() if away} <= {first}  # then it only listens
        assert all(away in ([], [5]) for away in missing.values())

    replayed = replay_run(run)
    assert not replayed.differences
    assert replayed.ends_compared == 5
    assert replayed.compared == 5 * 1000 + last - first

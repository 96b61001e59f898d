"""A newcomer joins by one code; one that was used, taken back, mangled or is over opens nothing."""

from __future__ import annotations

import signal
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peer.invite.code import read_code
from peer.net.keys import is_let_in, key_of, make_keys, pair_of, public_key, read_secret
from peer.net.reach.asking import Asking
from peer.net.sockets import Security, Sockets
from tests.real.conftest import free_addresses
from tests.real.test_membership import LONG, records, refused, told, wait_for_round
from tests.support.processes import ForkedPeer, Processes, until

FOREVER = LONG | {
    "peers": 3,
    "algorithm": {"name": "diffusion", "rounds": 10**6},
    "metrics": {"sketch": False},
    "checkpoint": 50,
}


class House:
    """Three peers with keys, on one machine; newcomers have folders of their own."""

    def __init__(self, processes: Processes, **keys: Any) -> None:
        self.processes = processes
        self.run = processes.folder / "run"
        self.secrets = processes.folder / "keys"
        self.public = {k: make_keys(k, self.secrets) for k in range(3)}
        self.addresses = free_addresses(3)
        port = int(free_addresses(1)[0].rpartition(":")[2]) - 3  # where peer 3 will be
        file = processes.write(
            FOREVER | {"addresses": self.addresses, "keys": self.public, "port": port} | keys
        )
        self.peers = {k: processes.peer(file, k, "--keys", str(self.secrets)) for k in range(3)}
        wait_for_round(self.run, 0, 5, self.peers[0])

    def invite(self, *words: str) -> str:
        """A code, of peer 0."""
        said = told(self.processes, "invite", "--at", "0", "--run-dir", str(self.run), *words)
        code, line, leads = said.splitlines()
        assert "may come once by this code, within" in line
        assert "which this machine alone reaches" in leads
        return code

    def join(self, code: str, name: str, *words: str) -> ForkedPeer:
        """``peer join``, in a folder and with a key of its own."""
        return self.processes.command("join", code, *self._own(name), *words)

    def refused(self, code: str, name: str, *words: str) -> str:
        """The one line by which ``peer join`` is refused."""
        return refused(self.processes, "join", code, *self._own(name), *words)

    def _own(self, name: str) -> list[str]:
        folder = self.processes.folder / name
        return ["--run-dir", str(folder), "--keys", str(folder / "keys")]

    def round(self, peer: int) -> int:
        return int(records(self.run, peer)[-1]["round"])

    def goes_on(self) -> None:
        """All three train."""
        for k, process in self.peers.items():
            wait_for_round(self.run, k, self.round(k) + 3, process)


def test_one_code_one_newcomer(processes: Processes) -> None:
    house = House(processes)
    folder = ("--run-dir", str(house.run))
    code = house.invite("--id", "3")
    assert read_code(code).address == house.addresses[0]
    listed = told(processes, "invite", "--list", "--at", "0", *folder)
    assert listed.startswith("peer 3: open, 14.9 minutes left, links to 0, 1") or "15.0" in listed
    again = refused(processes, "invite", "--id", "3", "--at", "0", *folder)
    assert "peer 3 is invited already; take that code back with --revoke 3" in again
    assert "comes by: peer --id 2" in refused(processes, "invite", "--id", "2", *folder)

    comes = house.join(code, "new")
    until(comes, "let in as peer 3, by 0, 1; the experiment is in")
    until(comes, "peer 3 joins in round")
    new = processes.folder / "new"
    wait_for_round(new, 3, 1, comes)
    wait_for_round(new, 3, records(new, 3)[-1]["round"] + 10, comes)
    until(house.peers[1], "peer 0 has invited it")

    line = house.refused(code, "another")
    assert "the code was used already, by a machine with another key; ask for a new one" in line
    assert "somebody has joined there already" in house.refused(code, "new")
    assert "peer 3: used" in told(processes, "invite", "--list", *folder)

    comes.send_signal(signal.SIGTERM)  # it goes on from its folder, as the last line says
    assert comes.wait(timeout=60) == 130
    last = comes.communicate()[0].strip().splitlines()[-1]
    words = last.partition("go on with: peer ")[2].split()
    assert "--join" in words
    back = processes.command(*words)
    until(back, "resumed after round")
    at = records(new, 3)[-1]["round"]
    wait_for_round(new, 3, at + 10, back)
    house.goes_on()
    back.send_signal(signal.SIGTERM)
    assert back.wait(timeout=60) == 130


def test_a_stolen_code_is_taken_back(processes: Processes) -> None:
    """Before it is used: --revoke. After that: forget, by which its key opens nothing any more."""
    house = House(processes)
    folder = ("--run-dir", str(house.run))
    code = house.invite("--id", "3")
    said = told(processes, "invite", "--revoke", "3", *folder)
    assert said == "the code of peer 3 opens nothing any more, and nobody has come by it\n"
    assert "lets nobody in by this code any more: it was taken back" in house.refused(code, "thief")
    public, secret = pair_of(read_code(code).secret)
    assert is_let_in(house.addresses[0], house.public[0].encode(), public, secret) is False

    code = house.invite("--id", "3")
    thief = house.join(code, "thief")
    until(thief, "peer 3 joins in round")
    said = told(processes, "invite", "--revoke", "3", *folder)
    assert "somebody has come by it; to be rid of that peer: peer forget 3" in said
    own = read_secret(3, processes.folder / "thief" / "keys")
    for k in (0, 1):
        door = house.addresses[k], house.public[k].encode()
        assert is_let_in(*door, public_key(own).encode(), own)
    told(processes, "forget", "3", "--id", "0", *folder)
    assert thief.wait(timeout=60) == 3
    for k in (0, 1):
        until(house.peers[k], "peer 3 is forgotten: its key opens nothing here any more")
        door = house.addresses[k], house.public[k].encode()
        assert is_let_in(*door, public_key(own).encode(), own) is False
    assert "3" not in (house.run / "peer-1" / "admitted.json").read_text()
    house.goes_on()

    comes = house.join(house.invite("--id", "3"), "owner")  # the place is free again
    until(comes, "peer 3 joins in round")
    door = house.addresses[0], house.public[0].encode()
    assert is_let_in(*door, public_key(own).encode(), own) is False


def test_what_opens_nothing_is_refused_in_one_true_line(processes: Processes) -> None:
    house = House(processes)
    short = house.invite("--minutes", "0.1")
    code = house.invite()
    assert read_code(short).peer == 3
    assert read_code(code).peer == 4  # the next that is free
    assert "this is no code of 'peer invite'" in house.refused(code[:-1], "a")
    assert "this is no code of 'peer invite'" in house.refused("HEARSAY", "a")
    swapped = code.replace(code[50], "A" if code[50] != "A" else "B", 1)
    assert "this is no code of 'peer invite'" in house.refused(swapped, "a")
    while "peer 3" in told(processes, "invite", "--list", "--run-dir", str(house.run)):
        time.sleep(0.2)
    while time.time() < read_code(short).until:
        time.sleep(0.2)
    assert "the code has ended, 0 minutes ago by this machine's clock" in house.refused(short, "a")
    busy = house.refused(code, "a", "--address", house.addresses[1])
    assert "is in use; stop the program" in busy
    assert "(the code is still good)" in busy
    assert not (processes.folder / "a" / "joined.yaml").exists()

    for process in house.peers.values():
        process.send_signal(signal.SIGTERM)
    for process in house.peers.values():
        assert process.wait(timeout=60) == 130
    line = house.refused(code, "a")
    assert f"peer 0 at {house.addresses[0]}, which made the code, is not reached: " in line
    assert "connection refused: nothing listens at that port" in line


def guest(code: str) -> tuple[Security, int, str]:
    said = read_code(code)
    public, secret = pair_of(said.secret)
    security = Security(secret, public, {said.inviter: key_of(said.key)})
    return security, said.inviter, said.address


def test_who_has_a_code_can_do_no_harm_by_it(processes: Processes) -> None:
    """It says what is none, too much, and another's place; all train on, and the code is good."""
    house = House(processes)
    code = house.invite("--id", "3")
    security, inviter, address = guest(code)
    with Asking(inviter, address, security) as asking:
        good = house.public[2]
        for key, at in (("#" * 40, "tcp://10.0.0.1:1"), ("short", "tcp://10.0.0.1:1")):
            assert "its key: a public key has 40" in asking.ask("claim", key, at)[1][0]
        for at in ("ipc:///etc/passwd", "tcp://10.0.0.1", "nonsense", "tcp://h:99999", "tcp://*"):
            assert asking.ask("claim", good, at)[0] == "no"
        assert asking.ask("introduce", 7, good, "tcp://10.0.0.1:1")[0] == "no"
        assert asking.ask("contact", 2)[0] == "no"  # it was not invited to that one
        assert asking.ask("file", 10**9, good)[1][1] == b""
    noisy = Sockets("tcp://127.0.0.1:0", {inviter: address}, security)
    try:
        for size in (1, 2000, 100_000):
            for _ in range(300):
                noisy.send(inviter, deque([(b"\x95" * size, memoryview(bytes(size)))]))
            time.sleep(0.1)
    finally:
        noisy.close(0)
    house.goes_on()
    until(house.join(code, "new"), "peer 3 joins in round")


def test_whose_images_are_its_own_says_where_they_are(processes: Processes) -> None:
    def write(path: Path, classes: list[int]) -> None:
        rng = np.random.default_rng(classes[0])
        labels = np.repeat(classes, 20)
        images = rng.integers(0, 255, (len(labels), 8, 8), dtype=np.uint8)
        np.savez(path, images=images, labels=labels)

    for k in range(3):
        write(processes.folder / f"own-{k}.npz", [0, 1, 2, 3])
    data = {"source": "npz", "path": "own-{id}.npz", "partition": "own"}
    house = House(processes, data=data)
    code = house.invite("--id", "3")
    line = house.refused(code, "new")
    assert f"{processes.folder}/own-3.npz" in line
    assert "peer 3 needs images of its own: put them there, or join with --set data.path=" in line
    elsewhere = processes.folder / "elsewhere.npz"
    write(elsewhere, [0, 1, 2, 3])
    comes = house.join(code, "new", "--set", f"data.path={elsewhere}")
    until(comes, "peer 3 joins in round")
    new = processes.folder / "new"
    wait_for_round(new, 3, 1, comes)


def test_links_without_keys_invite_nobody(processes: Processes) -> None:
    file = processes.write(FOREVER | {"peers": 2, "graph": "path", "addresses": free_addresses(2)})
    peers = {k: processes.peer(file, k) for k in range(2)}
    run = processes.folder / "run"
    wait_for_round(run, 0, 1, peers[0])
    line = refused(processes, "invite", "--run-dir", str(run))
    assert "peer invite: links have no keys here, so nobody could be told from anybody" in line


@pytest.mark.parametrize("allowed", [True, False])
def test_a_neighbours_word_may_be_worth_nothing(processes: Processes, allowed: bool) -> None:
    house = House(processes, invitations=allowed)
    comes = house.join(house.invite("--links", "0,1,2"), "new")
    until(comes, f"let in as peer 3, by {'0, 1, 2' if allowed else '0'};")
    if not allowed:
        until(house.peers[0], "peer 1 lets nobody in on a neighbour's word (invitations)")
    until(comes, "peer 3 joins in round")

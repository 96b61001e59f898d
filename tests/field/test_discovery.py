"""Peers that find each other by mDNS, beside machines that lie; and one that finds nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peer.discover.mdns import network_of
from peer.experiment import load
from peer.invite.code import read_code
from peer.net.keys import make_keys
from tests.field.test_networks import KEYS, ended, missed
from tests.real.test_membership import told
from tests.support.namespaces import Machine, Network
from tests.support.processes import ROOT, Processes, until

pytest.importorskip("zeroconf", reason="needs hearsay[discover]")
pytestmark = pytest.mark.timeout(240)

LIAR = """
import sys, time, zmq
from peer.discover.mdns import Discovery
network, peer = sys.argv[1], int(sys.argv[2])
router = zmq.Context().socket(zmq.ROUTER)
router.curve_server = True
_, router.curve_secretkey = zmq.curve_keypair()
router.bind("tcp://*:40000")
Discovery(network, print).announce(peer, 40000)
print("announced", flush=True)
while True:
    router.recv()
"""

DISCOVER: dict[str, Any] = KEYS | {"addresses": "discover", "listen": None, "insecure": False}


def start_liar(
    processes: Processes, machine: Machine, network: str, peer: int
) -> subprocess.Popen[str]:
    """A machine that says it is that peer, and has another key."""
    liar = subprocess.Popen(
        ["ip", "netns", "exec", machine.namespace, sys.executable, "-c", LIAR, network, str(peer)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    processes.started.append(liar)
    until(liar, "announced")
    return liar


def experiment(processes: Processes, peers: int, **keys: Any) -> tuple[Path, list[str]]:
    """The file, and where each peer's secret is."""
    folders = [processes.folder / f"keys-{k}" for k in range(peers)]
    public = {k: make_keys(k, folder) for k, folder in enumerate(folders)}
    what = DISCOVER | {"peers": peers, "keys": public} | keys
    return processes.write(what), [str(folder) for folder in folders]


def test_they_find_each_other_and_no_liar_is_believed(
    network: Callable[[int], Network], processes: Processes
) -> None:
    lab = network(4)
    file, secrets = experiment(processes, 2)
    for name in (network_of(load(file)), "f" * 16):  # as peer 1, and of another experiment
        start_liar(processes, lab.machines[2 if name != "f" * 16 else 3], name, 1)
    peers = [
        processes.peer(file, k, "--keys", secrets[k], machine=lab.machines[k]) for k in range(2)
    ]
    for k, process in enumerate(peers):
        code, said = ended(process)
        assert code == 0, said
        assert all(away == [] for away in missed(processes.folder, k)), said
        assert said.count("another experiment is announced here, and ignored") == 1


def test_who_finds_nobody_says_what_to_look_at_and_goes_on_looking(
    network: Callable[[int], Network], processes: Processes
) -> None:
    lab = network(2)
    file, secrets = experiment(processes, 2, start_timeout=25)
    alone = processes.peer(file, 0, "--keys", secrets[0], machine=lab.machines[0])
    said = until(alone, "no other peer of this experiment is heard of in 10 s; is one running?")
    assert "looking on, for 15 s (start_timeout), or list the addresses in the file" in said
    code, said = ended(alone)
    assert code == 3
    last = said.strip().splitlines()[-1]
    assert "peer 1 at mdns://peer-1: nobody announces peer 1 on this network (mDNS)" in last


def test_a_third_comes_by_a_code_and_the_doctor_finds_them(
    network: Callable[[int], Network], processes: Processes
) -> None:
    lab = network(3)
    file, secrets = experiment(processes, 2, algorithm={"name": "diffusion", "rounds": 10**6})
    peers = [
        processes.peer(file, k, "--keys", secrets[k], machine=lab.machines[k]) for k in range(2)
    ]
    until(peers[0], "peer 1: up")
    run = ("--run-dir", str(processes.folder / "run"))
    said = told(processes, "invite", "--at", "0", *run)
    assert read_code(said.splitlines()[0]).address == "tcp://10.77.0.1:47100"
    new = ("--run-dir", str(processes.folder / "new"), "--keys", "new-keys")
    comes = processes.command("join", said.splitlines()[0], *new, machine=lab.machines[2])
    until(comes, "let in as peer 2, by 0, 1;")
    until(comes, "its links: 0, 1")

    asked = ("doctor", "--id", "0", "--topology", str(file), "--keys", secrets[0])
    code, said = ended(processes.command(*asked, machine=lab.machines[0]))
    assert code == 0, said
    assert "neighbour 1 at mdns://peer-1: runs, and is at round" in said
    peers[1].send_signal(signal.SIGTERM)
    assert peers[1].wait(timeout=60) == 130
    code, said = ended(processes.command(*asked, machine=lab.machines[0]))
    assert code == 2
    assert "name: nobody announces peer 1 on this network (mDNS)" in said
    assert "the layer to mend is name: avahi-browse --resolve --terminate _hearsay._tcp" in said


def test_without_keys_it_is_refused(
    network: Callable[[int], Network], processes: Processes
) -> None:
    """A hint alone decides nothing: somebody must be told from everybody."""
    lab = network(1)
    file = processes.write(DISCOVER | {"peers": 2})
    code, said = ended(processes.peer(file, 0, machine=lab.machines[0]))
    assert code == 2
    assert "beyond loopback, where links are encrypted" in said

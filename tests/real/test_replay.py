"""A real network's run, faults and all, is computed again bit for bit."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

import sim.__main__
from peer.console import run_app
from peer.state.flight.frames import framed, read_frames
from sim.replay.run import ReplayedRun, replay_run
from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import ForkedPeer, Processes
from tests.support.relay import Relay

PEERS = 4
ROUNDS = 300
FEW = 120
"""Rounds of each of many runs: four faults come in the first two thirds."""
KEYS: dict[str, Any] = SMALL | {
    "peers": PEERS,
    "batch": 8,
    "deadline": 2.0,
    "checkpoint": 10,
    "start_timeout": 40.0,
    "alone": True,  # who comes back when all others have finished goes on by itself
    "algorithm": {"name": "diffusion", "rounds": ROUNDS},
}


class Network:
    """Real peers on a ring; the way to peer 1 can be cut."""

    def __init__(self, processes: Processes, **changes: Any) -> None:
        self.processes = processes
        self.run = processes.folder / "run"
        addresses = free_addresses(PEERS)
        own = addresses[1]
        self.relay = Relay(int(own.rpartition(":")[2]))
        keys = KEYS | changes | {"addresses": [*addresses[:1], self.relay.address, *addresses[2:]]}
        self.files = dict.fromkeys(range(PEERS), processes.write(keys))
        self.files[1] = processes.write(keys | {"listen": own}, "listening.yaml")
        self.peers: dict[int, ForkedPeer] = {}
        for k in range(PEERS):
            self.start(k)

    def start(self, peer: int) -> None:
        self.peers[peer] = self.processes.peer(self.files[peer], peer)

    def rounds(self, peer: int) -> int:
        path = self.run / f"peer-{peer}" / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_for(self, peer: int, rounds: int) -> None:
        """Until the peer has recorded so many rounds, or has ended."""
        limit = time.monotonic() + 100
        while self.rounds(peer) < rounds and self.peers[peer].poll() is None:
            assert time.monotonic() < limit, f"peer {peer} has {self.rounds(peer)} rounds"
            time.sleep(0.01)

    def signal(self, peer: int, number: int) -> None:
        """Send a signal to a peer, unless it has finished."""
        with contextlib.suppress(ProcessLookupError):
            self.peers[peer].send_signal(number)

    def kill(self, peer: int) -> None:
        self.signal(peer, signal.SIGKILL)
        self.peers[peer].wait(timeout=20)

    def finish(self) -> None:
        for process in self.peers.values():
            assert process.wait(timeout=200) == 0, process.communicate()[0]
        self.relay.close()


def records_of(path: Path) -> list[list[Any]]:
    return [msgpack.unpackb(each, strict_map_key=False) for each in read_frames(path)[0]]


def write_records(path: Path, records: list[list[Any]]) -> None:
    path.write_bytes(b"".join(framed(msgpack.packb(record)) for record in records))


def assert_equal_everywhere(found: ReplayedRun) -> None:
    assert found.difference is None
    assert found.damaged == {}
    assert found.without_flight == ()
    assert found.compared == sum(len(p.checksums) for of in found.flights.values() for p in of)


def test_a_run_with_a_kill_a_stop_and_a_cut_is_replayed_bit_for_bit(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network(processes)
    network.wait_for(3, 25)
    network.kill(3)
    network.start(3)
    network.wait_for(1, 60)
    network.signal(2, signal.SIGSTOP)
    network.wait_for(0, network.rounds(0) + 40)
    network.signal(2, signal.SIGCONT)
    network.relay.cut()
    network.wait_for(0, network.rounds(0) + 20)  # some of them without peer 1
    network.relay.mend()
    network.finish()

    found = replay_run(network.run)
    assert_equal_everywhere(found)
    assert found.ends_compared == PEERS
    killed, resumed = found.flights[3]
    assert killed.ending is None
    assert resumed.ending == (ROUNDS, "finished")
    assert (resumed.source, resumed.begins) == (killed.session, 20)
    assert killed.completed >= 25  # its rounds after the checkpoint are computed, and compared, too
    assert any(p.without for p in found.flights[1])

    _assert_that_what_is_tampered_with_is_named(network.run, capsys)


def _assert_that_what_is_tampered_with_is_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of these flights has the right checksums of its records, and tells what was not."""
    path = run / "peer-1" / "flight.msgpack"
    records = records_of(path)
    without = next(i for i, record in enumerate(records) if record[0] == "without")
    cases: dict[str, Callable[[list[list[Any]]], None]] = {
        "nobody was missing": lambda changed: changed.pop(without),
        "another checksum": lambda changed: _change_checksum(changed, 37),
        "somebody was missing": lambda changed: changed.insert(
            1 + next(i for i, r in enumerate(changed) if r[:2] == ["round", 37]),
            ["without", 37, 0, [0]],
        ),
    }
    rounds = {"nobody was missing": records[without][1] + 1, "another checksum": 37}
    rounds["somebody was missing"] = 38
    for name, change in cases.items():
        changed = [list(record) for record in records]
        change(changed)
        write_records(path, changed)
        differences = replay_run(run).differences
        assert {each.round for each in differences} == {rounds[name]}, name
        assert 1 in {each.peer for each in differences}, name
        if name == "another checksum":  # the nets themselves are right
            assert len(differences) == 1
    with pytest.raises(SystemExit) as ended:
        run_app(sim.__main__.app, ["replay", str(run)])
    assert ended.value.code == 1
    assert "the first difference: round 38, peer 1, its process 1" in capsys.readouterr().out
    write_records(path, records)


def _change_checksum(records: list[list[Any]], round: int) -> None:
    for record in records:
        if record[:2] == ["round", round]:
            record[2] ^= 1 << 40


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(20))
def test_any_run_is_replayed_bit_for_bit(processes: Processes, seed: int) -> None:
    """Twenty real runs with faults of every kind, at moments that nobody chose."""
    draws = random.Random(seed)
    diffusion = {"name": "diffusion", "rounds": FEW}
    variants: list[dict[str, Any]] = [
        {},
        {"compression": "choco"},
        {"compression": "int8"},
        {"algorithm": diffusion | {"overlap": True}},
        {"algorithm": {"name": "fedavg", "rounds": FEW}, "graph": "star"},
    ]
    keys = {"algorithm": diffusion, "seed": seed} | variants[seed % len(variants)]
    network = Network(processes, **keys)
    for _ in range(4):
        victim = draws.randrange(1, PEERS)
        network.wait_for(victim, network.rounds(victim) + draws.randrange(1, 20))
        if network.rounds(victim) >= FEW - 40:
            break
        match draws.choice(["kill", "kill", "stop", "cut"]):
            case "kill":
                network.kill(victim)
                time.sleep(draws.random())
                network.start(victim)
            case "stop":
                network.signal(victim, signal.SIGSTOP)
                time.sleep(4 * draws.random())
                network.signal(victim, signal.SIGCONT)
            case "cut":
                network.relay.cut()
                time.sleep(4 * draws.random())
                network.relay.mend()
    network.finish()
    assert_equal_everywhere(replay_run(network.run))

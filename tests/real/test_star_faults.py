"""A server and its workers over ZeroMQ where one of them never comes, or dies."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import algorithms
from peer.experiment import from_mapping
from peer.runtime.options import Options
from peer.runtime.process import PeerProcess
from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import ForkedPeer, Processes

STAR: dict[str, Any] = SMALL | {
    "peers": 4,
    "graph": "star",
    "algorithm": {"name": "fedavg", "rounds": 4, "local_steps": 1},
    "deadline": 3.0,
    "batch": 8,
}


def records(run: Path, peer: int) -> list[dict[str, Any]]:
    path = run / f"peer-{peer}" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def summary(run: Path, peer: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / f"peer-{peer}" / "summary.json").read_text())
    return found


def run_some(keys: dict[str, Any], who: list[int], folder: Path) -> float:
    """Run these peers of the experiment, a thread each; how many seconds they took."""
    experiment = from_mapping(keys | {"addresses": free_addresses(keys["peers"])})
    program = algorithms.find(experiment)
    peers = [PeerProcess(experiment, k, program, folder, lambda line: None, Options()) for k in who]
    threads = [threading.Thread(target=peer.run, daemon=True) for peer in peers]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=90)
        assert not thread.is_alive(), "a peer never finished"
    return time.monotonic() - began


def wait_for_rounds(run: Path, peer: int, count: int, process: ForkedPeer) -> None:
    path = run / f"peer-{peer}" / "metrics.jsonl"
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert process.poll() is None
        time.sleep(0.05)


def test_a_worker_that_never_comes_is_left_out_of_every_average(tmp_path: Path) -> None:
    seconds = run_some(STAR | {"start_timeout": 5.0}, [0, 1, 2], tmp_path)
    assert 5.0 <= seconds < 60.0
    for record in records(tmp_path, 0):
        assert record["participants"] == [[1, 2]]
        assert record["missing"] == [3]
    assert summary(tmp_path, 0)["missing"] == {"3": 4}
    for k in (1, 2):
        assert summary(tmp_path, k)["rounds"] == 4
        assert summary(tmp_path, k)["missing"] == {}


def test_a_server_that_never_comes_leaves_the_workers_with_what_they_have(tmp_path: Path) -> None:
    keys = STAR | {"start_timeout": 5.0, "alone": True}
    seconds = run_some(keys, [1, 2, 3], tmp_path)
    assert 5.0 <= seconds < 60.0
    for k in (1, 2, 3):
        assert summary(tmp_path, k)["rounds"] == 4
        assert summary(tmp_path, k)["missing"] == {"0": 4}


def test_a_killed_worker_is_left_out_from_then_on(processes: Processes) -> None:
    keys = STAR | {"algorithm": STAR["algorithm"] | {"rounds": 60}, "deadline": 6.0}
    file = processes.write(keys | {"addresses": free_addresses(4)})
    peers = {k: processes.peer(file, k) for k in range(4)}
    run = processes.folder / "run"
    wait_for_rounds(run, 0, 5, peers[0])
    peers[2].kill()
    for k in (0, 1, 3):
        assert peers[k].wait(timeout=110) == 0, peers[k].communicate()[0]
    assert "going on without peer 2" in peers[0].communicate()[0]
    participants = [of for record in records(run, 0) for of in record["participants"]]
    assert len(participants) == 60
    assert participants[:5] == [[1, 2, 3]] * 5
    gone = participants.index([1, 3])
    assert participants[gone:] == [[1, 3]] * (60 - gone)
    for k in (1, 3):
        assert summary(run, k)["missing"] == {}


def test_workers_outlive_their_server(processes: Processes) -> None:
    keys = STAR | {"algorithm": STAR["algorithm"] | {"rounds": 60}, "deadline": 6.0}
    file = processes.write(keys | {"addresses": free_addresses(4)})
    peers = {k: processes.peer(file, k) for k in range(4)}
    run = processes.folder / "run"
    wait_for_rounds(run, 0, 5, peers[0])
    peers[0].kill()
    killed = time.monotonic()
    for k in (1, 2, 3):
        assert peers[k].wait(timeout=60) == 0, peers[k].communicate()[0]
    assert time.monotonic() - killed < 40.0  # one deadline, not one a round
    for k in (1, 2, 3):
        assert "going on without peer 0" in peers[k].communicate()[0]
        missing = summary(run, k)["missing"]
        assert list(missing) == ["0"]
        assert 30 < missing["0"] <= 56


def test_a_killed_worker_that_is_started_again_takes_part_again(processes: Processes) -> None:
    keys = STAR | {"algorithm": STAR["algorithm"] | {"rounds": 120}, "deadline": 30.0}
    file = processes.write(keys | {"addresses": free_addresses(4), "checkpoint": 1})
    peers = {k: processes.peer(file, k) for k in range(4)}
    run = processes.folder / "run"
    wait_for_rounds(run, 0, 5, peers[0])
    peers[1].kill()
    peers[1].wait()
    again = processes.peer(file, 1, "--resume")
    for process in (peers[0], again, peers[2], peers[3]):
        assert process.wait(timeout=110) == 0, process.communicate()[0]
    participants = [of for record in records(run, 0) for of in record["participants"]]
    assert participants[-1] == [1, 2, 3]
    assert participants.count([2, 3]) < 20

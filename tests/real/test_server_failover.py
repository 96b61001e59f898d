"""A server with backups over ZeroMQ: killed, and stopped for a while; one of them takes over."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from peer.experiment import from_mapping
from peer.net.keys import make_keys
from peer.runtime.launcher import with_free_ports
from tests.real.conftest import SMALL
from tests.support.processes import ForkedPeer, Processes, until

ROUNDS = 150
STAR: dict[str, Any] = SMALL | {
    "peers": 4,
    "backups": 2,
    "graph": "star",
    "algorithm": {"name": "fedavg", "rounds": ROUNDS, "local_steps": 1},
    "deadline": 20.0,
    "batch": 8,
}
HOSTS = (0, 4, 5)


@pytest.fixture(params=["plain text", "keys"])
def network(processes: Processes, request: pytest.FixtureRequest) -> dict[int, ForkedPeer]:
    keys = with_free_ports(from_mapping(STAR)).resolved()
    more = []
    if request.param == "keys":
        folder = processes.folder / "keys"
        keys["keys"] = {k: make_keys(k, folder) for k in range(6)}
        more = ["--keys", str(folder)]
    file = processes.write(keys)
    return {k: processes.peer(file, k, *more) for k in range(6)}


def rounds_of(folder: Path) -> list[int]:
    path = folder / "peer-0" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["round"] for line in lines if line.endswith("}")]


def wait_for(count: int, *folders: Path) -> Path:
    """The first of the folders in which the server has so many rounds."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for folder in folders:
            if len(rounds_of(folder)) >= count:
                return folder
        time.sleep(0.02)
    raise AssertionError(f"no server got so far in {folders}")


def test_a_killed_server_is_followed_by_a_backup_that_lacks_no_round(
    processes: Processes, network: dict[int, ForkedPeer]
) -> None:
    run = processes.folder / "run"
    wait_for(20, run)
    network[0].kill()
    network[0].wait()
    reported = rounds_of(run)[-1]
    backups = [run / f"backup-{k}" for k in HOSTS[1:]]
    elected = wait_for(1, *backups)
    for k in range(1, 6):
        assert network[k].wait(timeout=90) == 0, network[k].communicate()[0]
    made = rounds_of(elected)
    # Before round R was reported, all before it had been acknowledged.
    assert reported <= made[0] <= reported + 1
    assert made == list(range(made[0], ROUNDS + 1))
    assert [rounds_of(folder) for folder in backups if folder != elected] == [[]]
    lines = (elected / "peer-0" / "metrics.jsonl").read_text().splitlines()
    without = [json.loads(line)["round"] for line in lines if json.loads(line)["missing"]]
    assert len(without) <= 2  # of the round at hand, something may be lost
    for k in (1, 2, 3):
        said = network[k].communicate()[0]
        assert "term 2: the server is at" in said
        missing = json.loads((run / f"peer-{k}" / "summary.json").read_text())["missing"]
        assert sum(missing.values()) <= 2


def test_a_server_that_was_stopped_for_long_is_not_heard_any_more(
    processes: Processes, network: dict[int, ForkedPeer]
) -> None:
    run = processes.folder / "run"
    wait_for(10, run)
    network[0].send_signal(signal.SIGSTOP)
    elected = wait_for(5, *(run / f"backup-{k}" for k in HOSTS[1:]))
    before = rounds_of(run)
    network[0].send_signal(signal.SIGCONT)
    assert "term 1: it is over; this process stands by" in until(network[0], "stands by")
    for k, process in network.items():
        assert process.wait(timeout=90) == 0, (k, process.communicate()[0])
    assert rounds_of(elected)[-1] == ROUNDS
    assert len(rounds_of(run)) <= len(before) + 1  # its round at hand, which nobody acknowledged
    for k in (1, 2, 3):
        missing = json.loads((run / f"peer-{k}" / "summary.json").read_text())["missing"]
        assert sum(missing.values()) <= 2

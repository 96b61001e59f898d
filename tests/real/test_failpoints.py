"""``durability: exact``: peers that kill themselves anywhere, and go on as if nothing had been.

Each transfer is made exactly once at both ends: a network whose peers are killed again and again
ends with the bits of one in which nobody was.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim
from tests.real.conftest import SMALL, free_addresses
from tests.real.test_faults import summary
from tests.real.test_parity import digests_of
from tests.support.failpoints import PLACES, SELDOM, Failpoint
from tests.support.processes import ForkedPeer, Processes

EXACT: dict[str, Any] = SMALL | {
    "peers": 3,
    "algorithm": {"name": "diffusion", "rounds": 12},
    "checkpoint": 4,
    "durability": "exact",
    "start_timeout": 60.0,
}
PEERS = 3

KILLS = int(os.environ.get("HEARSAY_KILLS", "20"))
"""At each failpoint, in the slow part; `HEARSAY_KILLS=100 pytest tests/real/test_failpoints.py`."""

Names = list[str]


def failpoint(name: str, draw: np.random.Generator) -> Failpoint:
    return Failpoint(name, int(draw.integers(1, 3 if name in SELDOM else 12)))


def run_with_kills(
    processes: Processes, keys: dict[str, Any], waves: list[dict[int, Failpoint]], run: str
) -> int:
    """Run all peers; in each wave, some are killed, each at its failpoint. Returns the kills."""
    file = processes.write(keys | {"addresses": free_addresses(PEERS)}, f"{run}.yaml")
    left = {k: [wave[k] for wave in waves if k in wave] for k in range(PEERS)}
    running: dict[int, ForkedPeer] = {}
    kills = 0

    def start(k: int) -> None:
        at = left[k].pop(0) if left[k] else None
        running[k] = processes.peer(file, k, run=run, failpoint=at)

    for k in range(PEERS):
        start(k)
    limit = time.monotonic() + 240
    while running:
        assert time.monotonic() < limit, f"peers {sorted(running)} hang"
        for k, process in list(running.items()):
            match process.poll():
                case None:
                    continue
                case code if code == -signal.SIGKILL:
                    kills += 1
                    start(k)
                case code:
                    assert code == 0, process.communicate()[0]
                    del running[k]
        time.sleep(0.02)
    return kills


def undisturbed(keys: dict[str, Any], folder: Path) -> dict[int, str]:
    sim.run(keys, run_dir=folder)
    return digests_of(folder, PEERS)


def waves_of(names: list[str], draw: np.random.Generator, count: int) -> list[dict[int, Failpoint]]:
    """``count`` times, each of several peers has a failpoint: all names, as evenly as can be."""
    order = [str(name) for name in names]
    waves = []
    for _ in range(count):
        waves.append({int(k): failpoint(order.pop(), draw) for k in draw.permutation(PEERS)})
        if len(order) < PEERS:
            order += names
    return waves


def assert_as_if_nothing_had_been(processes: Processes, run: str, bits: dict[int, str]) -> None:
    folder = processes.folder / run
    assert all(summary(folder, k)["missing"] == {} for k in range(PEERS))
    assert digests_of(folder, PEERS) == bits


@pytest.mark.parametrize("part", range(4))
def test_peers_killed_anywhere_end_with_the_bits_of_peers_that_were_not(
    part: int, processes: Processes
) -> None:
    names = list(PLACES)[part::4]
    bits = undisturbed(EXACT, processes.folder / "sim")
    waves = waves_of(names, np.random.default_rng(part), 2)
    assert run_with_kills(processes, EXACT, waves, "run") >= 4
    assert_as_if_nothing_had_been(processes, "run", bits)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", PLACES)
def test_peers_killed_again_and_again_at_one_place(name: str, processes: Processes) -> None:
    bits = undisturbed(EXACT, processes.folder / "sim")
    draw = np.random.default_rng(list(PLACES).index(name))
    kills, runs = 0, 0
    while kills < KILLS:
        run = f"run-{runs}"
        kills += run_with_kills(processes, EXACT, waves_of([name] * PEERS, draw, 2), run)
        assert_as_if_nothing_had_been(processes, run, bits)
        runs += 1
        assert runs <= KILLS, "it is hardly ever come by"

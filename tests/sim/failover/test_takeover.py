"""A simulated server that dies: how long its place is empty, and what its run is like then."""

from __future__ import annotations

import math
from typing import Any

import pytest

import algorithms
from peer.effects import Report
from peer.experiment import from_mapping
from sim.events.driver import EventDriver
from sim.failover.succession import takeovers_of
from sim.failover.takeover import takeover_seconds
from sim.runs.simulate import make_driver, make_states
from sim.runs.simulate_sharded import run_in_processes
from sim.simulated_peer.simulated_peer import SimulatedPeer
from topology.errors import UserError

KEYS: dict[str, Any] = {
    "peers": 4,
    "backups": 2,
    "graph": "star",
    "algorithm": {"name": "fedavg", "rounds": 12, "local_steps": 2},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "pairs"},
    "batch": 8,
    "network": {"delay": 0.1, "bandwidth": 100},
    "devices": {"default": {"seconds": {"discriminator": 0.2, "generator": 0.2}}},
}
WITHIN = 10.0
"""Seconds until there is another server, at most."""


class Rounds:
    """What the server reported: its round, when, and what it noted."""

    def __init__(self) -> None:
        self.of_server: list[tuple[int, float, dict[str, Any]]] = []

    def reported(self, peer: SimulatedPeer, report: Report) -> None:
        if peer.id == 0:
            self.of_server.append((report.round, peer.now, dict(report.measures)))


def run(**changes: Any) -> tuple[Rounds, EventDriver]:
    experiment = from_mapping(KEYS | changes)
    program = algorithms.find(experiment)
    rounds = Rounds()
    driver = make_driver(experiment, make_states(experiment), program, rounds)
    driver.run()
    return rounds, driver


def model_of(driver: EventDriver) -> bytes:
    return bytes(driver.peers[0].state.nets["generator"].arena.vector.numpy().tobytes())


@pytest.mark.parametrize("backups", [1, 2, 4])
@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_another_is_elected_within_ten_seconds(backups: int, delay: float) -> None:
    for seed in range(5):
        experiment = from_mapping(KEYS | {"backups": backups, "seed": seed})
        seconds = takeover_seconds(experiment, 0, delay)
        assert 2.5 < seconds < WITHIN  # the last sign of life came a little before
        assert seconds == takeover_seconds(experiment, 0, delay)


def test_without_faults_backups_cost_time_and_no_bits() -> None:
    alone, bare = run(backups=0)
    backed, driver = run()
    assert model_of(driver) == model_of(bare)
    at_the_end = alone.of_server[-1][1]
    cost = (backed.of_server[-1][1] - at_the_end) / 12
    # Two nets' floats at 100 Mbit/s, and four messages of 0.1 s.
    nbytes = sum(net.arena.vector.nbytes for net in driver.peers[0].state.nets.values())
    assert cost == pytest.approx(4 * 0.1 + 8e-6 * nbytes / 100, rel=0.01)


@pytest.mark.parametrize("down", [5.0, 6.1, 7.05, 7.3, 7.6, 8.2])
def test_no_acknowledged_round_is_lost_and_all_are_made(down: float) -> None:
    calm, _ = run()
    rounds, driver = run(faults=[{"peer": 0, "down": down}])
    assert [round for round, _, _ in rounds.of_server] == list(range(1, 13))
    before = [(round, at) for round, at, _ in rounds.of_server if at < down]
    assert before == [(round, at) for round, at, _ in calm.of_server if at < down]
    next_at = next(at for _, at, _ in rounds.of_server if at > down)
    assert down + 2.5 < next_at < down + WITHIN + 3.0
    assert [m["term"] for _, _, m in rounds.of_server if "term" in m] == [2]
    without = [round for round, _, m in rounds.of_server if m["missing"]]
    assert len(without) <= 1
    assert all(peer.facade.round == 12 for peer in driver.peers.values())


def test_while_workers_train_the_new_server_gets_what_they_send_and_the_bits_are_the_same() -> None:
    calm, bare = run()
    ends = [at for _, at, _ in calm.of_server]
    down = ends[4] + 0.5  # the models are with the workers, and no update has come
    rounds, driver = run(faults=[{"peer": 0, "down": down}])
    assert model_of(driver) == model_of(bare)
    assert [m["participants"] for _, _, m in rounds.of_server] == [[1, 2, 3]] * 12


def test_a_server_dies_as_often_as_there_are_backups_and_then_for_good() -> None:
    faults = [{"peer": 0, "down": down} for down in (5.0, 20.0, 35.0)]
    found = takeovers_of(from_mapping(KEYS | {"faults": faults}), 0, 0.1)
    assert [each.down for each in found] == [5.0, 20.0, 35.0]
    assert [each.up < math.inf for each in found] == [True, True, False]


def test_who_is_back_stands_by_again() -> None:
    faults = [{"peer": 0, "down": down, "up": down + 60.0} for down in (5.0, 20.0, 35.0)]
    found = takeovers_of(from_mapping(KEYS | {"faults": faults}), 0, 0.1)
    assert 65.0 < found[2].up < 65.0 + WITHIN  # the first of the three is back by then


def test_processes_refuse_backups() -> None:
    with pytest.raises(UserError, match="simulated in one process"):
        run_in_processes(from_mapping(KEYS), 2)


def test_backups_are_for_a_server() -> None:
    keys = KEYS | {"algorithm": {"name": "diffusion", "rounds": 1}}
    with pytest.raises(UserError, match=r"backups: they stand by for a server, and diffusion"):
        algorithms.find(from_mapping(keys))

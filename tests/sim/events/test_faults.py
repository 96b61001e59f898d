"""The event driver where things fail: delays, losses, peers that are down; all seeded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

import algorithms
import sim
from peer.experiment import from_mapping
from peer.state import PeerState
from peer.state.recorder import arena_digest
from sim.runs.simulate import drive, make_states

KEYS: dict[str, Any] = {
    "peers": 4,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 5},
    "optimizer": {"name": "sgd", "lr": 0.05},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 8,
}


def run(**changes: Any) -> tuple[dict[int, PeerState], Any]:
    experiment = from_mapping(KEYS | changes)
    states = make_states(experiment)
    return states, drive(experiment, states, algorithms.find(experiment))


def digests(states: dict[int, PeerState]) -> list[str]:
    return [arena_digest(state) for state in states.values()]


def test_the_seed_decides_and_nothing_else_does() -> None:
    assert digests(run()[0]) == digests(run()[0])
    assert digests(run()[0]) != digests(run(seed=1)[0])


def test_delays_move_the_clock_and_not_the_numbers() -> None:
    calm, calm_driver = run()
    slow, slow_driver = run(network={"delay": 2.0})
    assert digests(calm) == digests(slow)
    # five rounds of two exchanges and two steps of a millisecond
    assert calm_driver.peers[0].now == pytest.approx(5 * 2 * 0.001)
    assert slow_driver.peers[0].now == pytest.approx(5 * 2 * (0.001 + 2.0))


def test_a_link_may_differ_from_the_rest() -> None:
    network = {"delay": 0.0, "links": [{"between": [2, 1], "delay": 3.0}]}
    _, driver = run(network=network, algorithm={"name": "diffusion", "rounds": 1, "n_g": 0})
    times = [driver.peers[k].now for k in range(4)]
    assert times == pytest.approx([0.001, 3.001, 3.001, 0.001])


def test_a_lost_exchange_is_lost_at_both_ends_and_keeps_the_mean() -> None:
    still = {"optimizer": {"name": "sgd", "lr": 0.0}, "init": "own"}
    before = make_states(from_mapping(KEYS | still))
    after, driver = run(**still, network={"loss": 0.4})
    for net in ("generator", "discriminator"):
        means = [
            torch.stack([s.nets[net].arena.vector.double() for s in states.values()]).mean(0)
            for states in (before, after)
        ]
        assert torch.allclose(means[0], means[1], atol=1e-6)
    full = 5 * 2 * 2 * 4 * before[0].nets["generator"].arena.vector.nbytes
    assert 0 < sum(p.bytes_in for p in driver.peers.values()) < full


def test_losses_are_seeded() -> None:
    assert digests(run(network={"loss": 0.3})[0]) == digests(run(network={"loss": 0.3})[0])
    assert digests(run(network={"loss": 0.3})[0]) != digests(run()[0])


def test_a_peer_that_dies_is_done_without_after_the_deadline(tmp_path: Path) -> None:
    keys = KEYS | {"faults": [{"peer": 2, "down": 0.005}], "deadline": 60.0}
    done = sim.run(keys, run_dir=tmp_path / "run", report=False)
    assert [state.round for state in done.states.values()] == [5, 5, 2, 5]
    records = [json.loads(line) for line in (done.path / "metrics.jsonl").read_text().splitlines()]
    missing = {(r["peer"], r["round"]): r["missing"] for r in records}
    assert missing[1, 1] == missing[1, 2] == []
    assert missing[1, 5] == missing[3, 5] == [2]
    assert missing[0, 5] == []
    ends = {r["peer"]: r["seconds"] for r in records}
    assert 60 < ends[1] < 61  # it was waited for once, not in every exchange
    assert 60 < ends[0] < 61


def test_a_peer_that_comes_back_in_time_misses_nothing() -> None:
    away, driver = run(faults=[{"peer": 2, "down": 0.005, "up": 30.0}])
    assert digests(away) == digests(run()[0])
    assert driver.peers[0].now > 30


def test_a_peer_that_comes_back_late_catches_up() -> None:
    away, _ = run(faults=[{"peer": 2, "down": 0.005, "up": 1000.0}])
    assert [state.round for state in away.values()] == [5] * 4
    assert digests(away) != digests(run()[0])


@pytest.mark.parametrize("gan", ["mlp-digits", "pytorch-gan-mlp"])
def test_exact_disagreement_is_recorded(gan: str, tmp_path: Path) -> None:
    """Of the parameters: the second G has batch-norm, whose statistics are none."""
    done = sim.run(KEYS | {"gan": gan}, run_dir=tmp_path / "run", report=False)
    last = json.loads((done.path / "network.jsonl").read_text().splitlines()[-1])
    for net in ("generator", "discriminator"):
        modules = [s.nets[net].module for s in done.states.values()]
        rows = [parameters_to_vector(m.parameters()).detach().double().numpy() for m in modules]
        expected = np.square(rows - np.mean(rows, axis=0)).sum(axis=1).mean()
        assert last["disagreement"][net] == pytest.approx(expected, rel=1e-9)
    assert last["round"] == 5


def test_records_are_thinned(tmp_path: Path) -> None:
    done = sim.run(KEYS | {"metrics": {"every": 3}}, run_dir=tmp_path / "run", report=False)
    lines = (done.path / "metrics.jsonl").read_text().splitlines()
    rounds = [json.loads(line)["round"] for line in lines if json.loads(line)["peer"] == 0]
    assert rounds == [1, 3, 5]

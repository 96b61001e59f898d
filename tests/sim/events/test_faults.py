"""The event driver where things fail: delays, losses, peers that are down; all seeded."""

from __future__ import annotations

import itertools
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


LONG_AWAY: dict[str, Any] = {
    "faults": [{"peer": 2, "down": 1.05, "up": 21.0}],
    "deadline": 0.1,
    "network": {"step": 0.1},
    "algorithm": {"name": "diffusion", "rounds": 120},
}


@pytest.mark.parametrize("engine", ["event", "stacked"])
def test_who_was_away_for_long_joins_the_others_and_keeps_nobody_waiting(
    engine: str, tmp_path: Path
) -> None:
    keys = KEYS | LONG_AWAY | {"checkpoint": 0}
    done = sim.run(keys, run_dir=tmp_path / "run", report=False, engine=engine)
    records = [json.loads(line) for line in (done.path / "metrics.jsonl").read_text().splitlines()]
    of = {k: [r for r in records if r["peer"] == k] for k in range(4)}
    assert [len(of[k]) for k in (0, 1, 3)] == [120] * 3
    rounds = [r["round"] for r in of[2]]
    (gap,) = [(a, b) for a, b in itertools.pairwise(rounds) if b > a + 1]
    assert gap[1] - gap[0] > 20
    (rejoined,) = [r for r in of[2] if "rejoined" in r]
    assert rejoined["round"] == gap[1]
    assert rejoined["missing"] == []  # it has heard both neighbours
    assert rejoined["rejoined"]["after"] == gap[0]
    assert rejoined["rejoined"]["jump of generator"] > 0
    for k in (1, 3):
        away = [r["round"] for r in of[k] if 2 in r["missing"]]
        assert away[-1] == gap[1]  # in its first round it sends nothing
        assert away == list(range(away[0], away[-1] + 1))
        later = [r["seconds"] for r in of[k] if r["seconds"] > 21.0]
        # two steps a round, of others who may be half a round behind; nobody waits for a deadline
        assert max(np.diff(later)) < 2 * 0.2 + 0.1
    assert of[0][-1]["missing"] == []


def test_few_rounds_are_made_up(tmp_path: Path) -> None:
    keys = KEYS | LONG_AWAY | {"catch_up": 200}
    done = sim.run(keys, run_dir=tmp_path / "run", report=False)
    records = [json.loads(line) for line in (done.path / "metrics.jsonl").read_text().splitlines()]
    assert [r["round"] for r in records if r["peer"] == 2] == list(range(1, 121))


@pytest.mark.parametrize("codec", ["none", "int8", "choco"])
def test_a_late_comer_takes_the_mean_of_its_neighbours(codec: str, tmp_path: Path) -> None:
    """Nets that stand still, and differ: what it takes is the neighbours' mean, and the jump is
    by how much the mean over all peers moves."""
    still = {"optimizer": {"name": "sgd", "lr": 0.0}, "init": "own"}
    keys = KEYS | LONG_AWAY | still | {"checkpoint": 0, "compression": codec}
    before = make_states(from_mapping(keys))
    done = sim.run(keys, run_dir=tmp_path / "run", report=False)
    records = [json.loads(line) for line in (done.path / "metrics.jsonl").read_text().splitlines()]
    (said,) = [r["rejoined"] for r in records if "rejoined" in r]
    moved = torch.stack(
        [
            done.states[k].nets["generator"].arena.vector.double()
            - before[k].nets["generator"].arena.vector.double()
            for k in range(4)
        ]
    ).mean(0)
    jump = said.get("jump of generator", 0.0)
    assert (jump > 0) == (codec != "choco")  # which goes on from what both ends hold
    tolerance = 0.05 if codec == "int8" else 1e-4
    assert moved.norm().item() == pytest.approx(jump, rel=tolerance, abs=1e-4)


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

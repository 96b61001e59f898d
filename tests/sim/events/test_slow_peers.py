"""``deadline: auto`` in virtual time: what a slow peer costs the others; the mean stays."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch

import algorithms
from peer.experiment import from_mapping
from peer.net.away.patience import MOST, REFILL
from peer.state import PeerState
from peer.state.recorder import arena_digest
from sim.runs.simulate import drive, make_engine, make_states
from sim.simulated_peer.simulated_peer import SimulatedPeer

FAST = {"discriminator": 1.0, "generator": 1.0}
SLOW = {"discriminator": 10.0, "generator": 10.0}
KEYS: dict[str, Any] = {
    "peers": 5,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 100},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 4,
    "deadline": "auto",
    "devices": {"default": {"seconds": FAST}, 2: {"seconds": SLOW}},
}
QUICK = (0, 1, 3, 4)


class Clock:
    """When every peer completed which round."""

    def __init__(self) -> None:
        self.at: defaultdict[int, dict[int, float]] = defaultdict(dict)

    def reported(self, peer: SimulatedPeer, report: Any) -> None:
        self.at[peer.id][report.round] = peer.now


def run(engine: str = "event", **changes: Any) -> tuple[dict[int, PeerState], Clock]:
    experiment = from_mapping(KEYS | changes)
    states, clock = make_states(experiment), Clock()
    drive(experiment, states, algorithms.find(experiment), clock, make_engine(engine, 1))
    return states, clock


def mean(states: dict[int, PeerState], net: str) -> torch.Tensor:
    return torch.stack([s.nets[net].arena.vector.double() for s in states.values()]).mean(0)


@pytest.mark.parametrize("graph", ["ring", "complete"])
def test_a_slow_peer_costs_the_others_one_capacity_and_a_twentieth(graph: str) -> None:
    _, calm = run(graph=graph, devices={"default": {"seconds": FAST}})
    _, auto = run(graph=graph)
    for k in QUICK:
        without, took = calm.at[k][100], auto.at[k][100]
        assert without == pytest.approx(200.0)
        assert took <= without + MOST + REFILL * took + 1.0
        # and once what is usual is known, a twentieth
        later, calmly = took - auto.at[k][30], without - calm.at[k][30]
        assert later <= (1 + REFILL) * calmly + 2.0


def test_with_a_fixed_deadline_all_wait_for_the_slow_one() -> None:
    _, fixed = run(deadline=60.0, algorithm={"name": "diffusion", "rounds": 10})
    assert min(fixed.at[k][10] for k in QUICK) > 180.0


def test_who_is_as_quick_as_the_others_is_never_done_without() -> None:
    devices = {"default": {"seconds": FAST}}
    rounds = {"name": "diffusion", "rounds": 12}
    states, _ = run(devices=devices, algorithm=rounds)
    fixed, _ = run(devices=devices, algorithm=rounds, deadline=60.0)
    assert [arena_digest(s) for s in states.values()] == [arena_digest(s) for s in fixed.values()]


@pytest.mark.parametrize("slow", [3.0, 9.0, 10.0, 11.0, 12.5])
@pytest.mark.parametrize("graph", ["ring", "complete"])
def test_what_one_end_does_without_the_other_does_not_use(slow: float, graph: str) -> None:
    changes = {
        "graph": graph,
        "init": "own",
        "optimizer": {"name": "sgd", "lr": 0.0},
        "algorithm": {"name": "diffusion", "rounds": 40},
        "catch_up": 1000,  # who rejoins takes the others' mean, which moves that of all
        "devices": {
            "default": {"seconds": FAST},
            2: {"seconds": {"discriminator": slow, "generator": slow}},
        },
    }
    experiment = from_mapping(KEYS | changes)
    before = {net: mean(make_states(experiment), net) for net in ("discriminator", "generator")}
    states, clock = run(**changes)
    assert clock.at[0][40] < 80 + MOST + 20  # they did without it
    for net, was in before.items():
        assert torch.allclose(mean(states, net), was, atol=1e-6)


def test_the_stacked_engine_does_the_same() -> None:
    short = {"name": "diffusion", "rounds": 20}
    states, clock = run(algorithm=short)
    stacked, same = run("stacked", algorithm=short)
    assert clock.at == same.at
    for k, state in states.items():
        ours, theirs = state.nets["generator"].arena.vector, stacked[k].nets["generator"].arena
        torch.testing.assert_close(ours, theirs.vector, rtol=1e-4, atol=1e-5)


def test_a_peer_that_goes_away_is_waited_for_as_long_as_patience_lasts() -> None:
    absent = {"faults": [{"peer": 2, "down": 50.5, "up": 110.5}]}
    _, clock = run(devices={"default": {"seconds": FAST}}, **absent)
    _, fixed = run(devices={"default": {"seconds": FAST}}, deadline=60.0, **absent)
    for k in QUICK:
        assert clock.at[k][100] <= 200.0 + 10.0 + REFILL * clock.at[k][100]
        assert fixed.at[k][100] > 250.0


def test_lost_letters_and_a_servers_slow_worker() -> None:
    changes = {
        "graph": "star",
        "algorithm": {"name": "fedavg", "rounds": 30},
        "devices": {"default": {"seconds": FAST}, 2: {"seconds": SLOW}},
    }
    _, fixed = run(**changes, deadline=60.0)
    _, auto = run(**changes)
    assert auto.at[0][30] < fixed.at[0][30] / 2
    _, lossy = run(**changes, network={"loss": 0.2})
    assert len(lossy.at[0]) == 30

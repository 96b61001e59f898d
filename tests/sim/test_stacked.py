"""The stacked engine against the event engine: the same numbers up to rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import algorithms
from peer.experiment import from_mapping
from peer.state import PeerState
from sim.run import drive, make_states
from sim.stacked import Stacked
from tests.systems import PLAIN, SYSTEMS, keys_of

SGD = {"optimizer": {"name": "sgd", "lr": 0.01}}
"""Adam's first steps divide rounding by itself; under SGD, equal means equal."""

ONE_AT_A_TIME = {"sequential", "sequential, serverless", "fegan", "fegan (0, 0)"}
"""Systems in which no two of these few peers ever train together."""


def end(keys: dict[str, Any], engine: Stacked | None) -> dict[int, PeerState]:
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment), engine=engine)
    return states


def assert_close(one: dict[int, PeerState], other: dict[int, PeerState]) -> None:
    for k in one:
        assert one[k].round == other[k].round
        assert one[k].streams.dump() == other[k].streams.dump()
        for name, net in one[k].nets.items():
            ours, theirs = net.arena.vector, other[k].nets[name].arena.vector
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_stacked_equals_one_peer_at_a_time(system: str) -> None:
    keys = keys_of(system, rounds=3) | SGD
    engine = Stacked()
    assert_close(end(keys, engine), end(keys, None))
    assert any(way.stacked for way in engine.ways.values()) == (system not in ONE_AT_A_TIME)


BATCH_NORM = {
    "gan": {"name": "dcgan28", "width": 4},
    "data": {"source": "synthetic", "images": 40, "size": 28, "partition": "own"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"graph": "ring", "algorithm": {"name": "diffusion", "n_d": 2}},
        {"algorithm": {"name": "fedavg", "local_steps": 2, "fraction": 0.5}},  # rows far apart
        {"algorithm": {"name": "distributed_gan", "approach": "average_output"}},
        {"graph": "complete", "algorithm": {"name": "mdgan", "swap": True, "swap_epochs": 0.5}},
    ],
    ids=["diffusion", "fedavg", "average output", "mdgan"],
)
def test_batch_norm_stacked_moves_its_statistics(changes: dict[str, Any]) -> None:
    algorithm = {**changes["algorithm"], "rounds": 2}
    keys = PLAIN | BATCH_NORM | SGD | changes | {"algorithm": algorithm}
    engine = Stacked(threads=2, convolutions=True)
    stacked, alone = end(keys, engine), end(keys, None)
    assert_close(stacked, alone)
    assert all(way.stacked for way in engine.ways.values())
    for k, state in alone.items():
        for name, net in state.nets.items():
            for counter, value in net.arena.counters.items():
                assert torch.equal(value, stacked[k].nets[name].arena.counters[counter])

"""A whole run of Oasis: each group's model is the mean of its own members'."""

from __future__ import annotations

import math

import torch

import algorithms
from peer.experiment import from_mapping
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN


def test_groups_never_mix() -> None:
    keys = PLAIN | {
        "algorithm": {
            "name": "oasis", "rounds": 2, "local_steps": 1, "fraction": 1.0, "grouping": {"k": 2},
        },
    }  # fmt: skip
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    groups = states[0].facts["groups"]
    assert sorted(k for group in groups for k in group) == [1, 2, 3, 4]
    assert math.isclose(sum(states[0].facts["mixture"].values()), 1.0)
    for i, group in enumerate(groups):
        kept = states[0].tensors[f"group-{i}/generator"]
        n = sum(len(states[k].shard) for k in group)
        mean = sum(
            len(states[k].shard) / n * states[k].nets["generator"].arena.vector for k in group
        )
        assert torch.allclose(kept, mean, atol=1e-6)  # of its own members alone

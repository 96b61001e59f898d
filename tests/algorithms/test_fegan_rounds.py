"""Whole runs of FeGAN: devices that stay away, data without labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import algorithms
from peer.experiment import from_mapping
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN
from topology.errors import UserError


def test_absentees_are_not_counted_as_seen() -> None:
    keys = PLAIN | {
        "algorithm": {"name": "fegan", "rounds": 3, "local_steps": 1, "fraction": 1.0},
        "faults": [{"peer": 2, "down": 0.0025}],  # in its second round: a round is two steps
        "deadline": 5.0,
    }
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    facts = states[0].facts
    assert [2 in came for came in facts["history"]] == [True, False, False]
    counted = np.zeros(10)
    for came in facts["history"]:
        counted += np.sum([facts["shows"][str(k)] for k in came], axis=0)
    assert facts["taken"] == counted.tolist()


def test_an_aborted_round_shows_the_server_nothing() -> None:
    keys = PLAIN | {
        "algorithm": {
            "name": "fegan", "rounds": 2, "local_steps": 1, "fraction": 1.0, "on_missing": "abort",
        },
        "faults": [{"peer": 2, "down": 0.0025}],  # in its second round
        "deadline": 5.0,
    }  # fmt: skip
    experiment = from_mapping(keys)
    one_round = from_mapping(keys | {"algorithm": keys["algorithm"] | {"rounds": 1}})
    states, whole = make_states(experiment), make_states(one_round)
    drive(experiment, states, algorithms.find(experiment))
    drive(one_round, whole, algorithms.find(one_round))
    facts = states[0].facts
    assert facts["history"] == [[1, 2, 3, 4], []]
    assert facts["taken"] == whole[0].facts["taken"]
    assert np.sum(facts["taken"]) > 0
    for net in ("generator", "discriminator"):
        assert torch.equal(states[0].nets[net].arena.vector, whole[0].nets[net].arena.vector)


def test_labels_are_asked_for_in_one_line(tmp_path) -> None:
    np.savez(tmp_path / "bare.npz", images=np.zeros((60, 8, 8), dtype=np.uint8))
    data = {"source": "npz", "path": str(tmp_path / "bare.npz"), "partition": "iid"}
    keys = PLAIN | {"data": data, "algorithm": {"name": "fegan", "rounds": 1, "local_steps": 1}}
    experiment = from_mapping(keys)
    with pytest.raises(UserError, match=r"algorithm.histogram: .*say histogram: clusters"):
        drive(experiment, make_states(experiment), algorithms.find(experiment))

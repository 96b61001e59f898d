"""FeGAN's loads, and the probe that measures what they follow from."""

from __future__ import annotations

import pytest
import torch

from algorithms.fegan.load import Capability, Loads, assign, regression
from algorithms.fegan.probe import probe
from peer.effects import Gradient, Now, StepResult
from peer.experiment import from_mapping
from peer.peer import Peer
from sim.runs.simulate import make_states
from tests.support.systems import PLAIN


def test_loads_follow_the_median_device_and_memory() -> None:
    fast, slow = Capability(alpha=1.0), Capability(alpha=3.0)
    small = Capability(alpha=0.0, beta=1 / 50, delta=1.0, memory=30.0)
    weak = Capability(alpha=1000.0)
    given_ = assign({1: fast, 2: slow, 3: small, 4: fast, 5: weak}, 30, 50, Loads())
    # medians: E t(B) is 30, 90, 30, 30, 30000 -> 30
    assert given_ == {1: (30, 50), 2: (10, 50), 3: (30, 25), 4: (30, 50)}
    linear = assign({1: Capability(score=0.5)}, 30, 50, Loads(by="linear"))
    assert linear == {1: (15, 26)}
    alpha, beta = regression([8, 16, 32], [1.8, 2.6, 4.2])
    assert (alpha, beta) == (pytest.approx(1.0), pytest.approx(0.1))


def test_a_probe_learns_nothing_and_draws_nothing() -> None:
    experiment = from_mapping(PLAIN | {"algorithm": {"name": "fegan", "rounds": 1}})
    state = make_states(experiment)[1]
    before = state.dump()
    running = probe(Peer(state, experiment.schedule))
    seconds, effect = 0.0, running.send(None)
    found = None
    while found is None:
        answer: object = None
        if isinstance(effect, Now):
            answer = seconds
        elif isinstance(effect, Gradient):
            seconds += 0.5 + 0.01 * len(effect.inputs["z"])
            answer = StepResult(0.0, 0.0)
        try:
            effect = running.send(answer)
        except StopIteration as ended:
            found = ended.value
    assert (found.alpha, found.beta) == (pytest.approx(1.0), pytest.approx(0.02))
    after = state.dump()
    assert before.facts == after.facts
    assert all(torch.equal(before.tensors[k], after.tensors[k]) for k in before.tensors)

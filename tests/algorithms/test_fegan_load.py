"""FeGAN's loads, and the probe that measures what they follow from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from algorithms.fegan.load import Capability, Loads, assign, regression
from algorithms.fegan.probe import probe
from peer.compute.execute import carry_out
from peer.effects import Gradient, Report
from peer.experiment import from_mapping
from peer.peer import Peer
from peer.state import PeerState, SavedState
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


async def one_round(peer: Peer, found: list[Capability]) -> None:
    async for _ in peer.rounds(1):
        found += [await probe(peer)]


def probed(batch: int, **keys: Any) -> tuple[Capability, Mapping[str, Any], PeerState, SavedState]:
    """What a probe finds where t(b) = 1 + 0.02 b, its round's record, the states after, before."""
    experiment = from_mapping(
        PLAIN | {"algorithm": {"name": "fegan", "rounds": 1}, "batch": batch} | keys
    )
    state = make_states(experiment)[1]
    before, found = state.dump(), []
    running = one_round(Peer(state, experiment.schedule), found)
    seconds, effect = 0.0, running.send(None)
    while not isinstance(effect, Report):
        answer: object = seconds
        if isinstance(effect, Gradient):
            seconds += 0.5 + 0.01 * len(effect.inputs["z"])
            answer = carry_out(effect, state)
        effect = running.send(answer)
    state.round = 0  # the round that was ended to see its record
    return found[0], effect.measures, state, before


AWKWARD: dict[str, dict[str, Any]] = {
    "batch-norm": {"gan": "pytorch-gan-mlp"},
    "dropout": {"gan": "mlpgan"},
    "everything that is drawn": {
        "loss": {"name": "bce_ns", "gradient_penalty": 1.0, "r1": 1.0, "r1_every": 2},
        "augment": ["translation", "cutout"],
        "conditional": True,
    },
}


@pytest.mark.parametrize("keys", AWKWARD.values(), ids=AWKWARD)
def test_a_probe_learns_nothing_draws_nothing_and_records_nothing(keys: dict[str, Any]) -> None:
    found, measures, state, before = probed(16, **keys)
    assert (found.alpha, found.beta) == (pytest.approx(1.0), pytest.approx(0.02))
    assert measures["losses"] == {}
    after = state.dump()
    assert before.facts == after.facts
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(before.tensors[k], after.tensors[k]) for k in before.tensors)


@pytest.mark.parametrize("batch", [2, 3, 4, 5, 7])
def test_a_probe_fits_a_line_whatever_the_batch(batch: int) -> None:
    """Batch-norm refuses one image, and equal sizes are no line."""
    found = probed(batch, gan="pytorch-gan-mlp")[0]
    assert (found.alpha, found.beta) == (pytest.approx(1.0), pytest.approx(0.02))

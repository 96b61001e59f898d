"""The weight of Oasis's regulariser, iteration by iteration."""

from __future__ import annotations

import pytest

from algorithms.oasis.annealing import Annealed, Annealing
from peer.effects import StepResult
from peer.experiment import from_mapping
from peer.peer import Peer
from sim.runs.simulate import make_states
from tests.support.systems import PLAIN


def result(loss: float) -> StepResult:
    return StepResult(loss, 0.0)


def test_the_golden_annealing() -> None:
    experiment = from_mapping(PLAIN | {"algorithm": {"name": "oasis", "rounds": 1}})
    peer = Peer(make_states(experiment)[1], experiment.schedule)
    closed = Annealed(peer, Annealing(), steps=5, planned=10)
    for _ in range(5):
        closed.observe(result(1.0), result(0.5))  # L_G below ln 2: it holds
        closed.observe(result(1.0), result(0.8))  # not
    assert peer.facts["tau"] == 5
    assert closed.weight() == pytest.approx(0.01)
    again = Annealed(peer, Annealing(), steps=5, planned=10)
    assert again.weight() == pytest.approx(0.01)  # kept across rounds
    literal = Annealed(peer, Annealing(annealing="literal"), steps=10, planned=10)
    for _ in range(10):
        literal.observe(result(1.0), result(0.0))
    assert literal.weight() == pytest.approx(0.1 * 0.01**5.5)  # 1e-12
    assert pytest.approx(1e-12) == 0.1 * 0.01**5.5
    gap = Annealed(peer, Annealing(trigger="delta_loss"), steps=1, planned=1)
    before = peer.facts["tau"]
    gap.observe(result(0.2), result(0.8))  # Delta = -0.6
    assert peer.facts["tau"] == before
    gap.observe(result(0.4), result(0.8))
    assert peer.facts["tau"] == before + 1

"""The bound on disagreement of Theorem 1, and its surrogate for other optimizers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from peer.experiment import Experiment, from_mapping
from sim.metrics.theorem1_bound import adam_surrogate_bound, bound_for, disagreement_bound


@pytest.mark.parametrize(
    ("lambda_2", "expected"),
    [(0.8727, 1.17e-1), (0.8, 4.00e-2), (0.5393, 3.43e-3), (0.4, 1.11e-3), (0.0, 0.0)],
)
def test_golden_values_of_the_paper_setting(lambda_2: float, expected: float):
    assert disagreement_bound(0.05, lambda_2, 1.0) == pytest.approx(expected, rel=5e-3)


def test_the_bound_grows_as_the_square_of_the_step_and_with_the_gap():
    base = disagreement_bound(0.01, 0.5, 3.0)
    assert base == pytest.approx(3e-4)
    assert disagreement_bound(0.02, 0.5, 3.0) == pytest.approx(4 * base)
    assert disagreement_bound(0.01, 0.5, 6.0) == pytest.approx(2 * base)
    assert disagreement_bound(0.01, 0.5, 3.0, combine_last=False) == pytest.approx(4 * base)
    assert disagreement_bound(0.01, 1.0, 3.0) == math.inf
    assert adam_surrogate_bound(0.01, 0.5, 300) == pytest.approx(100 * base)


def _experiment(optimizer: Any, **algorithm: Any) -> Experiment:
    return from_mapping(
        {
            "peers": 5,
            "algorithm": {"name": "diffusion", "rounds": 10} | algorithm,
            "optimizer": optimizer,
            "gan": "mlp-digits",
        }
    )


def _bound(experiment: Experiment, gradient_sq: float | None = 9.0) -> Any:
    return bound_for(
        experiment, "discriminator", 0.5, largest_gradient_sq=gradient_sq, parameters=400
    )


def test_sgd_gets_the_theorem():
    bound = _bound(_experiment({"name": "sgd", "lr": 0.1}))
    assert (bound.value, bound.surrogate) == (pytest.approx(0.09), False)
    assert bound.name == "bound of Theorem 1"
    several = _bound(_experiment({"name": "sgd", "lr": 0.1}, local_steps=3))
    assert several.value == pytest.approx(9 * 0.09)
    other = _bound(_experiment({"name": "sgd", "lr": 0.1}, order="combine-then-adapt"))
    assert other.value == pytest.approx(4 * 0.09)
    assert _bound(_experiment({"name": "sgd", "lr": 0.1}), None) is None


def test_other_optimizers_get_a_surrogate_that_says_so():
    adam = _bound(_experiment({"name": "adam", "lr": 0.001}))
    assert (adam.value, adam.surrogate) == (pytest.approx(0.001**2 * 400), True)
    assert "surrogate" in adam.name
    assert "adam" in adam.name
    momentum = _bound(_experiment({"name": "sgd", "lr": 0.1, "momentum": 0.5}))
    assert (momentum.value, momentum.surrogate) == (pytest.approx(4 * 0.09), True)


def test_each_net_has_its_own_step_size():
    experiment = _experiment(
        {"generator": {"name": "sgd", "lr": 0.2}, "discriminator": {"name": "sgd", "lr": 0.1}}
    )
    both = [
        bound_for(experiment, net, 0.5, largest_gradient_sq=9.0, parameters=1)
        for net in ("generator", "discriminator")
    ]
    assert [bound.value for bound in both if bound] == pytest.approx([0.36, 0.09])


def test_nobody_talks_no_bound():
    assert _bound(_experiment({"name": "sgd", "lr": 0.1}, name="local")) is None

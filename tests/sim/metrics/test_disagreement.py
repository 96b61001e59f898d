"""Disagreement by hand, exact and estimated from sketches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.state.count_sketch import CountSketch, estimate_disagreement
from sim.metrics import disagreement as module
from sim.metrics.disagreement import (
    arena_sums,
    disagreement,
    disagreement_of_sums,
)


def _matrix(peers: int, length: int, seed: int) -> torch.Tensor:
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    return torch.from_numpy(draw.standard_normal((peers, length), dtype=np.float32))


def test_disagreement_by_hand():
    # Centroid (1, 0): distances 2, 1 and 5 squared.
    weights = torch.tensor([[1.0, 2.0**0.5], [2.0, 0.0], [0.0, -(2.0**0.5)]])
    assert disagreement(weights) == pytest.approx((2 + 1 + 3) / 3, rel=1e-6)


def test_equal_peers_agree():
    assert disagreement(_matrix(1, 50, 0).repeat(6, 1)) == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 2**31), st.integers(8, 8000))
def test_blocks_of_columns_change_nothing(peers: int, length: int, seed: int, budget: int):
    weights = _matrix(peers, length, seed)
    whole = weights.double()
    expected = float((whole - whole.mean(0)).square().sum() / peers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", budget)
        assert disagreement(weights) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_precise_far_from_the_origin():
    weights = _matrix(4, 100, 0) * 1e-3 + 1000.0  # float32 sums would lose the differences
    whole = weights.double()
    expected = float((whole - whole.mean(0)).square().sum() / 4)
    assert disagreement(weights) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("parts", [[5], [2, 3], [5, 0]])
def test_sums_of_several_processes_give_the_same(parts: list[int]) -> None:
    weights = _matrix(5, 60, 1)
    sums = sum(arena_sums(of.unbind(), 60) for of in weights.split(parts))
    assert disagreement_of_sums(sums) == pytest.approx(disagreement(weights), rel=1e-12)
    for few in (0, 1):
        assert disagreement_of_sums(arena_sums(weights[:few].unbind(), 60)) is None


def _estimates(weights: torch.Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = []
    for seed in range(count):
        sketch = CountSketch(weights.shape[1], seed, "generator")
        pairs.append(estimate_disagreement([sketch(row) for row in weights]))
    values, errors = np.array(pairs).T
    return values, errors


@pytest.mark.parametrize("along_a_line", [False, True])
def test_estimate_is_unbiased_and_its_error_is_honest(along_a_line: bool):
    weights = _matrix(8, 600, 3)
    if along_a_line:  # every peer differs from the centroid along one direction
        weights = torch.linspace(-1, 1, 8)[:, None] * weights[:1]
    true = disagreement(weights)
    values, errors = _estimates(weights, 600)
    spread = values.std() / true
    assert values.mean() == pytest.approx(true, rel=4 * spread / np.sqrt(600))
    # On one line averaging helps nothing; orthogonal differences err like sqrt(2/256/7).
    assert spread == pytest.approx(np.sqrt(2 / 256 / (1 if along_a_line else 7)), rel=0.12)
    assert spread * 0.95 < errors.mean() < spread * 1.25
    assert errors.max() <= np.sqrt(2 / 256) + 1e-12


def test_estimate_of_many_peers_uses_the_smaller_gram_matrix():
    sketches = np.random.default_rng(np.random.SeedSequence(1)).standard_normal((40, 16))
    wide = estimate_disagreement(sketches)
    padded = estimate_disagreement(np.pad(sketches, ((0, 0), (0, 48))))
    assert padded[0] == pytest.approx(wide[0])
    # Padding to 64 buckets: the same inner products, a quarter of the variance for each.
    assert padded[1] == pytest.approx(wide[1] / 2)


def test_estimate_of_equal_and_of_broken_peers():
    assert estimate_disagreement(np.ones((3, 256))) == (0.0, 0.0)
    value, error = estimate_disagreement(np.full((3, 256), np.nan))
    assert np.isnan(value)
    assert np.isnan(error)

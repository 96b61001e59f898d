"""Kernel distance, precision and recall, by hand and against their statements."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.metrics.kernel import kernel_distance
from sim.metrics.precision import neighbour_radii, precision_recall


def _draw(seed: int, n: int, d: int, shift: float = 0.0) -> np.ndarray:
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    return draw.standard_normal((n, d)) + shift


def _textbook_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Equation 4 of Bińkowski et al., one pair at a time."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    return (
        sum(kernel(a, b) for a, b in itertools.permutations(x, 2)) / (n * (n - 1))
        + sum(kernel(a, b) for a, b in itertools.permutations(y, 2)) / (m * (m - 1))
        - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)
    )


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(2, 9), st.integers(1, 5))
def test_kernel_distance_of_whole_sets_equals_the_textbook(seed: int, n: int, d: int):
    x, y = _draw(seed, n, d), _draw(seed + 1, n, d, 0.5)
    distance = kernel_distance(x, y)
    assert distance.mean == pytest.approx(_textbook_mmd(x, y), rel=1e-9, abs=1e-9)
    assert distance.std == 0.0


def test_kernel_distance_by_hand():
    # One dimension: k(a, b) = (ab + 1)³. Within {1, 1}: 8; within {0, 0}: 1; across: 1.
    assert kernel_distance(np.ones((2, 1)), np.zeros((2, 1))).mean == pytest.approx(8 + 1 - 2)


def test_kernel_distance_draws_seeded_subsets_of_what_there_is():
    x, y = _draw(0, 40, 3), _draw(1, 25, 3)
    first = kernel_distance(x, y, subsets=20, size=10, seed=4)
    assert kernel_distance(x, y, subsets=20, size=10, seed=4) == first
    assert kernel_distance(x, y, subsets=20, size=10, seed=5) != first
    assert first.std > 0
    clipped = kernel_distance(x, y, subsets=20, size=1000)  # 25 of the 40 against all the 25
    assert 0 < clipped.std < first.std
    assert math.isnan(kernel_distance(np.full((4, 2), np.nan), np.zeros((4, 2))).mean)
    assert math.isnan(kernel_distance(np.zeros((1, 2)), np.zeros((4, 2))).mean)


def test_kernel_distance_is_about_zero_for_one_distribution_whatever_the_number_of_samples():
    same = kernel_distance(_draw(0, 400, 8), _draw(1, 60, 8), size=60)
    other = kernel_distance(_draw(0, 400, 8), _draw(1, 60, 8, 1.0), size=60)
    assert abs(same.mean) < 0.2
    assert other.mean > 3


def test_radii_reach_the_kth_other_point():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert neighbour_radii(points, 1).tolist() == [1, 1, 2, 4]
    assert neighbour_radii(points, 3).tolist() == [7, 6, 4, 7]
    assert neighbour_radii(np.zeros((5, 2)), 3).tolist() == [0] * 5


def test_precision_and_recall_by_hand():
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    fake = np.array([[2.5], [18.0], [18.5], [-1.5]])
    # Radii 1, 1, 1, 8: the real region is [-1, 18]. Radii 4, 0.5, 0.5, 4: [-5.5, 6.5], [17.5, 19].
    assert precision_recall(real, fake, k=1) == (0.5, 0.75)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(4, 12), st.integers(4, 12))
def test_precision_and_recall_equal_their_statement(seed: int, n: int, m: int):
    x, y = _draw(seed, n, 2), _draw(seed + 1, m, 2, 0.7)

    def share(points: np.ndarray, region: np.ndarray) -> float:
        hits = 0
        for p in points:
            hits += any(
                np.linalg.norm(p - q) <= sorted(np.linalg.norm(q - o) for o in region)[3]
                for q in region
            )
        return hits / len(points)

    found = precision_recall(x, y)
    assert found == (pytest.approx(share(y, x)), pytest.approx(share(x, y)))


def test_a_collapsed_generator_is_precise_and_recalls_nothing():
    real = _draw(0, 50, 3)
    collapsed = np.repeat(real[:1], 50, axis=0)
    found = precision_recall(real, collapsed)
    assert found == (1.0, pytest.approx(1 / 50))
    assert precision_recall(real, real) == (1.0, 1.0)
    assert math.isnan(precision_recall(real, np.full((9, 3), np.inf)).recall)
    assert neighbour_radii(np.array([[0.0], [2.0], [3.0]]), 3).tolist() == [3, 2, 3]

"""The Frechet distance of two Gaussians: golden values, and where it is hard to compute."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from peer.quality.frechet import Reference, frechet_distance, gaussian


def _gaussian(seed: int, d: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(np.random.SeedSequence(seed))
    root = draw.standard_normal((d, rank))
    return draw.standard_normal(d), root @ root.T


def test_the_golden_value_of_two_gaussians():
    eye = np.eye(2)
    assert frechet_distance([0, 0], eye, [3, 4], 4 * eye) == pytest.approx(27.0, abs=1e-12)
    assert frechet_distance([3, 4], 4 * eye, [0, 0], eye) == pytest.approx(27.0, abs=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_equals_the_textbook_square_root(seed: int, d: int):
    (mu1, cov1), (mu2, cov2) = _gaussian(seed, d, d + 2), _gaussian(seed + 1, d, d + 2)
    textbook = np.sum((mu1 - mu2) ** 2) + np.trace(cov1 + cov2 - 2 * sqrtm(cov1 @ cov2).real)
    assert frechet_distance(mu1, cov1, mu2, cov2) == pytest.approx(textbook, rel=1e-6, abs=1e-6)
    assert frechet_distance(mu1, cov1, mu1, cov1) == pytest.approx(0.0, abs=1e-6)


def test_singular_covariances_are_no_trouble():
    mu, cov = _gaussian(0, 128, 3)
    shifted = frechet_distance(mu, cov, mu + 2.0, cov)
    assert shifted == pytest.approx(4 * 128, rel=1e-6)
    zero = np.zeros((128, 128))
    assert frechet_distance(mu, cov, mu, zero) == pytest.approx(np.trace(cov), rel=1e-6)


def test_not_finite_is_not_a_number():
    eye = np.eye(2)
    assert math.isnan(frechet_distance([0, np.nan], eye, [0, 0], eye))
    assert math.isnan(frechet_distance([0, 0], np.full((2, 2), np.inf), [0, 0], eye))


def test_gaussian_is_unbiased():
    mean, cov = gaussian([[1.0, 0.0], [3.0, 4.0]])
    assert mean.tolist() == [2.0, 2.0]
    assert cov.tolist() == [[2.0, 4.0], [4.0, 8.0]]


@pytest.mark.parametrize(("n", "d"), [(2, 5), (30, 40), (40, 40), (41, 40), (300, 7)])
def test_of_few_samples_the_small_matrix_says_the_same(n: int, d: int) -> None:
    draws = np.random.default_rng(n)
    real = draws.normal(1, 2, (200, d)) @ draws.normal(size=(d, d))
    samples = draws.normal(0, 1, (n, d))
    reference = Reference(*gaussian(real))
    whole = reference.distance(*gaussian(samples))
    assert reference.distance_of(samples) == pytest.approx(whole, rel=1e-6)
    samples[0, 0] = np.nan
    assert np.isnan(reference.distance_of(samples))

"""Number of statistically different bins, and the divergence of their shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from peer.quality.ndb import different_bins, z_test
from sim.metrics.ndb import Binning


def _draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed))


def _blobs(n: int, centres: np.ndarray, seed: int = 0) -> np.ndarray:
    """Images around ``centres`` (k, d), in turns."""
    draw = _draw(seed)
    return centres[np.arange(n) % len(centres)] + draw.normal(0, 0.02, (n, centres.shape[1]))


def test_golden_test_of_proportions():
    z, p = z_test([0.02], 50_000, [0.024], 10_000)
    assert z[0] == pytest.approx(-2.566663, abs=1e-6)
    assert p[0] == pytest.approx(0.010268, abs=1e-6)
    assert p[0] == pytest.approx(2 * norm.sf(abs(z[0])))


def test_without_a_standard_error_nothing_is_different():
    z, p = z_test([0.0, 1.0], 10, [0.0, 1.0], 20)
    assert (z.tolist(), p.tolist()) == ([0, 0], [1, 1])


def test_shares_of_different_bins_by_hand():
    # Pooled 0.5 and SE 0.0707: z = 1.414 and -1.414 are not different, 2.83 is.
    assert different_bins([60, 40], [50, 50]).share == 0
    assert different_bins([60, 40, 0], [40, 60, 0]).share == pytest.approx(2 / 3)
    half = different_bins([100, 0], [0, 100])
    assert (half.k, half.share, half.divergence) == (2, 1.0, pytest.approx(math.log(2)))


def _jensen_shannon(p: list[float], q: list[float]) -> float:
    """The mean of the two divergences from the middle, term by term."""
    return sum(
        0.5 * x * math.log(2 * x / (a + b))
        for a, b in zip(p, q, strict=True)
        for x in (a, b)
        if x > 0
    )


def test_divergence_is_that_of_jensen_and_shannon():
    expected = _jensen_shannon([0.75, 0.25], [0.5, 0.5])
    assert different_bins([75, 25], [20, 20]).divergence == pytest.approx(expected)


def test_bins_find_the_clusters_and_a_missing_one_shows_in_all():
    centres = _draw(1).uniform(0, 1, (4, 12))
    bins = Binning(_blobs(400, centres), 4)
    assert bins.counts.tolist() == [100] * 4
    nearest = np.abs(bins.centres[:, None] - centres).max(-1).min(0)
    assert (nearest < 0.02).all()
    same = bins.compare(_blobs(200, centres, 2).reshape(200, 12))
    assert (same.k, same.share, same.divergence) == (4, 0.0, 0.0)
    lacking = bins.compare(_blobs(201, centres[:3], 3))
    assert lacking.share == 1.0  # 0 of 201 against 1/4 of 400, and thrice 1/3: z = 2.15
    assert lacking.divergence == pytest.approx(_jensen_shannon([1 / 4] * 4, [1 / 3] * 3 + [0]))
    assert math.isnan(bins.compare(np.full((3, 12), np.nan)).share)


def test_about_five_percent_differ_by_chance():
    draw = _draw(3)
    real, again = draw.uniform(0, 1, (20_000, 6)), draw.uniform(0, 1, (10_000, 6))
    ndb = Binning(real, 50).compare(again).share
    assert 0.0 <= ndb <= 0.14  # 0.05 expected, 0.03 standard deviation


def test_a_sixth_of_many_dimensions_is_used_and_all_have_means():
    centres = _draw(4).uniform(0, 1, (3, 1200))
    bins = Binning(_blobs(60, centres), 3, seed=1)
    assert len(bins.used) == 200
    assert bins.centres.shape == (3, 1200)
    nearest = np.abs(bins.centres[:, None] - centres).max(-1).min(0)
    assert (nearest < 0.05).all()
    assert (Binning(_blobs(60, centres), 3, seed=1).used == bins.used).all()
    assert (Binning(_blobs(60, centres), 3, seed=2).used != bins.used).any()
    owner = bins.assign(_blobs(9, centres, 5))
    assert sorted(owner[:3]) == [0, 1, 2]
    assert (owner.reshape(3, 3) == owner[:3]).all()
    assert len(Binning(_draw(9).uniform(0, 1, (20, 1000)), 2).used) == 1000


def test_fewer_distinct_images_than_bins():
    images = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0)
    bins = Binning(images, 6)
    assert (bins.k, bins.counts.tolist()) == (2, [20, 20])
    assert bins.compare(images).share == 0
    assert bins.compare(images[:20]).share == 1

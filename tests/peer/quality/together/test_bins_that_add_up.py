"""Bins whose counts add up: equal distributions differ in about a twentieth of them."""

from __future__ import annotations

import numpy as np
import torch

from peer.quality.ndb import different_bins
from peer.quality.together import bins
from peer.quality.together.moments import Moments


def _features(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    draws = np.random.default_rng(seed)
    return draws.normal(3 + shift, 2, (n, 6)) * np.arange(1, 7)


def test_counts_of_parts_add_up_and_no_image_is_lost() -> None:
    parts = [_features(seed, 50 * (seed + 1)) for seed in range(4)]
    whole = np.concatenate(parts)
    moments = Moments(float(len(whole)), whole.sum(0), whole.T @ whole)
    total = sum(bins.count(part, moments) for part in parts)
    np.testing.assert_array_equal(total, bins.count(whole, moments))
    assert total.sum() == len(whole)
    images = torch.from_numpy(whole)[:, :, None, None]
    counted = bins.count_images(lambda x: x.flatten(1).numpy(), images, moments)
    np.testing.assert_array_equal(counted, total)


def test_equal_distributions_differ_seldom_and_others_often() -> None:
    whole = _features(0, 4000)
    moments = Moments(float(len(whole)), whole.sum(0), whole.T @ whole)
    real = bins.count(whole, moments)
    assert (real > 0).all()
    alike = [different_bins(real, bins.count(_features(s, 1000), moments)).share for s in range(9)]
    assert np.mean(alike) < 0.12
    apart = different_bins(real, bins.count(_features(5, 1000, shift=1.0), moments)).share
    assert apart > 0.4

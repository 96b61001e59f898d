"""Moments of features: they add up, whatever the blocks and whoever holds the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peer.quality.frechet import gaussian
from peer.quality.together import moments
from peer.quality.together.moments import Moments, packed_length


def _flat(images: torch.Tensor) -> np.ndarray:
    return images.flatten(1).numpy().astype(np.float64)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=5), st.integers(0, 2**16))
def test_the_moments_of_parts_add_up_to_those_of_all(counts: list[int], seed: int) -> None:
    draws = np.random.default_rng(seed)
    parts = [torch.from_numpy(draws.normal(3, 1, (n, 1, 2, 2))) for n in [*counts, 2]]
    total = Moments.none(4)
    for part in parts:
        total += Moments.of(_flat, part, 4)
    mean, covariance = gaussian(_flat(torch.cat(parts)))
    found = total.gaussian()
    assert total.count == sum(counts) + 2
    np.testing.assert_allclose(found[0], mean, rtol=1e-12)
    np.testing.assert_allclose(found[1], covariance, rtol=1e-9, atol=1e-11)


def test_blocks_bound_what_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def extract(images: torch.Tensor) -> np.ndarray:
        seen.append(len(images))
        return _flat(images)

    images = torch.randn(10, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    whole = Moments.of(extract, images, 4)
    monkeypatch.setattr(moments, "BLOCK", 4)
    in_blocks = Moments.of(extract, images, 4)
    assert seen == [10, 4, 4, 2]
    np.testing.assert_allclose(in_blocks.outer, whole.outer, rtol=1e-13)


@given(st.integers(1, 9))
def test_packed_and_unpacked_are_the_same(dimension: int) -> None:
    draws = np.random.default_rng(dimension)
    features = draws.normal(size=(7, dimension))
    some = Moments(7.0, features.sum(0), features.T @ features)
    packed = some.packed()
    assert packed.shape == (packed_length(dimension),)
    back = Moments.unpacked(packed)
    assert back.count == 7
    np.testing.assert_array_equal(back.total, some.total)
    np.testing.assert_array_equal(back.outer, np.triu(some.outer) + np.triu(some.outer, 1).T)


def test_what_is_no_moments_is_refused() -> None:
    with pytest.raises(ValueError, match="no moments"):
        Moments.unpacked(torch.zeros(5, dtype=torch.float64))

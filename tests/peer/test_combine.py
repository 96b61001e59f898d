"""Combining block by block gives the bits of combining whole vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peer.combine import BLOCK, combine


def draw(seed: int, length: int) -> torch.Tensor:
    values = np.random.default_rng(seed).standard_normal(length, dtype=np.float32)
    return torch.from_numpy(values)


@pytest.mark.parametrize("length", [16, BLOCK, BLOCK + 16, 3 * BLOCK + 48])
@pytest.mark.parametrize("neighbours", [(), (4,), (7, 2), (9, 1, 5)])
def test_blocks_give_the_bits_of_the_whole(length: int, neighbours: tuple[int, ...]) -> None:
    w, own = draw(100, length), draw(200, length)
    received = {k: draw(k, length) for k in neighbours}
    weights = {k: 1 / (3 + k) for k in neighbours}
    expected = w.clone()
    for k in sorted(neighbours):
        expected.add_(received[k] - own, alpha=weights[k])
    combine(w, own, received, weights)
    assert torch.equal(w, expected)


@pytest.mark.parametrize("neighbours", [(), (4,), (7, 2), (9, 1, 5)])
def test_what_was_sent_may_be_the_vector_itself(neighbours: tuple[int, ...]) -> None:
    length = 2 * BLOCK + 32
    w = draw(100, length)
    received = {k: draw(k, length) for k in neighbours}
    weights = {k: 1 / (3 + k) for k in neighbours}
    expected = w.clone()
    combine(expected, w.clone(), received, weights)
    combine(w, None, received, weights)
    assert torch.equal(w, expected)

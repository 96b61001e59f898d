"""Combining block by block gives the bits of combining whole vectors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from peer.compute.combine import BLOCK, StreamingCombine, combine


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


@pytest.mark.parametrize("others", [(), (2,), (1, 7)])
@pytest.mark.parametrize("cuts", [(), (BLOCK,), (BLOCK, 2 * BLOCK), (100, BLOCK + 36)])
def test_a_value_in_pieces_gives_the_bits_of_the_whole(
    others: tuple[int, ...], cuts: tuple[int, ...]
) -> None:
    length, last = 2 * BLOCK + 32, 4
    w = draw(100, length)
    received = {k: draw(k, length) for k in (*others, last)}
    weights = {k: 1 / (3 + k) for k in received}
    own, expected = w.clone(), w.clone()
    combine(expected, None, received, weights)
    streaming = StreamingCombine(w, own, weights)
    rest = {k: received[k] for k in others}
    for start, end in pairwise((0, *cuts, length)):
        streaming.add(last, start, received[last][start:end], rest)
    assert streaming.done == length
    assert torch.equal(w, expected)


def test_pieces_that_are_not_to_be_used_leave_no_trace() -> None:
    length = 2 * BLOCK + 32
    w, right, wrong = draw(100, length), draw(1, length), torch.full((length,), torch.nan)
    weights = {5: 0.3}
    own, expected = w.clone(), w.clone()
    combine(expected, None, {5: right}, weights)
    streaming = StreamingCombine(w, own, weights)
    for value in (wrong, right):  # begun anew: what came before is not to be used
        streaming.add(5, 0, value[:BLOCK], {})
        streaming.add(5, BLOCK, value[BLOCK:-1], {})
    streaming.add(5, length - 1, right[-1:], {})
    assert torch.equal(w, expected)
    streaming.undo()
    assert torch.equal(w, own)

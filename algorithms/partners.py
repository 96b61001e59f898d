"""Who meets whom in a round: every peer draws it for all peers, so that both ends know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Candidates = Mapping[int, Sequence[int]]
"""By peer, 0 to K - 1, those whom it may meet."""


def targets(may: Candidates, probability: float, rng: np.random.Generator) -> dict[int, int]:
    """By sender, whom it sends to: a peer sends with ``probability``, and picks uniformly."""
    starts = rng.random(len(may)) < probability
    picks = rng.random(len(may))
    return {k: r[int(picks[k] * len(r))] for k, r in may.items() if starts[k] and r}


def pairs(may: Candidates, probability: float, rng: np.random.Generator) -> dict[int, int]:
    """A matching, by peer, each pair under both its ends.

    Peers take turns in a random order; each still free picks uniformly, with ``probability``, among
    those that it may meet and that are free.
    """
    starts = rng.random(len(may)) < probability
    picks = rng.random(len(may))
    pair: dict[int, int] = {}
    for k in (int(each) for each in rng.permutation(len(may))):
        free = [r for r in may[k] if r not in pair]
        if starts[k] and k not in pair and free:
            r = free[int(picks[k] * len(free))]
            pair[k], pair[r] = r, k
    return pair


def derangement(items: list[int], rng: np.random.Generator) -> list[int]:
    """A permutation without a fixed point, each as likely as any other."""
    while True:
        permuted = [int(item) for item in rng.permutation(items)]
        if all(a != b for a, b in zip(items, permuted, strict=True)):
            return permuted

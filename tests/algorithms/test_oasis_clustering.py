"""Oasis's groups, from representations that are given."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import silhouette_score

from algorithms.oasis.clustering import Grouping, find_groups, merge_small


def test_the_best_silhouette_wins_and_small_groups_join_the_nearest() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 6)) * 4
    R = np.concatenate([centre + 0.05 * rng.standard_normal((4, 6)) for centre in centres])
    groups = find_groups(R, [100] * 12, Grouping(), 0)
    assert groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    labels = np.repeat(range(3), 4)
    assert silhouette_score(R, labels, metric="correlation") > 0.9
    points = np.array([[0.0], [1.0], [5.0], [5.5], [20.0]])
    merged = merge_small([[0], [1], [2, 3], [4]], points, [10, 10, 30, 30, 90], Grouping(eta=50))
    assert merged == [[0, 1, 2, 3], [4]]
    everything = merge_small([[0], [1], [2, 3], [4]], points, [1] * 5, Grouping(eta=1e9))
    assert everything == [[0, 1, 2, 3, 4]]


def test_what_cannot_be_grouped_is_one_group() -> None:
    assert find_groups(np.ones((5, 4)), [1] * 5, Grouping(), 0) == [[0, 1, 2, 3, 4]]
    assert find_groups(np.eye(2), [1, 1], Grouping(), 0) == [[0, 1]]
    constant = np.array([[1.0, 1.0], [2.0, 2.0], [9.0, 9.0], [9.5, 9.5]])  # no correlation
    assert find_groups(constant, [1] * 4, Grouping(), 0) == [[0, 1], [2, 3]]

"""Groups clients by their representations: algorithm 1 of the Oasis paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from peer.settings import Settings

Array = NDArray[np.float64]


class Grouping(Settings):
    """Settings under ``grouping:``; the paper's eta is 2000 samples for 20 clients of MNIST."""

    eta: float = Field(0.0, ge=0, description="The fewest samples that a group may hold.")
    most: int | None = Field(None, ge=1, description="M: most groups; min(m - 1, 20) if absent.")
    k: int | None = Field(None, ge=1, description="A fixed number of groups, for ablations.")
    distance: Literal["sum", "mean"] = Field(
        "sum", description="Of two groups, over all pairs; the paper's sum favours small groups."
    )


def find_groups(R: Array, samples: Sequence[int], how: Grouping, seed: int) -> list[list[int]]:
    """The groups, each a sorted list of rows of ``R``.

    k-means is run for k = 1 to M, and the k of the best silhouette is taken (correlation distance;
    the smallest k on ties). Then groups of less than eta samples join the nearest, in order. With
    fewer than three clients, or with equal representations, there is one group.

    Args:
        R: the clients' representations, (m, s).
        samples: n_k of each client.
        how: the settings.
        seed: of k-means.
    """
    m = len(R)
    if how.k is not None:
        groups = _k_means(R, min(how.k, m), seed)
    else:
        groups = _by_silhouette(R, how.most or min(m - 1, 20), seed)
    return merge_small(groups, R, samples, how)


def _by_silhouette(R: Array, most: int, seed: int) -> list[list[int]]:
    m = len(R)
    best, groups = -1.0, [list(range(m))]  # k = 1: undefined, so -1
    if m < 3 or np.allclose(R, R[0]):
        return groups
    from sklearn.metrics import silhouette_score  # scikit-learn takes a second to import

    constant = bool((np.ptp(R, axis=1) == 0).any())  # a correlation with it is not a number
    for k in range(2, min(most, m - 1) + 1):
        found = _k_means(R, k, seed)
        if len(found) < 2:
            continue
        labels = np.empty(m, dtype=int)
        for i, group in enumerate(found):
            labels[group] = i
        score = silhouette_score(R, labels, metric="euclidean" if constant else "correlation")
        if score > best:
            best, groups = score, found
    return groups


def _k_means(R: Array, k: int, seed: int) -> list[list[int]]:
    if k == 1:
        return [list(range(len(R)))]
    from sklearn.cluster import KMeans

    labels = KMeans(k, n_init=10, random_state=seed % 2**32).fit(R).labels_
    groups = [np.flatnonzero(labels == i).tolist() for i in range(k)]
    return sorted(group for group in groups if group)


def merge_small(
    groups: list[list[int]], R: Array, samples: Sequence[int], how: Grouping
) -> list[list[int]]:
    """Merge every group of less than eta samples into the nearest, in the groups' order."""
    d = np.linalg.norm(R[:, None] - R[None], axis=2)  # (m, m)
    reduce = np.sum if how.distance == "sum" else np.mean
    groups = [list(group) for group in groups]
    i = 0
    while i < len(groups):
        if len(groups) == 1 or sum(samples[c] for c in groups[i]) >= how.eta:
            i += 1
            continue
        others = [j for j in range(len(groups)) if j != i]
        nearest = min(others, key=lambda j: reduce(d[np.ix_(groups[i], groups[j])]))
        low, high = sorted((i, nearest))
        groups[low] = sorted(groups[low] + groups.pop(high))
        i = low  # the union may still be too small
    return groups

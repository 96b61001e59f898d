"""A peer's histogram of classes, which it sends to the server before the first round."""

from __future__ import annotations

import numpy as np

from peer.peer import Peer
from topology.errors import UserError


def histogram_of_labels(peer: Peer) -> list[int]:
    """c_k, (classes,): how many of the peer's samples are of each class.

    Raises:
        UserError: the data have no labels.
    """
    labels = peer.labels
    if labels is None:
        raise UserError(
            "algorithm.histogram: the data have no labels to count; say histogram: clusters"
        )
    return [int(n) for n in np.bincount(labels, minlength=peer.classes)]


def histogram_of_clusters(peer: Peer, clusters: int) -> list[int]:
    """How many of the peer's samples are in each of its own clusters, (clusters,).

    By k-means on the pixels. Every peer clusters alone; the clusters' order, from the darkest
    centre to the brightest, is all that makes two peers' histograms comparable.
    """
    from sklearn.cluster import KMeans  # scikit-learn takes a second to import

    pixels = peer.pixels.flatten(1).cpu().numpy()
    found = KMeans(min(clusters, len(pixels)), n_init=3, random_state=0).fit(pixels)
    order = np.argsort(found.cluster_centers_.mean(axis=1), kind="stable")
    counts = np.bincount(found.labels_, minlength=len(order))[order]
    return [int(n) for n in counts] + [0] * (clusters - len(order))

"""The combination weights ``a[l, k]``: how much peer k takes of what its neighbour l sends.

A rule says what a link weighs from the degrees of its two ends alone, so that each peer can work
its own weights out; what the links leave of 1 stays on the peer itself, so that columns sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from topology.errors import UserError
from topology.names import plain, suggestion

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Rule = Callable[[IntArray, IntArray], FloatArray]
"""From the degrees of the links' senders l and receivers k, both (links,), to a_lk (links,)."""


def metropolis(sender: IntArray, receiver: IntArray) -> FloatArray:
    """``a_lk = 1/(1 + max(deg_l, deg_k))``: symmetric, so the network's mean never drifts."""
    return 1.0 / (1 + np.maximum(sender, receiver))


def uniform(sender: IntArray, receiver: IntArray) -> FloatArray:
    """``a_lk = 1/n_k``, n_k counting peer k itself: each neighbourhood's plain average.

    Not symmetric unless all degrees are equal: the mean leans towards peers with many links.
    """
    return 1.0 / (1 + np.broadcast_to(receiver, sender.shape))


RULES: Mapping[str, Rule] = {"metropolis": metropolis, "uniform": uniform}
"""The rules by the names that an experiment's ``weights:`` may give."""


def sparse_weights(graph: nx.Graph[int], rule: str = "metropolis") -> csr_array[np.float64]:
    """The matrix of combination weights, for thousands of peers.

    Args:
        graph: without self-loops.
        rule: a key of :data:`RULES`.

    Returns:
        (K, K) CSR array, rows l and columns k in sorted node order, columns summing to 1, the
        diagonal stored. One combine of parameters W (K, P), a row a peer, is ``A.T @ W``.

    Raises:
        UserError: where there is no such rule.
    """
    links_weigh = _rule(rule)
    nodes = sorted(graph)
    place = {node: index for index, node in enumerate(nodes)}
    ends = np.array([(place[a], place[b]) for a, b in graph.edges], dtype=np.int64).reshape(-1, 2)
    degrees = np.array([graph.degree[node] for node in nodes], dtype=np.int64)
    sender = np.concatenate([ends[:, 0], ends[:, 1]])  # each link once in each direction
    receiver = np.concatenate([ends[:, 1], ends[:, 0]])
    values = links_weigh(degrees[sender], degrees[receiver])

    peers = np.arange(len(nodes))
    kept = 1.0 - np.bincount(receiver, weights=values, minlength=len(nodes))
    matrix = coo_array(
        (
            np.concatenate([values, kept]),
            (np.concatenate([sender, peers]), np.concatenate([receiver, peers])),
        ),
        shape=(len(nodes), len(nodes)),
    )
    return matrix.tocsr()


def metropolis_weights(graph: nx.Graph[int]) -> FloatArray:
    """Metropolis weights: ``a_lk = 1/(1 + max(deg_l, deg_k))`` on links, the rest on oneself.

    Symmetric, doubly stochastic, and primitive where the graph is connected (the diagonal is
    positive), so that repeated combining leads to the plain mean; and so it stays where only some
    links are live and the weight of the others stays on both their ends.

    Returns:
        (K, K) float64, rows and columns in sorted node order.

    Source: Sayed, "Adaptation, Learning, and Optimization over Networks" (2014), table 14.1;
    Xiao, Boyd and Lall, "Distributed average consensus with time-varying Metropolis weights".
    """
    return sparse_weights(graph, "metropolis").toarray()


def uniform_weights(graph: nx.Graph[int]) -> FloatArray:
    """Neighbourhood averages: ``a_lk = 1/n_k`` for l in N_k, which counts k itself.

    Left-stochastic (columns sum to 1); its Perron vector is proportional to n_k, so that repeated
    combining leads to a mean in which well-connected peers count for more.

    Returns:
        (K, K) float64, ``a[l, k]`` from l to k, rows and columns in sorted node order.
    """
    return sparse_weights(graph, "uniform").toarray()


def neighbour_weights(graph: nx.Graph[int], rule: str, k: int) -> dict[int, float]:
    """What peer k gives each neighbour, from degrees alone: its column of the matrix, without k.

    The same floats as in :func:`sparse_weights`, to the last bit: a peer that works its weights
    out by itself and a simulator that multiplies by the matrix use the same numbers.

    Args:
        graph: without self-loops.
        rule: a key of :data:`RULES`.
        k: a node of the graph.

    Returns:
        ``a_lk`` by neighbour l, in sorted order.

    Raises:
        UserError: where there is no such rule.
    """
    links_weigh = _rule(rule)
    neighbours = sorted(graph[k])
    senders = np.array([graph.degree[node] for node in neighbours], dtype=np.int64)
    receivers = np.full_like(senders, graph.degree[k])
    return dict(zip(neighbours, links_weigh(senders, receivers).tolist(), strict=True))


def _rule(name: str) -> Rule:
    if plain(name) not in RULES:
        raise UserError(
            f"weights: there is no rule {name!r}{suggestion(name, RULES)} "
            f"(rules: {', '.join(sorted(RULES))})"
        )
    return RULES[plain(name)]

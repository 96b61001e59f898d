"""Measures of a whole graph, each computed once for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

import networkx as nx
import numpy as np
from numpy.typing import NDArray

Measure = TypeVar("Measure")


def _once(measure: Callable[[nx.Graph[int]], Measure]) -> Callable[[nx.Graph[int]], Measure]:
    """Cache the measure of every frozen graph: each peer of a simulation asks for it."""
    known: WeakKeyDictionary[nx.Graph[int], Measure] = WeakKeyDictionary()

    @wraps(measure)
    def remembered(graph: nx.Graph[int]) -> Measure:
        if not nx.is_frozen(graph):
            return measure(graph)
        if graph not in known:
            known[graph] = measure(graph)
        return known[graph]

    return remembered


@_once
def joined(graph: nx.Graph[int]) -> NDArray[np.bool_]:
    """Whether peer l is k or a neighbour of k, (K, K) by [l, k], in sorted node order."""
    links = nx.to_numpy_array(graph, nodelist=sorted(graph)) != 0
    found: NDArray[np.bool_] = links | np.eye(len(graph), dtype=np.bool_)
    return found


@_once
def ends(graph: nx.Graph[int]) -> NDArray[np.int64]:
    """The two ends of every link, (links, 2), the smaller first, in sorted order."""
    links = sorted((min(link), max(link)) for link in graph.edges)
    return np.array(links, dtype=np.int64).reshape(-1, 2)


@_once
def largest_degree(graph: nx.Graph[int]) -> float:
    """The most links that one peer has; a whole number, 0 where there are none."""
    return max((degree for _, degree in graph.degree), default=0)


@_once
def best_constant(graph: nx.Graph[int]) -> float:
    """The weight for all links that converges fastest while no weight on a peer itself is negative.

    That is ``min(2 / (lambda_max + lambda_2), 1 / largest degree)``, lambda_2 and lambda_max being
    the smallest and the largest eigenvalue of the graph's Laplacian beyond its zeros. The first is
    the best constant edge weight of Xiao and Boyd ("Fast linear iterations for distributed
    averaging", 2004, doi:10.1016/j.sysconle.2004.02.022). On irregular graphs, such as a star, it
    gives peers with many links a negative weight on themselves; the largest weight that does not is
    then the best, since convergence is the faster the nearer the weight is to that of Xiao and
    Boyd. With it, too, repeated combining converges to the mean: some peer has a positive weight on
    itself, or the graph has an odd cycle.

    In a graph that is not connected, such as one round of a schedule, lambda_2 is the smallest of
    the parts'. The whole spectrum of every part is computed, which takes seconds beyond 3,000
    peers. The first quotient is rounded to 12 digits: the last bits of an eigenvalue differ from
    one machine to another, and both ends of a link must use the same weight.
    """
    if graph.number_of_edges() == 0:
        return 1.0
    smallest, largest = np.inf, 0.0
    for part in nx.connected_components(graph):
        if len(part) > 1:
            matrix = nx.laplacian_matrix(graph, sorted(part)).toarray().astype(np.float64)
            eigenvalues = np.linalg.eigvalsh(matrix)
            smallest = min(smallest, float(eigenvalues[1]))
            largest = max(largest, float(eigenvalues[-1]))
    return min(float(f"{2 / (smallest + largest):.12g}"), 1 / largest_degree(graph))

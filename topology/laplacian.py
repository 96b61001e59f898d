"""What depends on the whole of a graph, and is therefore worked out once for it."""

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
    """Remember the measure of every frozen graph, for each peer asks for it again."""
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
    """Whether l sends to k, (K, K), in sorted node order; every peer does to itself."""
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
    """The one weight for all links that agrees fastest, of those that leave no peer below zero.

    That is ``min(2 / (lambda_max + lambda_2), 1 / largest degree)``, lambda_2 and lambda_max being
    the smallest and the largest eigenvalue of the graph's Laplacian beyond its zeros. The first is
    Xiao and Boyd's best constant edge weight ("Fast linear iterations for distributed averaging",
    2004), which on irregular graphs, a star for one, leaves peers of many links a negative weight
    on themselves. Disagreement shrinks the faster the nearer the weight is to it, so that the limit
    of what is not negative is then the best; some peer keeps a positive weight even then, or there
    is an odd cycle, so that repeated combining leads to the mean.

    A graph in parts, such as one round of a schedule, agrees within each part: lambda_2 is the
    smallest of theirs. The whole spectrum of every part is found, which takes seconds beyond 3,000
    peers. The first quotient is rounded to 12 digits, for the last bits of an eigenvalue differ
    from one machine to another, and the two ends of a link must weigh it alike.
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

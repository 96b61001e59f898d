"""The combination weights ``a[l, k]``: how much peer k takes of what its neighbour l sends.

A rule gives the weight of every link in each direction; each peer's weight on itself is 1 less its
links' weights, so that columns sum to 1. Most rules use the degrees of a link's two ends alone. To
add one, write the function and give it a line in :data:`RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from topology.errors import UserError
from topology.laplacian import best_constant, largest_degree
from topology.matrix import EXACT, given_matrix, refuse_off_links
from topology.settings import kind_and_settings, known_name, number, refuse_unknown

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RuleSpec = str | Mapping[str, Any]
"""What an experiment may say under ``weights:``: a rule's name, ``{rule: name, ...its settings}``,
``{matrix: [[...], ...]}`` or ``{file: path}`` (see :func:`topology.matrix.given_matrix`)."""


@dataclass(frozen=True)
class Links:
    """Some links of a graph, each in one direction: what a rule weighs.

    Args:
        graph: all of it.
        sender, receiver: the peers l and k, (links,).
        sender_degree, receiver_degree: how many links each of these has, (links,).
    """

    graph: nx.Graph[int]
    sender: IntArray
    receiver: IntArray
    sender_degree: IntArray
    receiver_degree: IntArray


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        weigh: the function, from :class:`Links` and settings to a_lk (links,).
        settings: the numbers that the user may set.
    """

    weigh: Callable[..., FloatArray]
    settings: tuple[str, ...] = field(default=())


def metropolis(links: Links) -> FloatArray:
    """``a_lk = 1/(1 + max(deg_l, deg_k))``: symmetric, so the network's mean never drifts."""
    return 1.0 / (1 + np.maximum(links.sender_degree, links.receiver_degree))


def uniform(links: Links) -> FloatArray:
    """``a_lk = 1/n_k``, n_k counting peer k itself: each neighbourhood's plain average.

    Not symmetric unless all degrees are equal: the mean leans towards peers with many links.
    """
    return 1.0 / (1 + links.receiver_degree)


def max_degree(links: Links) -> FloatArray:
    """``a_lk = 1/(1 + d)``, d the largest degree of the graph: symmetric, equal on all links.

    Source: Xiao and Boyd, "Fast linear iterations for distributed averaging" (2004,
    doi:10.1016/j.sysconle.2004.02.022), whose maximum-degree weights are 1/d; with the 1 added,
    every peer's weight on itself is positive.
    """
    return np.full(links.sender.shape, 1.0 / (1 + largest_degree(links.graph)))


def laplacian(links: Links, epsilon: float | None = None) -> FloatArray:
    """``A = I - epsilon L``, L the graph's Laplacian: symmetric, epsilon on every link.

    By default epsilon is the best of those that make no weight negative, see
    :func:`topology.laplacian.best_constant`. One so large that some peer's weight on itself would
    be negative is refused, because that peer would no longer compute an average.
    """
    most = 1 / (largest_degree(links.graph) or 1)
    if epsilon is not None and not 0 < epsilon <= most:
        raise UserError(
            f"weights.epsilon: must be more than 0 and at most 1/(the largest degree) = "
            f"{most:.6g}, or a weight would be negative, not {epsilon}"
        )
    weight = best_constant(links.graph) if epsilon is None else epsilon
    return np.full(links.sender.shape, weight)


def given(links: Links, spec: Mapping[str, Any]) -> FloatArray:
    """The entries of a given matrix on the links; all others must be zero."""
    matrix = given_matrix(spec)
    refuse_off_links(spec, matrix, links.graph)
    found: FloatArray = matrix[links.sender, links.receiver]
    return found


RULES: Mapping[str, Rule] = {
    "metropolis": Rule(metropolis),
    "uniform": Rule(uniform),
    "max-degree": Rule(max_degree),
    "laplacian": Rule(laplacian, ("epsilon",)),
}
"""The rules by the names that an experiment's ``weights:`` may give."""


def sparse_weights(graph: nx.Graph[int], rule: RuleSpec = "metropolis") -> csr_array[np.float64]:
    """The matrix of combination weights, for thousands of peers.

    Args:
        graph: without self-loops; on nodes 0 to K - 1 where rule is a matrix.
        rule: a key of :data:`RULES`, or another :data:`RuleSpec`.

    Returns:
        (K, K) CSR array, rows l and columns k in sorted node order, columns summing to 1, the
        diagonal stored. One combine of parameters W (K, P), a row a peer, is ``A.T @ W``.

    Raises:
        UserError: where there is no such rule, or it does not fit the graph.
    """
    from scipy.sparse import coo_array  # a peer weighs its own links alone, and loads no scipy

    weigh = _rule(rule)
    nodes = sorted(graph)
    place = {node: index for index, node in enumerate(nodes)}
    ends = np.array([(place[a], place[b]) for a, b in graph.edges], dtype=np.int64).reshape(-1, 2)
    degrees = np.array([graph.degree[node] for node in nodes], dtype=np.int64)
    sender = np.concatenate([ends[:, 0], ends[:, 1]])  # each link once in each direction
    receiver = np.concatenate([ends[:, 1], ends[:, 0]])
    numbers = np.array(nodes, dtype=np.int64)
    links = Links(graph, numbers[sender], numbers[receiver], degrees[sender], degrees[receiver])
    values = weigh(links)

    peers = np.arange(len(nodes))
    # where links take everything, their sum may round to just above 1
    kept = np.maximum(0.0, 1.0 - np.bincount(receiver, weights=values, minlength=len(nodes)))
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
    positive), so that repeated combining converges to the plain mean. While some links are down,
    their weight stays on both their ends, and the matrix remains doubly stochastic.

    Returns:
        (K, K) float64, rows and columns in sorted node order.

    Source: Sayed, "Adaptation, Learning, and Optimization over Networks" (2014,
    doi:10.1561/2200000051), table 14.1; Xiao, Boyd and Lall, "Distributed average consensus with
    time-varying Metropolis weights" (2006).
    """
    return sparse_weights(graph, "metropolis").toarray()


def uniform_weights(graph: nx.Graph[int]) -> FloatArray:
    """Neighbourhood averages: ``a_lk = 1/n_k`` for l in N_k, which counts k itself.

    Left-stochastic (columns sum to 1); its Perron vector is proportional to n_k, so that repeated
    combining converges to a mean in which well-connected peers count for more.

    Returns:
        (K, K) float64, ``a[l, k]`` from l to k, rows and columns in sorted node order.
    """
    return sparse_weights(graph, "uniform").toarray()


def neighbour_weights(graph: nx.Graph[int], rule: RuleSpec, k: int) -> dict[int, float]:
    """The weight that peer k gives each neighbour: column k of the matrix, without k itself.

    Bit for bit the floats of :func:`sparse_weights`: a peer that computes its own weights and a
    simulator that multiplies by the matrix use the same numbers.

    Args:
        graph: without self-loops; on nodes 0 to K - 1 where rule is a matrix.
        rule: a key of :data:`RULES`, or another :data:`RuleSpec`.
        k: a node of the graph.

    Returns:
        ``a_lk`` by neighbour l, in sorted order.

    Raises:
        UserError: where there is no such rule, or it does not fit the graph.
    """
    weigh = _rule(rule)
    neighbours = sorted(graph[k])
    senders = np.array(neighbours, dtype=np.int64)
    degrees = np.array([graph.degree[node] for node in neighbours], dtype=np.int64)
    own = np.full_like(degrees, graph.degree[k])
    links = Links(graph, senders, np.full_like(senders, k), degrees, own)
    return dict(zip(neighbours, weigh(links).tolist(), strict=True))


def kind_of_weights(
    weights: FloatArray | csr_array[np.float64],
) -> Literal["symmetric", "doubly stochastic", "left stochastic"]:
    """What a matrix of weights, its columns summing to 1, does to the network's mean.

    ``symmetric``: combining keeps the mean, even while links or peers are down. ``doubly
    stochastic`` (rows sum to 1, too): it keeps the mean while all links are up. ``left
    stochastic``: the mean drifts towards the peers that others weigh more.
    """
    from scipy.sparse import csr_array

    matrix = weights if isinstance(weights, csr_array) else csr_array(weights)
    if abs(matrix - matrix.T).max() <= EXACT:
        return "symmetric"
    if np.abs(np.asarray(matrix.sum(axis=1)) - 1).max() <= EXACT * matrix.shape[0]:
        return "doubly stochastic"
    return "left stochastic"


def _rule(spec: RuleSpec) -> Callable[[Links], FloatArray]:
    if isinstance(spec, str):
        return _named("weights", spec, {})
    kind, settings = kind_and_settings("weights", spec, ("rule", "matrix", "file"), "a rule's name")
    if kind == "rule":
        return _named("weights.rule", settings.pop("rule"), settings)
    refuse_unknown("weights", [key for key in settings if key != kind], (), f"beside {kind}")
    return partial(given, spec=settings)


def _named(where: str, name: object, settings: Mapping[str, Any]) -> Callable[[Links], FloatArray]:
    name = known_name(where, name, RULES, "rule", "rules")
    rule = RULES[name]
    refuse_unknown("weights", settings, rule.settings, f"of {name}")
    numbers = {key: number(f"weights.{key}", value) for key, value in settings.items()}
    return partial(rule.weigh, **numbers)

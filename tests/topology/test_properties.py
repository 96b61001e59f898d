"""What holds on any connected graph, whichever of its links are live."""

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from topology import (
    RULES,
    build_graph,
    metropolis_weights,
    neighbour_weights,
    second_eigenvalue,
    sparse_weights,
    uniform_weights,
)

no_deadline = settings(deadline=None)  # a busy machine may stall any example


@st.composite
def connected_graphs(draw, most=14):
    peers = draw(st.integers(1, most))
    tree = [[draw(st.integers(0, peer - 1)), peer] for peer in range(1, peers)]
    pairs = st.tuples(st.integers(0, peers - 1), st.integers(0, peers - 1))
    more = [list(pair) for pair in draw(st.lists(pairs, max_size=30)) if pair[0] != pair[1]]
    return build_graph({"edges": tree + more}, peers, 0)


def with_live_links(graph, live):
    """Degrees of the whole graph; the weight of a dead link is kept by both ends."""
    weights = np.eye(len(graph))
    for k in graph:
        for other, weight in neighbour_weights(graph, "metropolis", k).items():
            if (min(k, other), max(k, other)) in live:
                weights[other, k] += weight
                weights[k, k] -= weight
    return weights


def by_the_formula(graph, rule):
    n = {k: graph.degree[k] + 1 for k in graph}
    share = {"metropolis": lambda a, k: 1 / max(n[a], n[k]), "uniform": lambda a, k: 1 / n[k]}[rule]
    weights = np.zeros((len(graph), len(graph)))
    for k in graph:
        for neighbour in graph[k]:
            weights[neighbour, k] = share(neighbour, k)
        weights[k, k] = 1 - weights[:, k].sum()
    return weights


@no_deadline
@given(connected_graphs(), st.data())
def test_metropolis_is_doubly_stochastic_for_any_live_links(graph, data):
    live = data.draw(st.sets(st.sampled_from(sorted(graph.edges)))) if graph.edges else set()
    for weights in (metropolis_weights(graph), with_live_links(graph, live)):
        assert (weights >= 0).all()
        assert (np.diag(weights) > 0).all()
        np.testing.assert_array_equal(weights, weights.T)
        np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=0, atol=1e-14)
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(with_live_links(graph, live) > 0, allowed(graph, live))


def allowed(graph, live):
    links = nx.Graph(list(live))
    links.add_nodes_from(graph)
    return nx.to_numpy_array(links, nodelist=sorted(graph)) + np.eye(len(graph)) > 0


@no_deadline
@given(connected_graphs())
def test_matrices_agree_with_the_formula_and_with_one_another(graph):
    for rule, dense in (("metropolis", metropolis_weights), ("uniform", uniform_weights)):
        np.testing.assert_array_equal(sparse_weights(graph, rule).toarray(), dense(graph))
        np.testing.assert_allclose(dense(graph), by_the_formula(graph, rule), rtol=0, atol=1e-15)
        np.testing.assert_allclose(dense(graph).sum(axis=0), 1, rtol=0, atol=1e-14)


@no_deadline
@given(connected_graphs())
def test_a_peer_by_itself_finds_the_bits_of_its_column(graph):
    for rule in RULES:
        matrix = sparse_weights(graph, rule).toarray()
        for k in graph:
            found = neighbour_weights(graph, rule, k)
            assert list(found) == sorted(graph[k])
            assert all(matrix[other, k] == weight for other, weight in found.items())


@no_deadline
@given(connected_graphs(), st.integers(0, 2**32 - 1))
def test_a_combine_keeps_the_mean_and_contracts_disagreement(graph, seed):
    weights = metropolis_weights(graph)
    lambda_2 = second_eigenvalue(weights)
    assert 0 <= lambda_2 < 1
    before = np.random.default_rng(seed).standard_normal((len(graph), 3))
    after = weights.T @ before
    mean = before.mean(axis=0)
    np.testing.assert_allclose(after.mean(axis=0), mean, rtol=0, atol=1e-14)
    spread = ((before - mean) ** 2).sum()
    assert ((after - mean) ** 2).sum() <= lambda_2**2 * spread * (1 + 1e-9) + 1e-25


@no_deadline
@given(connected_graphs())
def test_the_second_eigenvalue_is_the_second_of_the_whole_spectrum(graph):
    for rule in RULES:
        weights = sparse_weights(graph, rule).toarray()
        moduli = np.sort(np.abs(np.linalg.eigvals(weights)))
        second = moduli[-2] if len(moduli) > 1 else 0.0
        np.testing.assert_allclose(second_eigenvalue(weights), second, rtol=0, atol=1e-7)


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(["erdos-renyi", "watts-strogatz", "random-regular"]),
    st.integers(1, 40),
    st.integers(0, 2**70),
)
def test_random_families_are_connected_functions_of_the_seed(family, peers, seed):
    graph = build_graph(family, peers, seed)
    assert list(graph) == list(range(peers))
    assert nx.is_connected(graph)
    assert list(graph.edges) == list(build_graph(family, peers, seed).edges)

"""Combination weights: golden values on small graphs, and the rules that make them."""

import networkx as nx
import numpy as np
import pytest
from scipy.sparse import csr_array

from topology import (
    RULES,
    UserError,
    build_graph,
    metropolis_weights,
    neighbour_weights,
    sparse_weights,
    uniform_weights,
)


def test_metropolis_on_a_ring_gives_thirds():
    """A peer and its two neighbours have degree 2: 1 / (1 + 2) each."""
    weights = metropolis_weights(build_graph("ring", 5, 0))
    assert weights.dtype == np.float64
    expected = np.zeros((5, 5))
    for k in range(5):
        expected[k, [k - 1, k, (k + 1) % 5]] = 1 / 3
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-15)


def test_metropolis_on_a_star():
    """The centre keeps 0.2, each leaf 0.8."""
    weights = metropolis_weights(build_graph({"family": "star", "centre": 2}, 5, 0))
    np.testing.assert_allclose(np.diag(weights), [0.8, 0.8, 0.2, 0.8, 0.8], atol=1e-15)
    np.testing.assert_allclose(weights[2], 0.2, atol=1e-15)
    assert np.count_nonzero(weights) == 13


def test_metropolis_on_a_path():
    """The ends keep 2/3."""
    weights = metropolis_weights(build_graph("path", 5, 0))
    np.testing.assert_allclose(np.diag(weights), [2 / 3, 1 / 3, 1 / 3, 1 / 3, 2 / 3], atol=1e-15)
    np.testing.assert_allclose(np.diag(weights, 1), 1 / 3, atol=1e-15)


def test_uniform_columns_average_neighbourhoods():
    """On the path 0-1-2 peer 0 halves with 1, and peer 1 takes a third of each."""
    weights = uniform_weights(build_graph("path", 3, 0))
    expected = np.array([[1 / 2, 1 / 3, 0], [1 / 2, 1 / 3, 1 / 2], [0, 1 / 3, 1 / 2]])
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-15)


def test_rows_and_columns_are_in_sorted_node_order():
    graph = nx.Graph([(3, 1), (1, 7)])
    expected = [[1 / 3, 1 / 3, 1 / 3], [1 / 3, 2 / 3, 0], [1 / 3, 0, 2 / 3]]
    np.testing.assert_allclose(metropolis_weights(graph), expected, atol=1e-15)
    assert list(neighbour_weights(graph, "metropolis", 1)) == [3, 7]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_one_peer_keeps_everything(rule):
    graph = build_graph("ring", 1, 0)
    np.testing.assert_array_equal(sparse_weights(graph, rule).toarray(), [[1.0]])
    assert neighbour_weights(graph, rule, 0) == {}


def test_sparse_weights_hold_links_and_diagonal_alone():
    weights = sparse_weights(build_graph("ring", 3000, 0))
    assert isinstance(weights, csr_array)
    assert weights.nnz == 9000
    np.testing.assert_allclose(weights.data, 1 / 3, atol=1e-15)


def test_neighbour_weights_are_plain_floats():
    found = neighbour_weights(build_graph("star", 4, 0), "uniform", 1)
    assert found == {0: 0.5}
    assert type(found[0]) is float
    assert neighbour_weights(build_graph("star", 4, 0), "uniform", 0) == {1: 0.25, 2: 0.25, 3: 0.25}


def test_rule_names_are_forgiven_case():
    graph = build_graph("path", 3, 0)
    np.testing.assert_array_equal(
        sparse_weights(graph, "Uniform").toarray(), uniform_weights(graph)
    )


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("metropolys", r"^weights: .* 'metropolys'; did you mean 'metropolis'\? \(rules: lap"),
        ("best", r"^weights: .* 'best' \(rules: laplacian, max-degree, metropolis, uniform\)$"),
    ],
)
def test_unknown_rules_are_refused(rule, message):
    graph = build_graph("path", 3, 0)
    with pytest.raises(UserError, match=message):
        sparse_weights(graph, rule)
    with pytest.raises(UserError, match=message):
        neighbour_weights(graph, rule, 0)

"""Second eigenvalues and mixing times: by hand, in closed form, and by the whole spectrum."""

import math

import numpy as np
import pytest
import scipy.sparse.linalg
from scipy.sparse import csc_array
from scipy.sparse.linalg import ArpackNoConvergence

import topology.spectral
from topology import (
    build_graph,
    metropolis_weights,
    mixing_time,
    second_eigenvalue,
    sparse_weights,
    spectral_gap,
    transient_rounds,
    uniform_weights,
)

RING = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]
COMPLETE = [[a, b] for a in range(5) for b in range(a)]

# By hand from the Metropolis weights: graph, lambda_2, rounds for mu = 0.05, mu^2 l^2 / (1 - l)^2
FIVE_PEERS = [
    ("path", 0.8727, 66.0, 1.17e-1),
    ("star", 0.8000, 40.3, 4.00e-2),
    ("ring", 0.5393, 14.6, 3.43e-3),
    ({"edges": [*RING, [0, 2]]}, 0.6545, 21.2, 8.97e-3),
    ({"edges": [*RING, [0, 2], [0, 3]]}, 0.6536, 21.1, 8.90e-3),
    ({"edges": [*RING, [0, 2], [1, 3]]}, 0.5000, 13.0, 2.50e-3),
    ({"edges": COMPLETE[1:]}, 0.4000, 9.8, 1.11e-3),
    ("complete", 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("graph", "lambda_2", "rounds", "spread"), FIVE_PEERS)
def test_graphs_of_five_peers_have_the_tables_numbers(graph, lambda_2, rounds, spread):
    weights = metropolis_weights(build_graph(graph, 5, 0))
    found = second_eigenvalue(weights)
    assert found == pytest.approx(lambda_2, abs=5e-5)
    assert transient_rounds(0.05, found) == pytest.approx(rounds, abs=0.05)
    assert (0.05 * found / spectral_gap(weights)) ** 2 == pytest.approx(spread, rel=5e-3)


def test_the_complete_graph_agrees_at_once_exactly():
    for peers in (2, 5, 100, 400):
        assert second_eigenvalue(sparse_weights(build_graph("complete", peers, 0))) == 0.0


def test_one_peer():
    weights = metropolis_weights(build_graph("ring", 1, 0))
    assert second_eigenvalue(weights) == 0.0
    assert spectral_gap(weights) == 1.0
    assert mixing_time(weights, 0.01) == 1


@pytest.mark.parametrize("peers", [299, 400, 3000])
def test_rings_have_a_closed_form(peers):
    """(1 + 2 cos(2 pi / K)) / 3: by the whole spectrum, by ARPACK, by shift and invert"""
    weights = sparse_weights(build_graph("ring", peers, 0))
    closed = (1 + 2 * math.cos(2 * math.pi / peers)) / 3
    assert second_eigenvalue(weights) == pytest.approx(closed, rel=0, abs=1e-13)


@pytest.mark.parametrize("rule", ["metropolis", "uniform"])
@pytest.mark.parametrize("graph", ["path", "star", "grid", "watts-strogatz", "erdos-renyi"])
def test_arpack_finds_what_the_whole_spectrum_says(graph, rule):
    weights = sparse_weights(build_graph(graph, 320, 1), rule)
    moduli = np.sort(np.abs(np.linalg.eigvals(weights.toarray())))
    assert moduli[-1] == pytest.approx(1.0, abs=1e-12)
    assert second_eigenvalue(weights) == pytest.approx(moduli[-2], rel=0, abs=1e-11)
    assert second_eigenvalue(weights.toarray()) == second_eigenvalue(weights)
    assert second_eigenvalue(csc_array(weights)) == second_eigenvalue(weights)


def test_the_modulus_counts_where_the_largest_is_negative():
    """Two peers that swap nearly everything: eigenvalues 1 and -0.8."""
    pair = np.array([[0.1, 0.9], [0.9, 0.1]])
    assert second_eigenvalue(pair) == pytest.approx(0.8, abs=1e-15)
    many = np.kron(pair, np.full((200, 200), 1 / 200))
    assert second_eigenvalue(many) == pytest.approx(0.8, abs=1e-13)


def test_complex_eigenvalues_count_by_modulus():
    """A directed cycle of three, half kept: (1 + exp(2 pi i / 3)) / 2 has modulus 1/2."""
    cycle = 0.5 * np.eye(3) + 0.5 * np.roll(np.eye(3), 1, axis=0)
    assert second_eigenvalue(cycle) == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize("peers", [2, 5, 400])
def test_peers_that_never_talk_never_agree(peers):
    assert second_eigenvalue(np.eye(peers)) == 1.0
    assert mixing_time(np.eye(peers), 0.5) == math.inf


def test_uniform_weights_on_a_star():
    """Neighbourhood averages of a star: 1/2 among leaves, 1/2 + 1/n - 1 across."""
    weights = uniform_weights(build_graph("star", 5, 0))
    assert second_eigenvalue(weights) == pytest.approx(0.5, abs=1e-12)


def test_the_same_float_each_time():
    weights = sparse_weights(build_graph("erdos-renyi", 500, 0))
    assert len({second_eigenvalue(weights) for _ in range(3)}) == 1


def never(*args, **kwargs):
    raise ArpackNoConvergence("never", np.zeros(0), np.zeros((0, 0)))


@pytest.mark.parametrize("rule", ["metropolis", "uniform"])
def test_no_convergence_falls_back_on_the_whole_spectrum(monkeypatch, rule):
    weights = sparse_weights(build_graph("grid", 320, 0), rule)
    expected = second_eigenvalue(weights)
    monkeypatch.setattr("scipy.sparse.linalg.eigsh", never)
    monkeypatch.setattr("scipy.sparse.linalg.eigs", never)
    assert second_eigenvalue(weights) == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr(topology.spectral, "DENSE_AT_MOST", 310)
    with pytest.raises(RuntimeError, match=r"of 320 peers did not converge$"):
        second_eigenvalue(weights)


def test_shift_and_invert_does_not_overlook_the_other_end(monkeypatch):
    """Where -0.8 may be the larger, the point near 1 is no help and the whole spectrum is."""
    found = scipy.sparse.linalg.eigsh

    def only_shifted(matrix, **settings):
        return found(matrix, **settings) if "sigma" in settings else never()

    monkeypatch.setattr("scipy.sparse.linalg.eigsh", only_shifted)
    ring = sparse_weights(build_graph("ring", 320, 0))
    closed = (1 + 2 * math.cos(2 * math.pi / 320)) / 3
    assert second_eigenvalue(ring) == pytest.approx(closed, abs=1e-13)
    pair = np.array([[0.1, 0.9], [0.9, 0.1]])
    assert second_eigenvalue(np.kron(pair, np.full((160, 160), 1 / 160))) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((2, 3)), r"square, not \(2, 3\)"),
        (np.ones(3), r"square, not \(3,\)"),
        (np.array([[1.0, 0.5], [0.0, 0.4]]), "column"),
        (np.zeros((0, 0)), "column"),
        (np.full((2, 2), np.nan), "column"),
    ],
)
def test_what_is_not_weights_is_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        second_eigenvalue(weights)


@pytest.mark.parametrize("epsilon", [0.9, 0.5, 0.1, 1e-3, 1e-12])
@pytest.mark.parametrize("graph", ["ring", "star", "path"])
def test_mixing_time_is_the_first_round_that_is_close_enough(graph, epsilon):
    weights = metropolis_weights(build_graph(graph, 5, 0))
    lambda_2 = second_eigenvalue(weights)
    rounds = mixing_time(weights, epsilon)
    assert rounds == int(rounds)
    assert lambda_2**rounds <= epsilon < lambda_2 ** (rounds - 1)
    error = np.linalg.matrix_power(weights, int(rounds)) - 1 / 5
    assert np.linalg.norm(error, 2) <= epsilon * (1 + 1e-9)


def test_mixing_time_at_its_limits():
    quarter = np.array([[0.625, 0.375], [0.375, 0.625]])  # lambda_2 = 1/4, exactly
    assert mixing_time(quarter, 0.25) == 1
    assert mixing_time(quarter, 4.0**-10) == 10
    assert mixing_time(quarter, 0.99 * 4.0**-10) == 11
    assert mixing_time(quarter, 4.0**-29) == 29  # the logarithms' quotient is above 29
    assert mixing_time(quarter, 1.0) == 0
    assert mixing_time(np.full((4, 4), 0.25), 1e-9) == 1
    for epsilon in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="epsilon must be more than 0"):
            mixing_time(quarter, epsilon)


def test_transient_rounds_at_its_limits():
    assert transient_rounds(0.1, 0.1) == pytest.approx(3.0)
    assert transient_rounds(0.05, 0.0) == 0.0
    assert transient_rounds(0.05, 1.0) == math.inf
    assert transient_rounds(1.5, 0.5) == 0.0
    with pytest.raises(ValueError, match="mu must be more than 0, not 0"):
        transient_rounds(0, 0.5)
    with pytest.raises(ValueError, match="lambda_2 must be from 0 to 1"):
        transient_rounds(0.05, 1.1)

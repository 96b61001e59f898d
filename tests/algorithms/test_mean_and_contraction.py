"""With adaptation off, combining keeps the network's mean and contracts its disagreement.

With zero gradients the mean of w is preserved, and (1/K) sum ||w_k - w_c||^2 shrinks
at least by lambda_2^2 a combine. The step size is 0: gradients are taken, and do nothing.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import algorithms
from peer.experiment import from_mapping
from sim.runs.simulate import drive, make_states

NETS = ("discriminator", "generator")
ORDERS = ("adapt-then-combine", "combine-then-adapt", "consensus")
IRREGULAR = [[0, 1], [1, 2], [2, 0], [2, 3], [3, 4], [2, 4], [4, 5]]
ROUNDING = 2.0**-24
"""A float32 operation errs by at most so much, relative to its result."""


def little(shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """The least GAN there is: what is combined here is never judged."""
    generator = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Unflatten(1, shape))
    return generator, nn.Sequential(nn.Flatten(), nn.Linear(64, 1))


@pytest.fixture(autouse=True, scope="module")
def little_gan_module() -> Iterator[None]:
    """Make ``gan: oracle_little_gan:little`` importable, as a user's own module is."""
    with pytest.MonkeyPatch.context() as patch:
        module = types.ModuleType("oracle_little_gan")
        module.little = little
        patch.setitem(sys.modules, "oracle_little_gan", module)
        yield


def experiment_of(peers: int, graph: object, rounds: int, **keys: object):
    """An experiment that never adapts; ``keys`` other than ``algorithm`` replace its own."""
    algorithm = {"name": "diffusion", "rounds": rounds, **keys.pop("algorithm", {})}
    raw = {
        "peers": peers,
        "graph": graph,
        "algorithm": algorithm,
        "optimizer": {"name": "sgd", "lr": 0.0},
        "gan": "oracle_little_gan:little",
        "data": {"source": "digits", "partition": "iid"},
        "batch": 2,
        "init": "own",
    }
    return from_mapping(raw | keys)


def read(states: dict) -> dict[str, np.ndarray]:
    """Every net's arenas, (K, length), in float64."""
    return {
        net: np.stack(
            [s.nets[net].arena.vector.double().numpy() for _, s in sorted(states.items())]
        )
        for net in NETS
    }


def after(experiment, states: dict) -> dict[str, np.ndarray]:
    drive(experiment, states, algorithms.find(experiment))
    return read(states)


def weights(peers: int, edges: list[list[int]], rule: str = "metropolis") -> np.ndarray:
    """a_lk from the neighbourhoods' sizes (each counts its own peer), rows l and columns k."""
    linked = np.eye(peers, dtype=bool)
    for one, other in edges:
        linked[one, other] = linked[other, one] = True
    sizes = linked.sum(axis=0)
    share = {
        "metropolis": 1 / np.maximum(sizes[:, None], sizes[None, :]),
        "uniform": np.broadcast_to(1 / sizes, (peers, peers)),
    }[rule]
    a = np.where(linked & ~np.eye(peers, dtype=bool), share, 0.0)
    return a + np.diag(1 - a.sum(axis=0))


def second_eigenpair(a: np.ndarray) -> tuple[float, np.ndarray]:
    """rho(A - 11^T/K), and the eigenvector that belongs to it."""
    values, vectors = np.linalg.eigh(a - 1 / len(a))
    largest = int(np.abs(values).argmax())
    return abs(float(values[largest])), vectors[:, largest]


def spread(w: np.ndarray) -> float:
    """The root of the disagreement: sqrt of (1/K) sum ||w_k - w_c||^2."""
    return float(np.sqrt(((w - w.mean(axis=0)) ** 2).sum(axis=1).mean()))


def drift(w: np.ndarray, start: np.ndarray) -> float:
    """How far the mean of all arenas has moved, relative to the largest parameter."""
    return float(np.abs(w.mean(axis=0) - start.mean(axis=0)).max() / np.abs(start).max())


def rounding(w: np.ndarray) -> float:
    """How far float32 can push the root disagreement of ``w`` in one combine.

    By the triangle inequality at most by sqrt((1/K) sum ||e_k||^2), e_k being what peer k rounds: a
    transfer from each of at most K - 1 neighbours is a difference, a product and a sum.
    """
    return 3 * (len(w) - 1) * ROUNDING * float(np.abs(w).max()) * np.sqrt(w.shape[1])


@st.composite
def connected_graphs(draw: st.DrawFn, most: int = 8) -> tuple[int, list[list[int]]]:
    """The number of peers and the links: a random tree, and more."""
    peers = draw(st.integers(2, most))
    tree = {(draw(st.integers(0, peer - 1)), peer) for peer in range(1, peers)}
    pairs = [(one, other) for other in range(peers) for one in range(other)]
    links = tree | draw(st.sets(st.sampled_from(pairs)))
    return peers, [list(link) for link in sorted(links)]


@settings(max_examples=25)
@given(
    graph=connected_graphs(),
    order=st.sampled_from(ORDERS),
    counts=st.sampled_from([{}, {"n_d": 2}, {"n_g": 3}, {"local_steps": 2}]),
    seed=st.integers(0, 2**16),
)
def test_any_graph_keeps_the_mean_and_contracts(graph, order, counts, seed) -> None:
    peers, edges = graph
    if order == "consensus":  # it takes one gradient, at the old point
        counts = {name: count for name, count in counts.items() if name != "local_steps"}
    algorithm = {"order": order, **counts}
    a = weights(peers, edges)
    lambda_2, _ = second_eigenpair(a)
    combines = {"discriminator": counts.get("n_d", 1), "generator": counts.get("n_g", 1)}
    states = make_states(experiment_of(peers, {"edges": edges}, 3, seed=seed, algorithm=algorithm))
    start = before = read(states)
    for rounds in (1, 2, 3):
        now = after(
            experiment_of(peers, {"edges": edges}, rounds, seed=seed, algorithm=algorithm), states
        )
        for net in NETS:
            assert drift(now[net], start[net]) < 1e-6
            power = lambda_2 ** combines[net]
            slack = combines[net] * rounding(before[net])
            assert spread(now[net]) <= power * spread(before[net]) + slack
            expected = np.linalg.matrix_power(a.T, rounds * combines[net]) @ start[net]
            np.testing.assert_allclose(now[net], expected, rtol=0, atol=1e-6)
        before = now
    assert spread(start["generator"]) > 0.1


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("family", "edges", "lambda_2"),
    [
        ("ring", [[k, (k + 1) % 5] for k in range(5)], 0.5393),
        ("path", [[k, k + 1] for k in range(4)], 0.8727),
        ("star", [[0, k] for k in range(1, 5)], 0.8),
    ],
)
def test_the_slowest_direction_contracts_by_lambda_2_squared(family, edges, lambda_2, order):
    """The bound is met: a disagreement along the second eigenvector shrinks by it, not by more."""
    found, direction = second_eigenpair(weights(5, edges))
    assert found == pytest.approx(lambda_2, abs=5e-5)
    states = make_states(experiment_of(5, family, 1, algorithm={"order": order}))
    centre = {net: w.mean(axis=0) for net, w in read(states).items()}
    for k, state in states.items():
        for net in NETS:
            point = torch.from_numpy(centre[net] * (1 + direction[k]))
            state.nets[net].arena.vector.copy_(point)
    start = before = read(states)
    for rounds in range(1, 5):
        now = after(experiment_of(5, family, rounds, algorithm={"order": order}), states)
        for net in NETS:
            ratio = spread(now[net]) ** 2 / spread(before[net]) ** 2
            assert ratio == pytest.approx(found**2, rel=2e-5)
            assert drift(now[net], start[net]) < 1e-6
        before = now


def test_the_mean_stays_over_a_hundred_combines() -> None:
    """Rounding that favoured one side would add up; antisymmetric transfers give it none."""
    experiment = experiment_of(6, {"edges": IRREGULAR}, 100)
    states = make_states(experiment)
    start = read(states)
    end = after(experiment, states)
    for net in NETS:
        assert drift(end[net], start[net]) < 1e-6
        assert spread(end[net]) < 1e-5 * spread(start[net])


def test_uniform_weights_move_the_mean_to_the_peers_with_many_links() -> None:
    """Why Metropolis weights are the default: plain averaging counts peer k n_k times."""
    edges = [[0, 1], [0, 2], [1, 2], [2, 3]]
    sizes = np.array([3.0, 3.0, 4.0, 2.0])  # n_k, counting k itself
    lambda_2, _ = second_eigenpair(weights(4, edges))
    rounds = 60
    assert lambda_2**rounds < 1e-7  # nothing is left of where each peer started
    ends = {}
    for rule in ("uniform", "metropolis"):
        experiment = experiment_of(4, {"edges": edges}, rounds, weights=rule)
        states = make_states(experiment)
        start = read(states)
        ends[rule] = after(experiment, states)
    for net in NETS:
        assert drift(ends["metropolis"][net], start[net]) < 1e-6
        assert drift(ends["uniform"][net], start[net]) > 0.01
        by_links, mean = sizes @ start[net] / sizes.sum(), start[net].mean(axis=0)
        for k in range(4):
            np.testing.assert_allclose(ends["uniform"][net][k], by_links, rtol=0, atol=1e-6)
            np.testing.assert_allclose(ends["metropolis"][net][k], mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_lost_exchanges_keep_the_mean(order: str) -> None:
    """A lost exchange is lost for both ends, and each keeps its weight: A stays symmetric."""
    algorithm = {"n_d": 2, "order": order}
    network = {"loss": 0.4}
    states = make_states(experiment_of(6, {"edges": IRREGULAR}, 10, algorithm=algorithm))
    start = read(states)
    lossy = experiment_of(6, {"edges": IRREGULAR}, 10, algorithm=algorithm, network=network)
    found = after(lossy, states)
    heard = experiment_of(6, {"edges": IRREGULAR}, 10, algorithm=algorithm)
    without_loss = after(heard, make_states(heard))
    for net in NETS:
        assert drift(found[net], start[net]) < 1e-6
        assert spread(without_loss[net]) < spread(found[net]) < 0.8 * spread(start[net])


def test_a_link_that_is_always_lost_leaves_its_weight_with_both_ends() -> None:
    """One combine on a path whose last link is dead, its weights written out."""
    a = np.array([[4, 2, 0, 0], [2, 2, 2, 0], [0, 2, 4, 0], [0, 0, 0, 6]]) / 6
    network = {"links": [{"between": [2, 3], "loss": 1.0}]}
    experiment = experiment_of(4, "path", 1, network=network)
    states = make_states(experiment)
    start = read(states)
    end = after(experiment, states)
    for net in NETS:
        np.testing.assert_allclose(end[net], a.T @ start[net], rtol=0, atol=2e-7)
        np.testing.assert_array_equal(end[net][3], start[net][3])
        assert drift(end[net], start[net]) < 1e-6


@pytest.mark.parametrize("rule", ["uniform", "metropolis"])
def test_one_combine_has_the_values_of_its_formula(rule: str) -> None:
    """w_k = sum over l of a_lk w_l, on a graph whose uniform weights are not symmetric."""
    experiment = experiment_of(6, {"edges": IRREGULAR}, 1, weights=rule)
    states = make_states(experiment)
    start = read(states)
    end = after(experiment, states)
    a = weights(6, IRREGULAR, rule)
    assert a[4, 5] == (0.25 if rule == "metropolis" else 0.5)
    for net in NETS:
        expected = np.stack([sum(a[j, k] * start[net][j] for j in range(6)) for k in range(6)])
        np.testing.assert_allclose(end[net], expected, rtol=0, atol=2e-7)
        assert np.abs(end[net] - start[net]).max() > 0.05

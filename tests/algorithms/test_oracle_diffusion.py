"""Diffusion, its two variants and local training against plain NumPy statements of their formulas.

The oracles were written from the papers' formulas, by somebody who had not read the code under
test. Everything in them is float64; gradients are derived by hand below and checked
against finite differences. From hearsay they take a peer's initial weights and its random draws.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from math import prod

import numpy as np
import pytest
import torch

import algorithms
from peer.experiment import from_mapping
from sim.runs.simulate import drive, make_states
from tests.algorithms.numpy_gan import (
    D_SHAPES,
    G_SHAPES,
    GAN,
    LOSSES,
    NETS,
    PIXELS,
    Array,
    Sgd,
    TinyGan,
    Z,
    flat64,
    parameters,
)
from topology.errors import UserError

TOLERANCE = 1e-6
"""Largest difference allowed, relative to the net's largest parameter.

float32 rounds to 6e-8. Each exchange rounds a parameter two or three times, at the update and at
the transfers from its neighbours; the gradient's own rounding is scaled down by the step size. The
longest run here makes 100 exchanges of D, and 300 independent roundings of at most 6e-8, uniformly
spread, have a standard deviation of 6e-7: measured are 1.4e-7 to 4.9e-7, and 6.6e-7 with Adam. A
wrong formula is off by more than 1e-3 (``test_the_oracle_tells_the_formulas_apart``).
"""

ROUNDS = 20
LR = 0.05
Weights = dict[str, Array]  # net -> (K, P), the row of peer k being its parameters

# --- graphs and weights, from the degrees ---------------------------------------------------------

IRREGULAR = [[0, 1], [1, 2], [2, 0], [2, 3], [3, 4], [2, 4], [4, 5]]
RING = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]
GRAPHS: dict[str, tuple[object, int, list[list[int]]]] = {
    "ring": ("ring", 5, RING),
    "path": ("path", 5, [[0, 1], [1, 2], [2, 3], [3, 4]]),
    "star": ("star", 5, [[0, 1], [0, 2], [0, 3], [0, 4]]),
    "complete": ("complete", 5, [[k, j] for k in range(5) for j in range(k)]),
    "irregular": ({"edges": IRREGULAR}, 6, IRREGULAR),
}
ORDERS = ("adapt-then-combine", "combine-then-adapt", "consensus")


def neighbourhoods(peers: int, edges: list[list[int]]) -> list[set[int]]:
    """N_k for every k, which counts k itself."""
    return [{k} | {a + b - k for a, b in edges if k in (a, b)} for k in range(peers)]


def metropolis(peers: int, edges: list[list[int]]) -> Array:
    """a_lk = 1/max(n_l, n_k) on links, what is left of a column on the diagonal; (K, K)."""
    near = neighbourhoods(peers, edges)
    a = np.zeros((peers, peers))
    for k in range(peers):
        for other in near[k] - {k}:
            a[other, k] = 1 / max(len(near[k]), len(near[other]))
        a[k, k] = 1 - a[:, k].sum()
    return a


def uniform(peers: int, edges: list[list[int]]) -> Array:
    """a_lk = 1/n_k for every l in N_k; (K, K)."""
    near = neighbourhoods(peers, edges)
    return np.array([[(j in near[k]) / len(near[k]) for k in range(peers)] for j in range(peers)])


def test_metropolis_weights_have_the_golden_values() -> None:
    ring, star, path = (metropolis(5, GRAPHS[name][2]) for name in ("ring", "star", "path"))
    np.testing.assert_allclose(ring[ring > 0], 1 / 3)
    np.testing.assert_allclose([star[0, 0], star[0, 3], star[3, 3]], [0.2, 0.2, 0.8])
    np.testing.assert_allclose([path[0, 0], path[0, 1], path[2, 2]], [2 / 3, 1 / 3, 1 / 3])
    for weights, expected in ((ring, 0.5393), (star, 0.8), (path, 0.8727)):
        lambda_2 = np.abs(np.linalg.eigvals(weights - 1 / 5)).max()
        assert lambda_2 == pytest.approx(expected, abs=5e-5)


# --- the gradients by hand ------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("net", NETS)
def test_gradients_by_hand_agree_with_finite_differences(loss: str, net: str) -> None:
    rng = np.random.default_rng(7)
    point = {
        "discriminator": 0.4 * rng.standard_normal(sum(map(prod, D_SHAPES))),
        "generator": 0.4 * rng.standard_normal(sum(map(prod, G_SHAPES))),
    }
    x, z = rng.uniform(-1, 1, (9, PIXELS)), rng.standard_normal((9, Z))
    gan, h = TinyGan(loss), 1e-5

    def value(at: Array) -> float:
        d, g = ({**point, net: at}[name] for name in NETS)
        return gan.objective(net, d, g, x, z)

    found = gan.gradient(net, point["discriminator"], point["generator"], x, z)
    units = np.eye(point[net].size)
    expected = [(value(point[net] + h * u) - value(point[net] - h * u)) / (2 * h) for u in units]
    assert np.abs(found).max() > 1e-2
    # Central differences err by h^2/6 times a third derivative, and by 1e-16/h: 1e-10 each.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-9)


# --- a GAN of hearsay's own, differentiated by torch in float64 -----------------------------------


class DigitsGan:
    """mlp-digits stated again: three layers each, leaky ReLU 0.2, tanh after G."""

    G_SHAPES = ((128, 32), (128,), (128, 128), (128,), (64, 128), (64,))
    D_SHAPES = ((128, 64), (128,), (128, 128), (128,), (1, 128), (1,))

    @staticmethod
    def _layers(vector: torch.Tensor, shapes: tuple[tuple[int, ...], ...], x: torch.Tensor):
        parts = vector.split([*map(prod, shapes)])
        tensors = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        for layer in range(3):
            x = x @ tensors[2 * layer].T + tensors[2 * layer + 1]
            if layer < 2:
                x = torch.where(x > 0, x, 0.2 * x)
        return x

    def gradient(self, net: str, d: Array, g: Array, x: Array | None, z: Array) -> Array:
        """The gradient of J^D or J^G with ``bce_ns``, (P,)."""
        own = {"discriminator": torch.tensor(d), "generator": torch.tensor(g)}
        own[net].requires_grad_()
        fakes = torch.tanh(self._layers(own["generator"], self.G_SHAPES, torch.tensor(z)))
        of_fakes = self._layers(own["discriminator"], self.D_SHAPES, fakes)
        if net == "generator":
            loss = -torch.log(torch.sigmoid(of_fakes)).mean()
        else:
            of_real = self._layers(own["discriminator"], self.D_SHAPES, torch.tensor(x))
            loss = -torch.log(torch.sigmoid(of_real)).mean()
            loss = loss - torch.log(1 - torch.sigmoid(of_fakes)).mean()
        (gradient,) = torch.autograd.grad(loss, own[net])
        return gradient.numpy()


# --- optimizers -----------------------------------------------------------------------------------


class Adam:
    """Kingma & Ba 2015, Algorithm 1."""

    def __init__(self, lr: float, betas: tuple[float, float], eps: float) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.t, self.m, self.v = 0, 0.0, 0.0

    def __call__(self, gradient: Array) -> Array:
        """The step that is added to the parameters."""
        b1, b2 = self.betas
        self.t += 1
        self.m = b1 * self.m + (1 - b1) * gradient
        self.v = b2 * self.v + (1 - b2) * gradient**2
        m_hat, v_hat = self.m / (1 - b1**self.t), self.v / (1 - b2**self.t)
        return -self.lr * m_hat / (np.sqrt(v_hat) + self.eps)


# --- the formulas ---------------------------------------------------------------------------------

Move = Callable[[int, Array], Array]  # (k, where) -> what peer k's local step adds, starting there


def combine(a: Array, w: Array) -> Array:
    """Row k of the result is sum over l of a_lk w_l, term by term; (K, P)."""
    peers = range(len(w))
    return np.stack([sum(a[other, k] * w[other] for other in peers) for k in peers])


def adapt_then_combine(a: Array, w: Array, move: Move) -> Array:
    """phi_k = w_k - mu grad J_k(w_k); w_k = sum a_lk phi_l (paper 002, 10a and 10b)."""
    phi = np.stack([w[k] + move(k, w[k]) for k in range(len(w))])
    return combine(a, phi)


def combine_then_adapt(a: Array, w: Array, move: Move) -> Array:
    """psi_k = sum a_lk w_l; w_k = psi_k - mu grad J_k(psi_k)."""
    psi = combine(a, w)
    return np.stack([psi[k] + move(k, psi[k]) for k in range(len(w))])


def consensus(a: Array, w: Array, move: Move) -> Array:
    """w_k = sum a_lk w_l - mu grad J_k(w_k)."""
    return combine(a, w) + np.stack([move(k, w[k]) for k in range(len(w))])


def alone(a: Array, w: Array, move: Move) -> Array:
    """w_k = w_k - mu grad J_k(w_k): A = I."""
    return np.stack([w[k] + move(k, w[k]) for k in range(len(w))])


FORMULAS = dict(zip(ORDERS, (adapt_then_combine, combine_then_adapt, consensus), strict=True))


def oracle(
    exchange: Callable[[Array, Array, Move], Array],
    a: Array,
    start: Weights,
    twins: dict,
    gan: TinyGan | DigitsGan,
    *,
    rounds: int = ROUNDS,
    n_d: int = 1,
    n_g: int = 1,
    local_steps: int = 1,
    optimizer: Callable[[], Callable[[Array], Array]] = lambda: Sgd(LR),
    stale_opponent: bool = False,
) -> Weights:
    """Algorithm 1 of paper 002 with ``exchange`` for its two lines; the weights after ``rounds``.

    ``twins`` are states of the same peers: every gradient takes the next batch of its peer.
    ``stale_opponent`` is a mutant: G then learns from the D of the round before.
    """
    w = {net: values.copy() for net, values in start.items()}
    steppers = {net: [optimizer() for _ in twins] for net in NETS}
    for _ in range(rounds):
        opponents = dict(w)
        for net, repeats in (("discriminator", n_d), ("generator", n_g)):

            def move(k: int, where: Array, net: str = net, opponents: Weights = opponents) -> Array:
                here = where
                for _ in range(local_steps):
                    batch = twins[k].draw_batch(sees_data=net == "discriminator")
                    x = None if batch.real is None else flat64(batch.real)
                    d, g = (here if name == net else opponents[name][k] for name in NETS)
                    gradient = gan.gradient(net, d, g, x, flat64(batch.z))
                    here = here + steppers[net][k](gradient)
                return here - where

            for _ in range(repeats):
                w[net] = exchange(a, w[net], move)
            if not stale_opponent:
                opponents = dict(w)
    return w


# --- hearsay's side -------------------------------------------------------------------------------


def experiment_of(graph: str, algorithm: dict, **keys: object):
    """An experiment with the tiny GAN on one of ``GRAPHS``; ``keys`` replace its own."""
    given, peers, _ = GRAPHS[graph]
    raw = {
        "peers": peers,
        "graph": given,
        "algorithm": {"name": "diffusion", "rounds": ROUNDS, **algorithm},
        "optimizer": {"name": "sgd", "lr": LR},
        "gan": GAN,
        "data": {"source": "digits", "partition": "pairs"},
        "batch": 16,
        "init": "own",
        "seed": 3,
    }
    return from_mapping(raw | keys)


def read(states: dict) -> Weights:
    """Every peer's parameters in float64."""
    peers = sorted(states)
    return {net: np.stack([parameters(states[k], net) for k in peers]) for net in NETS}


def run(experiment) -> Weights:
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    return read(states)


def expect(experiment, exchange, a: Array, gan=None, **settings) -> Weights:
    """What ``oracle`` says of the experiment."""
    twins = make_states(experiment)
    return oracle(exchange, a, read(twins), twins, gan or TinyGan("bce_ns"), **settings)


def distance(found: Weights, expected: Weights) -> float:
    """The largest difference of any parameter, relative to its net's largest."""
    return max(
        np.abs(found[net] - expected[net]).max() / np.abs(expected[net]).max() for net in NETS
    )


def assert_same(found: Weights, expected: Weights, start: Weights) -> None:
    assert distance(found, expected) < TOLERANCE
    assert distance(start, expected) > 0.01  # training went somewhere, for both to agree on
    for net in NETS:
        assert np.abs(found[net] - start[net]).max() > 0.005


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_orders_on_five_graphs(graph: str, order: str) -> None:
    experiment = experiment_of(graph, {"order": order})
    a = metropolis(*GRAPHS[graph][1:])
    expected = expect(experiment, FORMULAS[order], a)
    assert_same(run(experiment), expected, read(make_states(experiment)))


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss: str) -> None:
    experiment = experiment_of("irregular", {}, loss=loss)
    a = metropolis(*GRAPHS["irregular"][1:])
    expected = expect(experiment, adapt_then_combine, a, TinyGan(loss))
    assert_same(run(experiment), expected, read(make_states(experiment)))


@pytest.mark.parametrize("graph", ["star", "irregular"])
def test_uniform_weights(graph: str) -> None:
    experiment = experiment_of(graph, {}, weights="uniform")
    a = uniform(*GRAPHS[graph][1:])
    expected = expect(experiment, adapt_then_combine, a)
    assert_same(run(experiment), expected, read(make_states(experiment)))
    for wrong in (a.T, metropolis(*GRAPHS[graph][1:])):
        assert distance(expect(experiment, adapt_then_combine, wrong), expected) > 1000 * TOLERANCE


@pytest.mark.parametrize(
    ("n_d", "n_g", "order"),
    [
        (5, 1, "adapt-then-combine"),  # the paper's own counts
        (1, 2, "adapt-then-combine"),
        (2, 3, "combine-then-adapt"),
        (3, 2, "consensus"),
    ],
)
def test_several_exchanges_a_round(n_d: int, n_g: int, order: str) -> None:
    counts = {"n_d": n_d, "n_g": n_g}
    experiment = experiment_of("path", {"order": order, **counts}, init="shared")
    a = metropolis(*GRAPHS["path"][1:])
    expected = expect(experiment, FORMULAS[order], a, **counts)
    assert_same(run(experiment), expected, read(make_states(experiment)))


def test_consensus_takes_one_local_step() -> None:
    """Its formula has one gradient, at the old point; with more it would be another algorithm."""
    with pytest.raises(UserError, match="consensus"):
        algorithms.find(experiment_of("ring", {"order": "consensus", "local_steps": 2}))


@pytest.mark.parametrize("order", ["adapt-then-combine", "combine-then-adapt"])
def test_several_local_steps(order: str) -> None:
    counts = {"n_d": 1, "n_g": 1, "local_steps": 3}
    experiment = experiment_of("star", {"order": order, **counts})
    a = metropolis(*GRAPHS["star"][1:])
    expected = expect(experiment, FORMULAS[order], a, **counts)
    assert_same(run(experiment), expected, read(make_states(experiment)))


@pytest.mark.parametrize("counts", [{}, {"n_d": 2, "local_steps": 2}])
def test_local_training(counts: dict[str, int]) -> None:
    experiment = experiment_of("ring", {"name": "local", **counts})
    expected = expect(experiment, alone, np.eye(5), **counts)
    assert_same(run(experiment), expected, read(make_states(experiment)))


@pytest.mark.parametrize("order", ORDERS)
def test_every_round_on_the_way(order: str) -> None:
    experiment = experiment_of("ring", {"order": order})
    twins, states = make_states(experiment), make_states(experiment)
    a, expected = metropolis(5, RING), read(twins)
    for end in range(1, ROUNDS + 1):
        program = algorithms.find(experiment_of("ring", {"order": order, "rounds": end}))
        drive(experiment, states, program)
        expected = oracle(FORMULAS[order], a, expected, twins, TinyGan("bce_ns"), rounds=1)
        assert distance(read(states), expected) < TOLERANCE, f"round {end}"
        assert {state.round for state in states.values()} == {end}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("settings", "stepper"),
    [
        pytest.param(
            {"name": "sgd", "lr": 0.02, "momentum": 0.9}, partial(Sgd, 0.02, 0.9), id="momentum"
        ),
        pytest.param(
            # A gradient near zero is mostly rounding, and with the usual eps of 1e-8 Adam would
            # make a whole step of it: 1e-4 keeps what is compared well-conditioned.
            {"name": "adam", "lr": 0.002, "betas": [0.5, 0.99], "eps": 1e-4},
            partial(Adam, 0.002, (0.5, 0.99), 1e-4),
            id="adam",
        ),
    ],
)
def test_optimizers_with_memory(settings: dict, stepper: Callable, order: str) -> None:
    experiment = experiment_of("star", {"order": order}, optimizer=settings)
    a = metropolis(*GRAPHS["star"][1:])
    expected = expect(experiment, FORMULAS[order], a, optimizer=stepper)
    assert_same(run(experiment), expected, read(make_states(experiment)))


def test_the_built_in_digits_gan() -> None:
    experiment = experiment_of("ring", {}, gan="mlp-digits")
    state = make_states(experiment)[0]
    for net, shapes in (("generator", DigitsGan.G_SHAPES), ("discriminator", DigitsGan.D_SHAPES)):
        assert tuple(slot.shape for slot in state.nets[net].arena.layout.slots) == shapes
    expected = expect(experiment, adapt_then_combine, metropolis(5, RING), DigitsGan())
    assert_same(run(experiment), expected, read(make_states(experiment)))


# --- what the oracle would notice -----------------------------------------------------------------


def combine_without_adapting(a: Array, w: Array, move: Move) -> Array:
    """Mutant: neighbours are sent w instead of phi (a published library's adapt-then-combine)."""
    phi = alone(a, w, move)
    return combine(a, w) + np.diag(a)[:, None] * (phi - w)


def one_after_the_other(a: Array, w: Array, move: Move) -> Array:
    """Mutant: Algorithm 1 read literally, peer k combining before later peers have adapted."""
    phi, new = w.copy(), w.copy()
    for k in range(len(w)):
        phi[k] = w[k] + move(k, w[k])
        new[k] = combine(a, phi)[k]
    return new


def combine_twice(a: Array, w: Array, move: Move) -> Array:
    """Mutant: one combine too many."""
    return combine(a, adapt_then_combine(a, w, move))


MUTANTS = {
    **FORMULAS,
    "alone": alone,
    "without adapting": combine_without_adapting,
    "one after the other": one_after_the_other,
    "combine twice": combine_twice,
    "without training": lambda a, w, move: combine(a, w),
}


@pytest.fixture(scope="module")
def stated() -> dict[str, Weights]:
    """What every formula and mutant says of one experiment."""
    experiment, a = experiment_of("irregular", {}), metropolis(*GRAPHS["irregular"][1:])
    results = {name: expect(experiment, exchange, a) for name, exchange in MUTANTS.items()}
    results["stale opponent"] = expect(experiment, adapt_then_combine, a, stale_opponent=True)
    return results


def test_the_oracle_tells_the_formulas_apart(stated: dict[str, Weights]) -> None:
    for one, other in combinations(stated, 2):
        assert distance(stated[one], stated[other]) > 1000 * TOLERANCE, (one, other)


@pytest.mark.parametrize("order", ORDERS)
def test_a_run_agrees_with_no_other_formula(order: str, stated: dict[str, Weights]) -> None:
    found = run(experiment_of("irregular", {"order": order}))
    off = {name: distance(found, weights) for name, weights in stated.items()}
    assert off.pop(order) < TOLERANCE
    assert min(off.values()) > 1000 * TOLERANCE

"""DPOSG and DSS-OG against plain NumPy statements of their formulas.

Both take the gradients of D and G at one point and lean against the turn that such steps make.
DPOSG (Liu et al., "A Decentralized Parallel Algorithm for Training Generative Adversarial Nets",
NeurIPS 2020) does so by a step with the last gradient before the new one is taken, DSS-OG (Cai,
Alghunaim, Sayed, arXiv:2401.14585) by 2 g(w(i-1)) - g(w(i-2)) on one sample.

The oracles were written from the papers' formulas, by somebody who had not read the code under
test. Everything in them is float64; the GAN is differentiated by hand (``numpy_gan.py``), and from
hearsay come a peer's initial weights and its random draws alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, islice
from typing import Any, Protocol

import numpy as np
import pytest
import torch

import algorithms
from peer.experiment import Experiment, from_mapping
from peer.state import PeerState
from sim.runs.simulate import drive, make_states
from tests.algorithms.numpy_gan import GAN, LOSSES, NETS, Array, TinyGan, flat64
from tests.algorithms.test_oracle_diffusion import (
    GRAPHS,
    RING,
    TOLERANCE,
    Weights,
    assert_same,
    combine,
    distance,
    metropolis,
    read,
    uniform,
)
from topology.errors import UserError

ROUNDS = 20
RATES = {"discriminator": 0.08, "generator": 0.03}  # unequal: a swap of the two is to be seen

Point = dict[str, Array]  # net -> (P,), of one peer
Rate = Callable[[str, int], float]  # (net, rounds completed) -> step size


def constant(net: str, _: int) -> float:
    return RATES[net]


# --- games: what is drawn, and the gradients of (L_D, L_G) at one point ---------------------------


class Game(Protocol):
    """One sample of peer k, and both gradients on it; each net makes its own loss small."""

    def draw(self, k: int) -> Any: ...

    def gradients(self, at: Point, sample: Any) -> Point: ...


class GanGame:
    """The tiny GAN: a sample is (real images, z), and one z serves D and G."""

    def __init__(self, twins: dict[int, PeerState], loss: str = "bce_ns") -> None:
        self.twins, self.gan = twins, TinyGan(loss)

    def draw(self, k: int) -> tuple[Array, Array]:
        batch = self.twins[k].draw_batch(sees_data=True)
        assert batch.real is not None
        assert batch.z is not None
        return flat64(batch.real), flat64(batch.z)

    def gradients(self, at: Point, sample: tuple[Array, Array]) -> Point:
        d, g = (at[net] for net in NETS)
        return {net: self.gan.gradient(net, d, g, *sample) for net in NETS}


class Bilinear:
    """L_G = x y and L_D = -x y, x being G's only parameter and y D's: nothing is drawn."""

    def draw(self, k: int) -> None:
        return None

    def gradients(self, at: Point, sample: None) -> Point:
        return {"generator": at["discriminator"], "discriminator": -at["generator"]}


class Slope:
    """Gradients that are the same everywhere."""

    def draw(self, k: int) -> int:
        return k

    def gradients(self, at: Point, sample: int) -> Point:
        return {"generator": np.array([1.0 + sample]), "discriminator": np.array([2.0 - sample])}


def draw_all(game: Game, w: Weights) -> list[Any]:
    """One sample a peer."""
    return [game.draw(k) for k in range(len(w["generator"]))]


def gradients_at(game: Game, w: Weights, samples: list[Any]) -> Weights:
    """Both gradients of every peer at its own point; (K, P) a net."""
    peers = range(len(samples))
    found = [game.gradients({net: w[net][k] for net in NETS}, samples[k]) for k in peers]
    return {net: np.stack([of_peer[net] for of_peer in found]) for net in NETS}


def mixed(a: Array, w: Weights, times: int = 1) -> Weights:
    """X W^t: ``times`` combinations of both nets."""
    for _ in range(times):
        w = {net: combine(a, w[net]) for net in NETS}
    return w


def moved(w: Weights, g: Weights, rate: Rate, k: int) -> Weights:
    """w - eta g, each net with its own step size."""
    return {net: w[net] - rate(net, k) * g[net] for net in NETS}


# --- the formulas: the weights after every round --------------------------------------------------


def dposg(game: Game, a: Array, x: Weights, rate: Rate = constant, t: int = 1) -> Iterator[Weights]:
    """Z_k = X_k-1 W^t - eta g(xi_k-1, Z_k-1); X_k = X_k-1 W^t - eta g(xi_k, Z_k); Z_0 = X_0."""
    g = gradients_at(game, x, draw_all(game, x))
    k = 0
    while True:
        p = mixed(a, x, t)
        z = moved(p, g, rate, k)
        g = gradients_at(game, z, draw_all(game, x))
        x = moved(p, g, rate, k)
        k += 1
        yield x


def dss_og(game: Game, a: Array, w: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """phi = w(i-1) - mu [2 g(w(i-1); xi_i) - g(w(i-2); xi_i)]; w_k(i) = sum over l of a_lk phi_l.

    At the start, w(-1) = w(0).
    """
    before, i = w, 0
    while True:
        samples = draw_all(game, w)
        old, new = gradients_at(game, before, samples), gradients_at(game, w, samples)
        phi = moved(w, {net: 2 * new[net] - old[net] for net in NETS}, rate, i)
        before, w = w, mixed(a, phi)
        i += 1
        yield w


def after(rounds: int, course: Iterator[Weights]) -> Weights:
    """The weights after so many rounds, at least one."""
    return next(islice(course, rounds - 1, None))


# --- the formulas themselves, on games whose answers are known ------------------------------------


def one_peer(x: float, y: float) -> Weights:
    return {"generator": np.array([[x]]), "discriminator": np.array([[y]])}


ALONE = np.eye(1)


def tenth(net: str, k: int) -> float:
    return 0.1


def plain(game: Game, a: Array, w: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Both nets' plain gradients at once, then combine: what the two systems add their turn to."""
    k = 0
    while True:
        phi = moved(w, gradients_at(game, w, draw_all(game, w)), rate, k)
        w = mixed(a, phi)
        k += 1
        yield w


def consensus(game: Game, a: Array, w: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """X_k = X_k-1 W - eta g(xi_k, X_k-1): DPOSG without the look ahead."""
    k = 0
    while True:
        g = gradients_at(game, w, draw_all(game, w))
        w = moved(mixed(a, w), g, rate, k)
        k += 1
        yield w


@pytest.mark.parametrize(
    ("formula", "golden"),
    [
        (dposg, [(0.89, 1.09), (0.772, 1.168)]),
        (dss_og, [(0.9, 1.1), (0.78, 1.18), (0.654, 1.246)]),
    ],
)
def test_first_rounds_of_one_peer_by_hand(formula: Any, golden: list[tuple[float, float]]) -> None:
    course = formula(Bilinear(), ALONE, one_peer(1, 1), tenth)
    for (x, y), w in zip(golden, course, strict=False):
        assert w["generator"][0, 0] == pytest.approx(x, abs=1e-12)
        assert w["discriminator"][0, 0] == pytest.approx(y, abs=1e-12)


@pytest.mark.parametrize("formula", [dposg, dss_og])
def test_on_x_y_they_spiral_in_where_plain_descent_spirals_out(formula: Any) -> None:
    a = metropolis(5, RING)
    rng = np.random.default_rng(5)
    start = {net: rng.uniform(0.5, 1.5, (5, 1)) for net in NETS}

    def radius(w: Weights) -> float:
        return float(np.hypot(w["generator"], w["discriminator"]).mean())

    out = after(400, plain(Bilinear(), a, start, tenth))
    near = after(400, formula(Bilinear(), a, start, tenth))
    assert radius(out) > 5 * radius(start)  # grows by sqrt(1 + 0.01) a round
    assert radius(near) < 0.2 * radius(start)  # shrinks by about 1 - 0.01 / 2 a round
    assert all(np.ptp(near[net]) < 1e-3 for net in NETS)  # and the peers agree


@pytest.mark.parametrize(("formula", "same"), [(dposg, consensus), (dss_og, plain)])
def test_with_constant_gradients_nothing_is_left_of_the_turn(formula: Any, same: Any) -> None:
    a = metropolis(5, RING)
    rng = np.random.default_rng(6)
    start = {net: rng.standard_normal((5, 1)) for net in NETS}
    found, expected = (after(7, each(Slope(), a, start)) for each in (formula, same))
    for net in NETS:
        np.testing.assert_allclose(found[net], expected[net], rtol=0, atol=1e-12)


# --- hearsay's side -------------------------------------------------------------------------------


def experiment_of(name: str, algorithm: dict[str, Any], **keys: Any) -> Experiment:
    """An experiment with the tiny GAN on one of ``GRAPHS``; ``keys`` replace its own."""
    given, peers, _ = GRAPHS[name]
    raw = {
        "peers": peers,
        "graph": given,
        "algorithm": {"rounds": ROUNDS, **algorithm},
        "optimizer": {net: {"name": "sgd", "lr": lr} for net, lr in RATES.items()},
        "gan": GAN,
        "data": {"source": "digits", "partition": "pairs"},
        "batch": 16,
        "init": "own",
        "seed": 3,
    }
    return from_mapping(raw | keys)


DPOSG = {"name": "dposg"}
DSS_OG = {"name": "dss_og"}
SYSTEMS = [pytest.param(DPOSG, dposg, id="dposg"), pytest.param(DSS_OG, dss_og, id="dss_og")]


def run(experiment: Experiment) -> dict[int, PeerState]:
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    return states


def expect(
    experiment: Experiment, formula: Any, a: Array, loss: str = "bce_ns", **settings: Any
) -> Weights:
    """What the oracle says of the experiment."""
    twins = make_states(experiment)
    return after(ROUNDS, formula(GanGame(twins, loss), a, read(twins), **settings))


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "formula"), SYSTEMS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_on_five_graphs(graph: str, algorithm: dict[str, Any], formula: Any) -> None:
    experiment = experiment_of(graph, algorithm)
    expected = expect(experiment, formula, metropolis(*GRAPHS[graph][1:]))
    assert_same(read(run(experiment)), expected, read(make_states(experiment)))


@pytest.mark.parametrize(("algorithm", "formula"), SYSTEMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss: str, algorithm: dict[str, Any], formula: Any) -> None:
    experiment = experiment_of("irregular", algorithm, loss=loss)
    expected = expect(experiment, formula, metropolis(*GRAPHS["irregular"][1:]), loss)
    assert_same(read(run(experiment)), expected, read(make_states(experiment)))


@pytest.mark.parametrize("mixings", [2, 3])
def test_several_mixings_a_round(mixings: int) -> None:
    experiment = experiment_of("path", DPOSG | {"mixings": mixings})
    expected = expect(experiment, dposg, metropolis(*GRAPHS["path"][1:]), t=mixings)
    assert_same(read(run(experiment)), expected, read(make_states(experiment)))


@pytest.mark.parametrize(("algorithm", "formula"), SYSTEMS)
def test_weights_that_are_not_symmetric(algorithm: dict[str, Any], formula: Any) -> None:
    experiment = experiment_of("irregular", algorithm, weights="uniform")
    a = uniform(*GRAPHS["irregular"][1:])
    expected = expect(experiment, formula, a)
    assert_same(read(run(experiment)), expected, read(make_states(experiment)))
    assert distance(expect(experiment, formula, a.T), expected) > 1000 * TOLERANCE


@pytest.mark.parametrize(("algorithm", "formula"), SYSTEMS)
def test_one_rate_for_both_nets_and_equal_first_weights(
    algorithm: dict[str, Any], formula: Any
) -> None:
    experiment = experiment_of(
        "star", algorithm, optimizer={"name": "sgd", "lr": 0.05}, init="shared"
    )
    a = metropolis(*GRAPHS["star"][1:])
    expected = expect(experiment, formula, a, rate=lambda net, k: 0.05)
    assert_same(read(run(experiment)), expected, read(make_states(experiment)))


@pytest.mark.parametrize(("algorithm", "formula"), SYSTEMS)
def test_a_rate_that_changes_from_round_to_round(algorithm: dict[str, Any], formula: Any) -> None:
    warmup = 4
    rates = {
        net: {"name": "sgd", "lr": lr, "schedule": "linear", "warmup": warmup}
        for net, lr in RATES.items()
    }

    def rate(net: str, k: int) -> float:
        rising, falling = (k + 1) / warmup, (ROUNDS - k) / (ROUNDS - warmup)
        return RATES[net] * (rising if k < warmup else falling)

    experiment = experiment_of("ring", algorithm, optimizer=rates)
    expected = expect(experiment, formula, metropolis(5, RING), rate=rate)
    assert_same(read(run(experiment)), expected, read(make_states(experiment)))
    assert distance(expect(experiment, formula, metropolis(5, RING)), expected) > 1000 * TOLERANCE


@pytest.mark.parametrize(("algorithm", "formula"), SYSTEMS)
def test_every_round_on_the_way(algorithm: dict[str, Any], formula: Any) -> None:
    """Each round goes on from states that know nothing but what they kept."""
    experiment = experiment_of("ring", algorithm)
    twins, states = make_states(experiment), make_states(experiment)
    course = formula(GanGame(twins), metropolis(5, RING), read(twins))
    for end, expected in zip(range(1, ROUNDS + 1), course, strict=False):
        program = algorithms.find(experiment_of("ring", algorithm | {"rounds": end}))
        drive(experiment, states, program)
        assert distance(read(states), expected) < TOLERANCE, f"round {end}"
        assert {state.round for state in states.values()} == {end}


@pytest.mark.parametrize(("algorithm", "formula"), SYSTEMS)
def test_a_peer_alone(algorithm: dict[str, Any], formula: Any) -> None:
    """K = 1: optimistic gradient descent ascent, and nobody to talk to."""
    experiment = experiment_of(
        "ring", algorithm, peers=1, graph="complete", data={"source": "digits", "partition": "all"}
    )
    expected = expect(experiment, formula, ALONE)
    assert_same(read(run(experiment)), expected, read(make_states(experiment)))


@pytest.mark.parametrize(
    ("algorithm", "samples"),
    [
        pytest.param(DPOSG, ROUNDS + 1, id="dposg"),  # xi_0 to xi_k
        pytest.param(DPOSG | {"mixings": 2}, ROUNDS + 1, id="dposg, two mixings"),
        pytest.param(DSS_OG, ROUNDS, id="dss_og"),  # both gradients of a round are on one
    ],
)
def test_one_sample_a_round(algorithm: dict[str, Any], samples: int) -> None:
    experiment = experiment_of("ring", algorithm)
    states, twins = run(experiment), make_states(experiment)
    for k, twin in twins.items():
        for _ in range(samples):
            twin.draw_batch(sees_data=True)
        found, expected = (s.draw_batch(sees_data=True) for s in (states[k], twin))
        for name in ("real", "z"):
            one, other = getattr(found, name), getattr(expected, name)
            assert torch.equal(one, other), (k, name)


@pytest.mark.parametrize("algorithm", [DPOSG, DSS_OG], ids=["dposg", "dss_og"])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "adam", "lr": 0.001},
        {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        {"name": "sgd", "lr": 0.05, "weight_decay": 0.1},
        {
            "generator": {"name": "sgd", "lr": 0.05},
            "discriminator": {"name": "rmsprop", "lr": 0.001},
        },
    ],
    ids=["adam", "momentum", "weight decay", "one of the two"],
)
def test_their_step_is_plain_sgd(algorithm: dict[str, Any], optimizer: dict[str, Any]) -> None:
    """Their formulas have the step in them, so another optimizer would be another algorithm."""
    with pytest.raises(UserError, match="sgd"):
        run(experiment_of("ring", algorithm, optimizer=optimizer))


# --- what the oracle would notice -----------------------------------------------------------------


def from_z(game: Game, a: Array, x: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DPOSG: the second step starts at Z_k, not at X_k-1 W."""
    g = gradients_at(game, x, draw_all(game, x))
    k = 0
    while True:
        z = moved(mixed(a, x), g, rate, k)
        g = gradients_at(game, z, draw_all(game, x))
        x = moved(z, g, rate, k)
        k += 1
        yield x


def two_fresh(game: Game, a: Array, x: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DPOSG: the look ahead takes a gradient of its own (extragradient)."""
    k = 0
    while True:
        p = mixed(a, x)
        z = moved(p, gradients_at(game, x, draw_all(game, x)), rate, k)
        x = moved(p, gradients_at(game, z, draw_all(game, x)), rate, k)
        k += 1
        yield x


def gradient_at_x(game: Game, a: Array, x: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DPOSG: what is kept is the gradient at X_k, on the sample that g(Z_k) was on."""
    samples = draw_all(game, x)
    k = 0
    while True:
        p = mixed(a, x)
        z = moved(p, gradients_at(game, x, samples), rate, k)
        samples = draw_all(game, x)
        x = moved(p, gradients_at(game, z, samples), rate, k)
        k += 1
        yield x


def looks_from_unmixed(
    game: Game, a: Array, x: Weights, rate: Rate = constant
) -> Iterator[Weights]:
    """Mutant of DPOSG: Z_k = X_k-1 - eta g, without W."""
    g = gradients_at(game, x, draw_all(game, x))
    k = 0
    while True:
        z = moved(x, g, rate, k)
        g = gradients_at(game, z, draw_all(game, x))
        x = moved(mixed(a, x), g, rate, k)
        k += 1
        yield x


def adapts_then_mixes(game: Game, a: Array, x: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DPOSG: X_k = (X_k-1 - eta g(xi_k, Z_k)) W."""
    g = gradients_at(game, x, draw_all(game, x))
    k = 0
    while True:
        g = gradients_at(game, moved(mixed(a, x), g, rate, k), draw_all(game, x))
        x = mixed(a, moved(x, g, rate, k))
        k += 1
        yield x


def without_first_gradient(
    game: Game, a: Array, x: Weights, rate: Rate = constant
) -> Iterator[Weights]:
    """Mutant of DPOSG: g_0 = 0, so that the first round draws one sample only."""
    g = {net: np.zeros_like(x[net]) for net in NETS}
    k = 0
    while True:
        p = mixed(a, x)
        g = gradients_at(game, moved(p, g, rate, k), draw_all(game, x))
        x = moved(p, g, rate, k)
        k += 1
        yield x


def two_mixings(game: Game, a: Array, x: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DPOSG: one combination too many."""
    return dposg(game, a, x, rate, t=2)


def old_sample(game: Game, a: Array, w: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DSS-OG: g(w(i-2)) is the gradient kept from the round before, on its sample."""
    old, i = None, 0
    while True:
        new = gradients_at(game, w, draw_all(game, w))
        old = new if old is None else old
        w = mixed(a, moved(w, {net: 2 * new[net] - old[net] for net in NETS}, rate, i))
        old = new
        i += 1
        yield w


def old_phi(game: Game, a: Array, w: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DSS-OG: the older point is phi(i-1), before combining."""
    before, phi, i = w, w, 0
    while True:
        samples = draw_all(game, w)
        old, new = gradients_at(game, before, samples), gradients_at(game, w, samples)
        before, phi = phi, moved(w, {net: 2 * new[net] - old[net] for net in NETS}, rate, i)
        w = mixed(a, phi)
        i += 1
        yield w


def combines_first(game: Game, a: Array, w: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DSS-OG: w(i) = sum over l of a_lk w_l(i-1) - mu [...], consensus's form."""
    before, i = w, 0
    while True:
        samples = draw_all(game, w)
        old, new = gradients_at(game, before, samples), gradients_at(game, w, samples)
        turn = {net: 2 * new[net] - old[net] for net in NETS}
        before, w = w, moved(mixed(a, w), turn, rate, i)
        i += 1
        yield w


def the_other_way(game: Game, a: Array, w: Weights, rate: Rate = constant) -> Iterator[Weights]:
    """Mutant of DSS-OG: 2 g(w(i-2)) - g(w(i-1))."""
    before, i = w, 0
    while True:
        samples = draw_all(game, w)
        old, new = gradients_at(game, before, samples), gradients_at(game, w, samples)
        phi = moved(w, {net: 2 * old[net] - new[net] for net in NETS}, rate, i)
        before, w = w, mixed(a, phi)
        i += 1
        yield w


def one_after_the_other(
    game: Game, a: Array, w: Weights, rate: Rate = constant
) -> Iterator[Weights]:
    """Mutant of DSS-OG: G's gradients are taken after D's step, against the D that it made."""
    before, i = w, 0
    while True:
        samples = draw_all(game, w)
        now, then = dict(w), dict(before)
        for net in ("discriminator", "generator"):
            old, new = (gradients_at(game, at, samples)[net] for at in (then, now))
            then[net] = now[net]
            now[net] = now[net] - rate(net, i) * (2 * new - old)
        before, w = w, mixed(a, now)
        i += 1
        yield w


def rates_swapped(net: str, k: int) -> float:
    return RATES[next(other for other in NETS if other != net)]


class OwnNoise(GanGame):
    """Mutant of both: G's gradient is on a z of its own."""

    def draw(self, k: int) -> Any:
        x, z = super().draw(k)
        return x, z, flat64(self.twins[k].draw_noise(len(z)))

    def gradients(self, at: Point, sample: Any) -> Point:
        x, z, other = sample
        of_g = super().gradients(at, (x, other))["generator"]
        return {"discriminator": super().gradients(at, (x, z))["discriminator"], "generator": of_g}


FORMULAS: dict[str, Any] = {
    "dposg": dposg,
    "dss_og": dss_og,
    "plain": plain,
    "consensus": consensus,
    "from z": from_z,
    "two fresh": two_fresh,
    "gradient at x": gradient_at_x,
    "looks from unmixed": looks_from_unmixed,
    "adapts then mixes": adapts_then_mixes,
    "without first gradient": without_first_gradient,
    "two mixings": two_mixings,
    "old sample": old_sample,
    "old phi": old_phi,
    "combines first": combines_first,
    "the other way": the_other_way,
    "one after the other": one_after_the_other,
}


@pytest.fixture(scope="module")
def stated() -> dict[str, Weights]:
    """What every formula and mutant says of one experiment; it names no algorithm of theirs."""
    experiment = experiment_of("irregular", {"name": "diffusion"})
    a = metropolis(*GRAPHS["irregular"][1:])
    results = {name: expect(experiment, formula, a) for name, formula in FORMULAS.items()}
    for name in ("dposg", "dss_og"):
        swapped = expect(experiment, FORMULAS[name], a, rate=rates_swapped)
        twins = make_states(experiment)
        own = after(ROUNDS, FORMULAS[name](OwnNoise(twins), a, read(twins)))
        results |= {f"{name}, rates swapped": swapped, f"{name}, a z for each net": own}
    return results


def test_the_oracle_tells_the_formulas_apart(stated: dict[str, Weights]) -> None:
    for one, other in combinations(stated, 2):
        assert distance(stated[one], stated[other]) > 1000 * TOLERANCE, (one, other)


@pytest.mark.parametrize("name", ["dposg", "dss_og"])
def test_a_run_agrees_with_no_other_formula(name: str, stated: dict[str, Weights]) -> None:
    found = read(run(experiment_of("irregular", {"name": name})))
    off = {other: distance(found, weights) for other, weights in stated.items()}
    assert off.pop(name) < TOLERANCE
    assert min(off.values()) > 1000 * TOLERANCE

"""Oasis against plain NumPy statements of its formulas (Hu et al. 2024, sections 4 and 5).

The oracle was written from the paper by somebody who had not read the code under test. Where the
paper leaves a choice, it is the default of :mod:`algorithms.oasis` as its settings describe it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, islice, permutations
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from algorithms.oasis.annealing import Annealed, Annealing
from algorithms.oasis.clustering import Grouping, find_groups, merge_small
from algorithms.oasis.representation import Representation, bases_for, batch_means, represent
from peer.effects import StepResult
from peer.experiment import Experiment
from peer.peer import Peer
from peer.streams import stream
from sim.runs.simulate import make_states
from tests.algorithms.numpy_star import (
    LOSSES,
    NETS,
    TOLERANCE,
    Array,
    Weights,
    back,
    devices_of,
    differences,
    discriminator_step,
    distance,
    flat,
    generate,
    generator_step,
    judge,
    mean,
    parts_of,
    run,
    sigmoid,
    star,
    start_of,
    vector,
)

Groups = list[list[int]]

# --- representations (paper, 4.1 and 5) -----------------------------------------------------------


def code(x: Array, bases: Array, beta: float) -> Array:
    """argmin over a of ||x - sum over j of a_j b_j||^2 + beta ||a||_1 (paper, Eq. 4).

    FISTA finds the support and the signs; then 2 b_j . (x - sum) = beta sign(a_j) there is linear.
    That no more than beta is left along any other b_j proves the minimum.
    """
    gram, along = bases @ bases.T, bases @ x
    step = 1 / np.linalg.eigvalsh(gram)[-1]
    a = ahead = np.zeros(len(bases))
    t = 1.0
    for _ in range(20_000):
        moved = ahead + step * (along - gram @ ahead)
        new = np.sign(moved) * np.maximum(np.abs(moved) - step * beta / 2, 0)
        if np.abs(new - a).max() < 1e-14:
            break
        t, last = (1 + np.sqrt(1 + 4 * t**2)) / 2, t
        a, ahead = new, new + (last - 1) / t * (new - a)
    on = np.flatnonzero(a)
    exact = np.zeros(len(bases))
    exact[on] = np.linalg.solve(gram[np.ix_(on, on)], along[on] - beta / 2 * np.sign(a[on]))
    assert (np.sign(exact) == np.sign(a)).all()
    assert np.abs(along - gram @ exact).max() <= beta / 2 * (1 + 1e-9)
    return exact


LABELS = [[0, 1], [0, 1, 2], [6, 7], [6, 7, 8], [7, 8]]


def client(k: int, **settings: Any) -> tuple[Peer, Array, Representation]:
    """A client, all its images in [0, 1], and settings that make a batch of all or of one."""
    experiment = star(LABELS, {"name": "oasis", "rounds": 1})
    peer = Peer(make_states(experiment)[k], experiment.schedule)
    images = (peer.pixels.flatten(1).double().numpy() + 1) / 2
    one_batch = settings.get("reduce", "mean_then_encode") == "mean_then_encode"
    n = len(images)
    sizes = {"batches": 1, "batch": n} if one_batch else {"batches": n, "batch": 1}
    return peer, images, Representation.model_validate(sizes | settings)


@pytest.mark.parametrize("beta", [0.2, 1.0])
@pytest.mark.parametrize("k", [1, 4])
def test_codes_in_the_common_dictionary(k: int, beta: float) -> None:
    peer, images, how = client(k, beta=beta)
    x = images.mean(axis=0)
    bases = bases_for(peer, how, x[None])
    np.testing.assert_allclose(np.linalg.norm(bases, axis=1), 1)
    np.testing.assert_array_equal(bases, bases_for(client(5)[0], how, x[None] / 2))  # common
    expected, found = code(x, bases, beta), represent(peer, how)
    assert 0 < np.count_nonzero(expected) < len(bases)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
    for wrong in (beta / 2, 2 * beta):
        assert np.abs(code(x, bases, wrong) - expected).max() > 1e-3


def test_codes_averaged_image_by_image() -> None:
    peer, images, how = client(1, reduce="encode_then_mean", beta=1.0, atoms=12)
    bases = bases_for(peer, how, images)
    expected = np.mean([code(x, bases, 1.0) for x in images], axis=0)
    np.testing.assert_allclose(represent(peer, how), expected, rtol=0, atol=1e-8)
    assert np.abs(code(images.mean(axis=0), bases, 1.0) - expected).max() > 1e-3


def test_without_coding() -> None:
    peer, images, how = client(2, dictionary="mean_image")
    np.testing.assert_allclose(represent(peer, how), images.mean(axis=0), atol=1e-6)
    histogram = represent(*client(2, dictionary="label_histogram")[::2])
    assert peer.labels is not None
    np.testing.assert_allclose(
        histogram / histogram.sum(), np.bincount(peer.labels, minlength=10) / len(images)
    )


def test_batches_are_means_without_replacement() -> None:
    """Image i is one at pixel i: its share in each batch's mean is there to be read."""
    how = Representation(batches=4, batch=5)
    rng = np.random.default_rng(2)
    shares = batch_means(np.eye(30), how, rng) * 5
    assert shares.shape == (4, 30)
    np.testing.assert_allclose(np.sort(shares.sum(axis=0)), [0] * 10 + [1] * 20, atol=1e-12)
    np.testing.assert_allclose(shares.sum(axis=1), 5)
    np.testing.assert_allclose(np.sort(shares, axis=1)[:, -5:], 1)


# --- groups (paper, 4.2 and Algorithm 1) ----------------------------------------------------------


@cache
def partitions_of(m: int, k: int) -> NDArray[np.int64]:
    """Every way to put m points into k clusters, (ways, m): the cluster of each point."""
    ways = [[0]]
    for place in range(1, m):
        ways = [[*way, c] for way in ways for c in range(min(max(way) + 2, k))]
        ways = [way for way in ways if max(way) + m - place >= k]
    return np.array(ways)


def clusters_of(labels: Sequence[int]) -> Groups:
    found: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        found.setdefault(label, []).append(place)
    return list(found.values())


def k_means(r: Array, k: int) -> Groups:
    """The clusters of the least sum of squared distances to their means, of all that there are."""

    ways = partitions_of(len(r), k)
    belongs = (ways[:, None, :] == np.arange(k)[:, None]).astype(float)  # (ways, k, m)
    sums = belongs @ r
    # The sum of squares is that of all the points, less n_c ||mean_c||^2 of each cluster.
    kept = ((sums**2).sum(axis=2) / belongs.sum(axis=2)).sum(axis=1)
    return clusters_of(ways[int(kept.argmax())].tolist())


def silhouette(r: Array, groups: Groups) -> float:
    """The mean of (h_i - q_i)/max(h_i, q_i) by 1 - correlation (paper, Eqs. 5 to 7); 0 if alone."""
    unit = r - r.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    d = 1 - unit @ unit.T
    values = []
    for own in groups:
        for i in own:
            if len(own) == 1:
                values.append(0.0)
                continue
            q = d[i, own].sum() / (len(own) - 1)
            h = min(d[i, other].mean() for other in groups if other is not own)
            values.append((h - q) / max(h, q))
    return float(np.mean(values))


def best_clusters(r: Array, most: int | None = None) -> Groups:
    """Lines 1 to 8; one cluster, or a cluster a point, has a silhouette of -1."""
    best, found = -1.0, [list(range(len(r)))]
    for k in range(2, (most or min(len(r) - 1, 20)) + 1):
        groups = k_means(r, k)
        if best < (zeta := silhouette(r, groups)):
            best, found = zeta, groups
    return found


def merged(groups: Groups, r: Array, n: Sequence[int], eta: float, by: str = "sum") -> Groups:
    """Lines 9 to 21: a cluster of less than eta samples takes in the nearest, and again."""
    left = {i: list(group) for i, group in enumerate(groups)}
    for i in range(len(groups)):
        while i in left and sum(n[k] for k in left[i]) < eta and len(left) > 1:
            nearest, least = -1, np.inf
            for j in left:
                pairs = [float(np.linalg.norm(r[x] - r[y])) for x in left[i] for y in left[j]]
                d = sum(pairs) if by == "sum" else sum(pairs) / len(pairs)
                if j != i and d < least:
                    nearest, least = j, d
            left[i] += left.pop(nearest)
    return list(left.values())


def as_sets(groups: Groups) -> set[frozenset[int]]:
    return {frozenset(group) for group in groups}


def clouds(seed: int, m: int = 7) -> tuple[Array, list[int]]:
    """Points near a few centres in random proportions, and what each of them holds."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((rng.integers(2, 5), 6))
    r = centres[rng.integers(0, len(centres), m)] + rng.uniform(0.1, 0.5) * rng.standard_normal(
        (m, 6)
    )
    return r, rng.integers(20, 200, m).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_the_best_silhouette(seed: int) -> None:
    r, n = clouds(seed)
    assert as_sets(find_groups(r, n, Grouping(), 0)) == as_sets(best_clusters(r))
    assert as_sets(find_groups(r, n, Grouping(most=3), 0)) == as_sets(best_clusters(r, 3))
    for k in (2, 3):
        assert as_sets(find_groups(r, n, Grouping(k=k), 0)) == as_sets(k_means(r, k))


@pytest.mark.parametrize("by", ["sum", "mean"])
@pytest.mark.parametrize("seed", range(6))
def test_small_groups_join_the_nearest(seed: int, by: Any) -> None:
    r, n = clouds(seed)
    for k in (3, 5):
        for order in islice(permutations(k_means(r, k)), 6):
            groups = [list(group) for group in order]
            for eta in (100, 250, 500, sum(n) + 1):
                expected = merged(groups, r, n, eta, by)
                how = Grouping(eta=eta, distance=by)
                found = merge_small([list(group) for group in groups], r, n, how)
                assert as_sets(found) == as_sets(expected)


@pytest.mark.parametrize("seed", range(4, 8))
def test_both_halves_of_the_algorithm(seed: int) -> None:
    r, n = clouds(seed)
    for eta in (150, 300, 450):
        # The ids that k-means gives are its own affair: clusters go by their first clients.
        expected = merged(best_clusters(r), r, n, eta)
        assert as_sets(find_groups(r, n, Grouping(eta=eta), 0)) == as_sets(expected)


def test_the_choices_matter() -> None:
    """Silhouettes by Euclid, the sum or the mean, samples or clients: each would show."""
    told_apart = set()
    for seed in range(12):
        r, n = clouds(seed)
        groups = k_means(r, 5)
        by_sum = as_sets(merged(groups, r, n, 250))
        if by_sum != as_sets(merged(groups, r, n, 250, "mean")):
            told_apart.add("mean")
        if by_sum != as_sets(merged(groups, r, [100] * 7, 250)):
            told_apart.add("clients")
        apart = r - r.mean(axis=1, keepdims=True)
        if silhouette(r, groups) != pytest.approx(silhouette(np.abs(apart), groups)):
            told_apart.add("silhouette")
    assert told_apart == {"mean", "clients", "silhouette"}


# --- the regulariser (paper, Eqs. 10 and 11) ------------------------------------------------------


def slopes(d: Array, x: Array, r: Array) -> tuple[Array, Array]:
    """||grad_x phi||^2 of each image, (B,), and the gradient in d of sum over i of r_i times it.

    By hand: with h = tanh(U x + c), q = v (1 - h^2) and p = U^T q, the squared norm is p . p.
    """
    u, _, v, _ = parts_of("discriminator", d)
    h, _ = judge(d, x)
    s = 1 - h**2
    q = v[0] * s  # (B, HIDDEN)
    p = q @ u  # (B, PIXELS): grad_x phi
    to_p = 2 * r[:, None] * p
    to_q = to_p @ u.T
    to_inner = to_q * v[0] * (-2 * h) * s  # q goes by h, and h by U x + c
    gradient = flat([q.T @ to_p + to_inner.T @ x, to_inner.sum(0), (to_q * s).sum(0), [0.0]])
    return (p**2).sum(axis=1), gradient


def penalty(loss: str, d: Array, real: Array, fakes: Array) -> tuple[float, Array]:
    """Omega, and its gradient in d: through the slopes, and through their weights.

    Omega_JS = E_P[(1 - psi)^2 ||grad phi||^2] + E_Q[psi^2 ||grad phi||^2] with psi = sigmoid(phi).
    For least squares, Roth et al.'s general form has the constant 1/2 in place of psi^2 and nothing
    on the real images.
    """
    value, gradient = 0.0, np.zeros_like(d)
    for x, sign in ((real, -1), (fakes, 1)):
        psi = sigmoid(sign * judge(d, x)[1])  # 1 - psi of real images, psi of fakes
        if loss == "lsgan":
            weight, by_phi = np.full(len(x), 0.5 * (sign > 0)), np.zeros(len(x))
        else:
            weight, by_phi = psi**2, sign * 2 * psi**2 * (1 - psi)
        norms, through_slopes = slopes(d, x, weight / len(x))
        value += float((weight * norms).mean())
        gradient += through_slopes + back(d, x, by_phi * norms / len(x))[0]
    return value, gradient


@pytest.mark.parametrize("loss", LOSSES)
def test_double_back_propagation_by_hand(loss: str) -> None:
    rng = np.random.default_rng(3)
    d = 0.5 * rng.standard_normal(463)
    real, fakes = rng.uniform(-1, 1, (4, 64)), rng.uniform(-1, 1, (4, 64))
    value, found = penalty(loss, d, real, fakes)
    assert value > 0.1
    assert np.abs(found).max() > 0.05
    expected = differences(lambda at: penalty(loss, at, real, fakes)[0], d)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
    norms = slopes(d, real, np.ones(4))[0]
    by_x = [differences(lambda at: float(judge(d, at[None])[1][0]), x) for x in real]
    np.testing.assert_allclose(norms, [(g**2).sum() for g in by_x], rtol=1e-6)


# --- annealing (paper, Algorithm 2, lines 11 to 13) -----------------------------------------------


@dataclass
class Gamma:
    """The regulariser's weight at one client, kept over its rounds.

    Closed: gamma_0 alpha^(tau/T) after tau iterations that met the condition, of T planned. As
    printed: gamma alpha^(t/T) in each of them, t counting the T iterations of a round.
    """

    start: float
    alpha: float
    delta: float
    trigger: str
    literal: bool
    steps: int
    planned: int
    tau: int = 0
    product: float = 1.0
    t: int = 0
    seen: tuple[bool, ...] = ()

    def begin_round(self) -> None:
        self.t, self.product = 0, 1.0

    def weight(self) -> float:
        if self.literal:
            return self.start * self.product
        return float(self.start * self.alpha ** (self.tau / self.planned))

    def observe(self, l_d: float, l_g: float) -> None:
        holds = l_g < self.delta if self.trigger == "generator_loss" else l_d - l_g >= self.delta
        self.t += 1
        self.seen += (holds,)
        if holds:
            self.tau += 1
            self.product *= self.alpha ** (self.t / self.steps)


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("trigger", ["generator_loss", "delta_loss"])
@pytest.mark.parametrize(
    ("loss", "delta"), [("bce_ns", None), ("bce_sat", None), ("lsgan", None), ("bce_ns", 0.3)]
)
def test_annealing(loss: str, delta: float | None, trigger: Any, literal: bool) -> None:
    by_default = {"bce_ns": np.log(2), "bce_sat": -np.log(2), "lsgan": 0.25}[loss]
    if trigger == "delta_loss":
        by_default = -0.5
    at = by_default if delta is None else delta
    how = Annealing(
        gamma=0.3,
        alpha=0.02,
        annealing="literal" if literal else "closed",
        trigger=trigger,
        delta=delta,
    )
    peer = cast(Peer, SimpleNamespace(facts={}, loss=loss))
    ours = Gamma(0.3, 0.02, at, trigger, literal, 4, 12)
    rng = np.random.default_rng(6)
    for _ in range(3):
        ours.begin_round()
        theirs = Annealed(peer, how, steps=4, planned=12)
        for _ in range(4):
            assert theirs.weight() == pytest.approx(ours.weight())
            l_g = float(at + rng.uniform(-1, 1))
            l_d = float(l_g + at + rng.uniform(-1, 1))
            theirs.observe(StepResult(l_d, 0.0), StepResult(l_g, 0.0))
            ours.observe(l_d, l_g)
        assert theirs.weight() == pytest.approx(ours.weight())
    assert 0 < sum(ours.seen) < len(ours.seen)


# --- whole runs (paper, 4.3, 4.4 and 5) -----------------------------------------------------------


@dataclass
class Oasis:
    """Rounds of groups that never mix; Algorithm 2 at every client that is chosen."""

    experiment: Experiment
    groups: Groups
    size: int
    rounds: int = 3
    steps: int = 4
    gamma: float = 0.1
    alpha: float = 0.01
    delta: float = float(np.log(2))
    trigger: str = "generator_loss"
    literal: bool = False
    n_d: int = 1
    by_samples: bool = True
    loss: str = "bce_ns"
    lr: float = 0.1
    half: float = 0.5

    def train(self, k: int, w: Weights) -> Weights:
        """T iterations: D descends on L_D + gamma/2 Omega, then G on L_G with new noise."""
        device, gamma, loss = self.devices[k], self.gammas[k], LOSSES[self.loss]
        d, g = w["discriminator"], w["generator"]
        gamma.begin_round()
        for _ in range(self.steps):
            for _ in range(self.n_d):
                real, fakes = device.real(8), generate(g, device.z(8))
                l_d, slope = discriminator_step(loss, d, real, fakes)
                by_d = penalty(self.loss, d, real, fakes)[1]
                d = d - self.lr * (slope + self.half * gamma.weight() * by_d)
            l_g, slope = generator_step(loss, d, g, device.z(8))
            g = g - self.lr * slope
            gamma.observe(l_d, l_g)
        return {"generator": g, "discriminator": d}

    def __call__(self) -> list[Weights]:
        """Every group's model."""
        self.devices = devices_of(self.experiment)
        n = {k: len(of.images) for k, of in self.devices.items()}
        planned = self.rounds * self.steps
        self.gammas = {
            k: Gamma(
                self.gamma,
                self.alpha,
                self.delta,
                self.trigger,
                self.literal,
                self.steps,
                planned,
            )
            for k in n
        }
        models = [start_of(self.experiment) for _ in self.groups]
        self.idle = 0
        for i in range(self.rounds):
            rng = stream(self.experiment.seed, "common", "workers", i)
            chosen = {int(k) for k in rng.choice(sorted(n), self.size, replace=False)}
            for place, group in enumerate(self.groups):
                here = sorted(chosen & set(group))
                if not here:
                    self.idle += 1
                    continue  # the group's model stays as it is
                # n is of those chosen within the group, so that the weights sum to one (Eq. 8)
                shares = {k: float(n[k]) if self.by_samples else 1.0 for k in here}
                omega = {k: share / sum(shares.values()) for k, share in shares.items()}
                models[place] = mean({k: self.train(k, models[place]) for k in here}, omega)
        return models


def stated(settings: Mapping[str, Any], loss: str = "bce_ns") -> Experiment:
    given = {"name": "oasis", "rounds": 3, "local_steps": 4, "fraction": 0.6, **settings}
    return star(LABELS, given, loss=loss)


def groups_by_hand(experiment: Experiment) -> Groups:
    """Codes of the clients' mean images in the common dictionary, grouped; ids of clients."""
    states = make_states(experiment)
    bases = bases_for(Peer(states[1], experiment.schedule), Representation(), np.zeros((1, 64)))
    means = [(of.images.mean(axis=0) + 1) / 2 for of in devices_of(experiment).values()]
    r = np.array([code(x, bases, 0.2) for x in means])
    return [[k + 1 for k in group] for group in best_clusters(r)]


def test_groups_of_alike_clients() -> None:
    groups = models_of(stated({"rounds": 1}))[0]
    assert as_sets(groups) == as_sets(groups_by_hand(stated({"rounds": 1})))


def models_of(experiment: Experiment) -> tuple[Groups, list[Weights], Mapping[str, float]]:
    """The groups, their models and their shares in the mixture, from a run."""
    state = run(experiment)[0][0]
    arenas = {net: state.nets[net].arena for net in NETS}
    groups: Groups = state.facts["groups"]
    models = [
        {net: vector(arenas[net], state.tensors[f"group-{i}/{net}"]) for net in NETS}
        for i in range(len(groups))
    ]
    return groups, models, state.facts["mixture"]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as published": ({}, {}),
    "strong": (
        {"regulariser": {"gamma": 2.0, "alpha": 0.1, "delta": 1.0}},
        {"gamma": 2.0, "alpha": 0.1, "delta": 1.0},
    ),
    "literal": (
        {"regulariser": {"gamma": 2.0, "alpha": 0.1, "annealing": "literal", "delta": 1.0}},
        {"gamma": 2.0, "alpha": 0.1, "delta": 1.0, "literal": True},
    ),
    "by the difference of the losses": (
        {"regulariser": {"gamma": 2.0, "trigger": "delta_loss", "delta": -0.3}},
        {"gamma": 2.0, "trigger": "delta_loss", "delta": -0.3},
    ),
    "two steps of D": (
        {"n_d": 2, "regulariser": {"gamma": 1.0}},
        {"n_d": 2, "gamma": 1.0},
    ),
    "a plain mean": ({"weighting": "uniform"}, {"by_samples": False}),
    "a few clients": ({"fraction": 0.2, "rounds": 4}, {"size": 1, "rounds": 4}),
    "least squares": (
        {"regulariser": {"gamma": 1.0, "delta": 0.85}, "fraction": 1.0},
        {"gamma": 1.0, "loss": "lsgan", "delta": 0.85, "size": 5},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_three_rounds(case: str) -> None:
    settings, says = CASES[case]
    experiment = stated(settings, says.get("loss", "bce_ns"))
    groups, found, mixture = models_of(experiment)
    assert as_sets(groups) == {frozenset({1, 2}), frozenset({3, 4, 5})}
    oracle = Oasis(experiment, groups, **({"size": 3} | says))
    for ours, theirs in zip(oracle(), found, strict=True):
        assert distance(theirs, ours) < TOLERANCE
    n = {k: len(of.images) for k, of in oracle.devices.items()}
    for i, group in enumerate(groups):
        assert mixture[f"group-{i}"] == pytest.approx(sum(n[k] for k in group) / sum(n.values()))


# --- what the oracle would notice -----------------------------------------------------------------


def test_the_oracle_tells_the_formulas_apart() -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"half": 1.0},
        {"gamma": 0.0},
        {"alpha": 0.2},
        {"delta": 0.95},
        {"literal": True},
        {"trigger": "delta_loss", "delta": -0.3},
        {"by_samples": False},
        {"n_d": 2},
        {"rounds": 2},
        {"groups": [[1, 2, 3, 4, 5], []]},
    ]
    plain: dict[str, Any] = {
        "groups": [[1, 2], [3, 4, 5]],
        "size": 3,
        "gamma": 2.0,
        "alpha": 0.1,
        "delta": 1.0,
    }
    found = []
    for variant in variants:
        oracle = Oasis(stated({}), **(plain | variant))
        found.append(oracle())
        seen = [holds for gamma in oracle.gammas.values() for holds in gamma.seen]
        assert 0 < sum(seen) < len(seen), variant
    for one, other in combinations(range(len(variants)), 2):
        off = max(distance(*pair) for pair in zip(found[one], found[other], strict=True))
        assert off > 100 * TOLERANCE, (variants[one], variants[other], off)
    few = Oasis(stated({}), **(plain | {"size": 1, "rounds": 4}))
    few()
    assert few.idle >= 4  # a group without a client that was chosen

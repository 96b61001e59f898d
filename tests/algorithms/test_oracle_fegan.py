"""FeGAN against plain NumPy statements of its formulas (Guerraoui et al. 2020, 3.2 to 3.4).

The oracle was written from the paper and what its authors' released code adds to it, by somebody
who had not read the code under test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from algorithms.fegan.load import Capability, Loads, assign, regression
from algorithms.fegan.sampling import kl_weights, queues_of, sample_balanced, scores, with_loads
from peer.experiment import Experiment
from peer.streams import stream
from tests.algorithms.numpy_star import (
    LOSSES,
    TOLERANCE,
    Array,
    Loss,
    Weights,
    devices_of,
    differences,
    discriminator_step,
    distance,
    generate,
    generator_step,
    mean,
    read,
    run,
    star,
    start_of,
)

Counts = NDArray[np.int64]

# --- the formulas ---------------------------------------------------------------------------------


def divergence_scores(c: Mapping[int, Counts]) -> dict[int, float]:
    """s_k = n_k/n sum over x of P_k(x) ln(P_k(x)/Q(x)) (paper, 3.2); 0 ln 0 = 0."""
    n = sum(int(of.sum()) for of in c.values())
    q = np.sum(list(c.values()), axis=0) / n
    found = {}
    for k, of in c.items():
        p = of / max(of.sum(), 1)
        found[k] = of.sum() / n * sum(p[x] * np.log(p[x] / q[x]) for x in np.flatnonzero(p))
    return found


def kl_of_group(s: Mapping[int, float], group: Sequence[int], scheme: str) -> dict[int, float]:
    """w_k over the sampled group (paper, 3.3, and the released code's three schemes)."""
    of = np.array([s[k] for k in group])
    if scheme == "exp":
        raw = np.exp(of)
    elif scheme == "exp_neg":
        raw = np.exp(-of)
    elif scheme == "uniform":
        raw = np.ones(len(of))
    else:
        raw = of
        if scheme == "dirac" and of.sum() > 0:
            raw = np.where(of / of.sum() < 0.5, 0, of)
    if raw.sum() == 0:
        raw = np.ones(len(of))
    return dict(zip(group, (raw / raw.sum()).tolist(), strict=True))


def times_loads(w: Mapping[int, float], loads: Mapping[int, float]) -> dict[int, float]:
    """omega_k = w_k l_k / sum over j of w_j l_j (paper, 3.4)."""
    total = sum(w[k] * loads[k] for k in w)
    return {k: w[k] * loads[k] / total for k in w}


@dataclass
class Queues:
    """Balanced sampling (paper, 3.3): a queue of devices a class, and what was taken of each."""

    lines: list[list[int]]
    taken: Array

    @classmethod
    def of(cls, c: Mapping[int, Counts]) -> Queues:
        """A device queues for every class that it has any of, the highest id in front."""
        classes = len(next(iter(c.values())))
        lines = [[k for k in sorted(c, reverse=True) if c[k][x] > 0] for x in range(classes)]
        return cls(lines, np.zeros(classes))

    def group(self, size: int, shows: Mapping[int, Array]) -> list[int]:
        """``size`` times: of the class least taken, the first in line who is not in the group."""
        group: list[int] = []
        held = [x for x, line in enumerate(self.lines) if line]
        for _ in range(size):
            line = self.lines[min(held, key=lambda x: (self.taken[x], x))]
            for _ in range(len(line)):
                k = line.pop(0)
                line.append(k)
                if k not in group:
                    group.append(k)
                    self.taken += shows[k]
                    break
        return group


def loads_by_deadline(
    can: Mapping[int, Capability],
    steps: int,
    batch: int,
    deadline: float | None = None,
    least_steps: int = 1,
    least_batch: int = 2,
) -> dict[int, tuple[int, int]]:
    """(E_k, B_k): the largest halving of B that fits, then the steps that tau has time for.

    tau is the median of the times that all devices would take for E steps on B; who has no batch
    that fits, or no time for the fewest steps on the smallest batch, is left out.
    """
    time = {k: lambda b, of=of: of.alpha + of.beta * b for k, of in can.items()}
    tau = float(np.median([steps * time[k](batch) for k in can])) if deadline is None else deadline
    given = {}
    for k, of in can.items():
        b = batch
        while b >= least_batch and of.gamma + of.delta * b > of.memory:
            b //= 2
        if b >= least_batch and least_steps * time[k](least_batch) <= tau:
            given[k] = min(max(int(tau // time[k](b)), least_steps), steps), b
    return given


@dataclass
class FeGan:
    """A whole run (paper, 3.2 to 3.4): the server's choice, the devices' steps, the average."""

    experiment: Experiment
    steps: int
    size: int
    loads: Mapping[int, tuple[int, int]]
    loss: Loss
    lr: float
    momentum: float = 0.0
    scheme: str = "exp"
    factor: str = "steps"
    balanced: bool = True
    processed: bool = False
    reset: bool = False
    g_first: bool = True
    same_fakes: bool = True

    def weigh(self, s: Mapping[int, float], came: Sequence[int]) -> dict[int, float]:
        """omega_k of those who came."""
        whole = self.steps * self.experiment.batch
        shares = {k: e * b / whole for k, (e, b) in self.loads.items()}
        if self.factor == "batch":
            shares = {k: b / self.experiment.batch for k, (_, b) in self.loads.items()}
        if self.factor == "none":
            shares = dict.fromkeys(self.loads, 1.0)
        return times_loads(kl_of_group(s, came, self.scheme), {k: shares[k] for k in came})

    def train(self, k: int, w: Weights) -> Weights:
        """E_k iterations on B_k images: G, then D on the fakes that G made before its step."""
        device, (steps, batch) = self.devices[k], self.loads[k]
        d, g = w["discriminator"], w["generator"]
        if self.reset:
            device.velocity.clear()
        for _ in range(steps):
            z = device.z(batch)
            fakes = generate(g, z)
            new_g = device.descend(
                "generator", g, generator_step(self.loss, d, g, z)[1], self.lr, self.momentum
            )
            if self.g_first:
                g = new_g
            if not self.same_fakes:
                fakes = generate(g, z)
            slope = discriminator_step(self.loss, d, device.real(batch), fakes)[1]
            d = device.descend("discriminator", d, slope, self.lr, self.momentum)
        return {"generator": g if self.g_first else new_g, "discriminator": d}

    def __call__(
        self, rounds: int, absent: Mapping[int, set[int]] | None = None
    ) -> tuple[Weights, list[list[int]]]:
        """The server's weights, and who took part in each round; ``absent`` by round."""
        self.devices = devices_of(self.experiment)
        c = {k: np.bincount(of.classes, minlength=10) for k, of in self.devices.items()}
        able = {k: c[k] for k in self.loads}
        s, queues = divergence_scores(c), Queues.of(able)
        shows: dict[int, Array] = {k: of.astype(float) for k, of in able.items()}
        if self.processed:
            shows = {k: np.prod(self.loads[k]) / of.sum() * of for k, of in able.items()}
        w, groups = start_of(self.experiment), []
        for i in range(rounds):
            if self.balanced:
                group = queues.group(self.size, shows)
            else:
                rng = stream(self.experiment.seed, "common", "workers", i)
                group = [int(k) for k in rng.choice(sorted(able), self.size, replace=False)]
            away = (absent or {}).get(i, set())
            came = sorted(set(group) - away)
            for k in set(group) & away:
                queues.taken -= shows[k]  # it was not seen
            models = {k: self.train(k, w) for k in came}
            if came and len(came) >= 0.5 * len(group):
                w = mean(models, self.weigh(s, came))
            groups.append(came)
        return w, groups


# --- the formulas one by one ----------------------------------------------------------------------


def tables(devices: int, classes: int = 5) -> list[dict[int, Counts]]:
    """Histograms of very different devices, many classes missing at most of them."""
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 60, (devices, classes)) * (rng.random((devices, classes)) < 0.4)
        sizes[np.arange(devices), rng.integers(0, classes, devices)] += 7  # nobody has nothing
        found.append({k + 1: row for k, row in enumerate(sizes)})
    return found


@pytest.mark.parametrize("c", tables(6))
def test_scores(c: dict[int, Counts]) -> None:
    expected = divergence_scores(c)
    assert scores(c) == pytest.approx(expected, rel=1e-12)
    assert max(expected.values()) > 1.5 * min(expected.values())


def test_scores_where_a_device_or_a_class_is_empty() -> None:
    c = {1: np.array([3, 1, 0]), 2: np.array([0, 0, 0]), 3: np.array([0, 4, 0])}
    expected = {1: 0.5 * (0.75 * np.log(0.75 / 0.375) + 0.25 * np.log(0.25 / 0.625)), 2: 0.0}
    expected[3] = 0.5 * np.log(1 / 0.625)
    assert divergence_scores(c) == pytest.approx(expected)
    assert scores(c) == pytest.approx(expected)


SCHEMES = ["exp", "linear", "dirac", "exp_neg", "uniform"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_of_every_scheme(scheme: Any) -> None:
    cases: list[dict[int, float]] = [divergence_scores(c) for c in tables(6)]
    cases += [{1: 0.9, 2: 0.3, 3: 0.2}, {1: 0.2, 2: 0.2}, {1: 0.0, 2: 0.0, 3: 0.0}]
    cases += [{1: 0.3, 2: 0.3, 3: 0.2}, {4: 0.7}, {1: 3.0, 2: -1.0}]
    for s in cases:
        if min(s.values()) < 0 and not scheme.startswith("exp"):
            continue
        for group in (sorted(s), sorted(s)[:2], sorted(s)[::-1][:3]):
            expected = kl_of_group(s, group, scheme)
            found = kl_weights(s, group, scheme)
            assert dict(found) == pytest.approx(expected, rel=1e-12, abs=1e-15), (s, group)
            loads = {k: 1 / (2 + k) for k in group}
            assert with_loads(found, loads) == pytest.approx(times_loads(expected, loads))


def test_schemes_differ() -> None:
    s = {1: 0.9, 2: 0.3, 3: 0.2}
    of_first = [kl_of_group(s, [1, 2, 3], scheme)[1] for scheme in SCHEMES]
    assert len({round(w, 3) for w in of_first}) == len(SCHEMES)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("c", tables(6))
def test_who_is_sampled_in_twenty_rounds(c: dict[int, Counts], size: int) -> None:
    shows: dict[int, Array] = {k: of.astype(float) for k, of in c.items()}
    ours, queues, taken = Queues.of(c), queues_of(c), [0.0] * 5
    told = {k: of.tolist() for k, of in shows.items()}
    for _ in range(20):
        expected = ours.group(size, shows)
        assert set(sample_balanced(queues, taken, told, size)) == set(expected)
        assert taken == pytest.approx(ours.taken)
    assert queues == ours.lines


def test_regression_is_the_least_squares_line() -> None:
    b, t = np.array([4.0, 8.0, 16.0, 16.0]), np.array([1.1, 1.3, 2.2, 2.0])
    slope = ((b - b.mean()) * (t - t.mean())).sum() / ((b - b.mean()) ** 2).sum()
    found = regression(b.astype(int).tolist(), t.tolist())
    assert found == pytest.approx((t.mean() - slope * b.mean(), slope))


CAPABLE = {
    1: Capability(),
    2: Capability(alpha=2.0),  # half the steps
    3: Capability(delta=1.0, gamma=0.5, memory=5.0),  # half the batch
    4: Capability(alpha=0.1, beta=0.1, delta=1.0, memory=3.9),  # a quarter, and fast at that
    5: Capability(alpha=0.5, beta=0.25),  # one step
    6: Capability(delta=1.0, memory=1.5),  # no batch fits
    7: Capability(alpha=9.0),  # no time
    8: Capability(alpha=0.0, beta=0.6),  # time for one step of the smallest batch, not of B
}


@pytest.mark.parametrize("of", [range(1, 6), range(1, 9), [1, 2, 5, 8], [2, 5], [3, 4, 7]])
@pytest.mark.parametrize("deadline", [None, 2.0, 4.0, 8.5])
@pytest.mark.parametrize("least", [(1, 2), (2, 4)])
def test_loads_by_deadline(
    of: Sequence[int], deadline: float | None, least: tuple[int, int]
) -> None:
    can = {k: CAPABLE[k] for k in of}
    tau = float(np.median([4 * of.seconds(8) for of in can.values()]))
    tau = tau if deadline is None else deadline
    how = Loads(deadline=deadline, least_steps=least[0], least_batch=least[1])
    found, expected = assign(can, 4, 8, how), loads_by_deadline(can, 4, 8, deadline, *least)
    assert set(found) == set(expected)  # who is left out
    # Nobody says what becomes of a device that has the memory for B_k and not the time for the
    # fewest steps of it: more time than tau, or a smaller batch.
    short = {k for k, (_, b) in expected.items() if least[0] * can[k].seconds(b) > tau}
    assert len(short) < len(can)
    for k in set(expected) - short:
        assert found[k] == expected[k], k


def test_loads_by_a_straight_line_from_the_least_to_all() -> None:
    can = {k: Capability(score=share) for k, share in enumerate([1.0, 0.75, 0.5, 0.25, 0.0])}
    found = assign(can, 9, 16, Loads(by="linear", least_steps=1, least_batch=4))
    assert found == {0: (9, 16), 1: (7, 13), 2: (5, 10), 3: (3, 7), 4: (1, 4)}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradients_by_hand_agree_with_finite_differences(loss: Loss) -> None:
    rng = np.random.default_rng(1)
    g, d = 0.4 * rng.standard_normal(384), 0.4 * rng.standard_normal(463)
    x, z = rng.uniform(-1, 1, (6, 64)), rng.standard_normal((6, 5))
    fakes = generate(g, z)
    cases = [
        (generator_step(loss, d, g, z), g, lambda at: generator_step(loss, d, at, z)[0]),
        (
            discriminator_step(loss, d, x, fakes),
            d,
            lambda at: discriminator_step(loss, at, x, fakes)[0],
        ),
    ]
    for (_, found), at, value in cases:
        assert np.abs(found).max() > 1e-2
        np.testing.assert_allclose(found, differences(value, at), rtol=0, atol=1e-8)


# --- whole runs -----------------------------------------------------------------------------------

LABELS = [[0, 1, 2], [2, 3], [3, 4], [0, 5, 6, 7, 8, 9], [1, 9]]
WEAK = {2: {"alpha": 2.0}, 3: {"delta": 1.0, "memory": 5.0}, 5: {"alpha": 0.5, "beta": 0.25}}
LOADS = {1: (4, 8), 2: (2, 8), 3: (4, 4), 4: (4, 8), 5: (1, 8)}  # (E_k, B_k), worked out by hand
FULL = dict.fromkeys(range(1, 6), (4, 8))


def stated(settings: Mapping[str, Any], loss: str, momentum: float, **keys: Any) -> Experiment:
    return star(
        LABELS,
        {"name": "fegan", "local_steps": 4, **settings},
        loss=loss,
        optimizer={"name": "sgd", "lr": 0.05, "momentum": momentum},
        **keys,
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({}, {}, id="as published"),
        pytest.param({"scheme": "linear"}, {"scheme": "linear"}, id="linear"),
        pytest.param({"scheme": "dirac"}, {"scheme": "dirac"}, id="dirac"),
        pytest.param({"scheme": "exp_neg"}, {"scheme": "exp_neg"}, id="exp_neg"),
        pytest.param({"kl": False}, {"scheme": "uniform"}, id="s=1, w=0"),
        pytest.param({"balanced": False}, {"balanced": False}, id="s=0, w=1"),
        pytest.param(
            {"balanced": False, "kl": False},
            {"balanced": False, "scheme": "uniform"},
            id="s=0, w=0",
        ),
        pytest.param({"load_factor": "batch"}, {"factor": "batch"}, id="by batch"),
        pytest.param({"load_factor": "none"}, {"factor": "none"}, id="no loads"),
        pytest.param({"count": "processed"}, {"processed": True}, id="processed"),
    ],
)
def test_three_rounds(settings: dict[str, Any], says: dict[str, Any]) -> None:
    given = settings | {"rounds": 3, "fraction": 0.4, "capabilities": WEAK}
    experiment = stated(given, "lsgan", 0.0)
    oracle = FeGan(experiment, 4, 2, LOADS, LOSSES["lsgan"], 0.05, **says)
    expected, groups = oracle(3)
    states, measures = run(experiment)
    assert [of["participants"] for of in measures] == groups
    assert distance(read(states[0]), expected) < TOLERANCE
    assert distance(start_of(experiment), expected) > 100 * TOLERANCE


@pytest.mark.parametrize("state", ["keep", "reset"])
def test_momentum_is_a_device_s_own(state: str) -> None:
    """It outlives the rounds, and those in which the device is idle; or it is reset."""
    given = {"rounds": 4, "fraction": 0.6, "optimizer_state": state}
    experiment = stated(given, "bce_ns", 0.9)
    oracle = FeGan(experiment, 4, 3, FULL, LOSSES["bce_ns"], 0.05, 0.9, reset=state == "reset")
    expected, _ = oracle(4)
    assert distance(read(run(experiment)[0][0]), expected) < TOLERANCE
    oracle.reset = not oracle.reset
    assert distance(oracle(4)[0], expected) > 100 * TOLERANCE


def test_devices_with_less_than_a_batch() -> None:
    few = {"name": "labels", "labels": LABELS, "cap": 6}
    experiment = stated({"rounds": 3}, "bce_ns", 0.0, data={"source": "digits", "partition": few})
    expected, _ = FeGan(experiment, 4, 1, FULL, LOSSES["bce_ns"], 0.05)(3)
    assert distance(read(run(experiment)[0][0]), expected) < TOLERANCE


@pytest.mark.parametrize(("size", "count"), [(1, "all"), (2, "all"), (2, "processed")])
def test_who_takes_part_in_twenty_rounds(size: int, count: str) -> None:
    given = {"rounds": 20, "fraction": size / 5, "count": count, "local_steps": 1}
    experiment = stated(given, "bce_ns", 0.0)
    loads = dict.fromkeys(FULL, (1, 8))
    oracle = FeGan(experiment, 1, size, loads, LOSSES["bce_ns"], 0.05)
    oracle.processed = count == "processed"
    expected, groups = oracle(20)
    states, measures = run(experiment)
    assert [of["participants"] for of in measures] == groups
    assert distance(read(states[0]), expected) < TOLERANCE
    oracle.processed = not oracle.processed
    assert oracle(20)[1] != groups


def test_a_device_that_can_do_nothing_is_left_out() -> None:
    given = {"rounds": 10, "fraction": 0.2, "capabilities": {4: {"alpha": 9.0}}}
    experiment = stated(given, "bce_ns", 0.0)
    able = {k: FULL[k] for k in (1, 2, 3, 5)}
    expected, groups = FeGan(experiment, 4, 1, able, LOSSES["bce_ns"], 0.05)(10)
    states, measures = run(experiment)
    assert [of["participants"] for of in measures] == groups
    assert distance(read(states[0]), expected) < TOLERANCE


@pytest.mark.parametrize("away", [2, 4])
def test_who_stays_away_is_weighed_out_and_not_taken(away: int) -> None:
    """It goes for ever in its second round (a round takes 0.008); half of a group makes it count.

    Device 4 alone has classes 5 to 8: they stay those least taken, and it is asked every time.
    """
    given = {"rounds": 8, "fraction": 0.6, "scheme": "linear"}
    experiment = stated(given, "bce_ns", 0.0, faults=[{"peer": away, "down": 0.0085}])
    oracle = FeGan(experiment, 4, 3, FULL, LOSSES["bce_ns"], 0.05, scheme="linear")
    expected, groups = oracle(8, {key: {away} for key in range(1, 8)})
    states, measures = run(experiment)
    assert [of["participants"] for of in measures] == groups
    assert min(map(len, groups)) < 3
    assert distance(read(states[0]), expected) < TOLERANCE
    assert distance(oracle(8)[0], expected) > 100 * TOLERANCE


# --- what the oracle would notice -----------------------------------------------------------------


def test_the_oracle_tells_the_formulas_apart() -> None:
    experiment = stated({"rounds": 3, "fraction": 0.4}, "lsgan", 0.0)
    variants: list[dict[str, Any]] = [
        {},
        *({"scheme": scheme} for scheme in SCHEMES[1:]),
        {"factor": "none"},
        {"factor": "batch"},
        {"balanced": False},
        {"g_first": False},
        {"same_fakes": False},
    ]
    build = partial(FeGan, experiment, 4, 2, LOADS, LOSSES["lsgan"], 0.05)
    found = [build(**variant)(3)[0] for variant in variants]
    for one, other in combinations(range(len(variants)), 2):
        off = distance(found[one], found[other])
        assert off > 100 * TOLERANCE, (variants[one], variants[other], off)

"""Gossip, federated and single-generator systems against plain NumPy statements of their formulas.

The oracles were written from the papers by somebody who had not read the code under test. They are
float64 throughout, with gradients derived by hand (``numpy_gan``). From hearsay they take a peer's
initial weights, its mini-batches and its noise, and, where a paper leaves something to chance (who
meets whom, who is chosen, whose discriminator goes where), how chance fell: that is read off the
letters sent, and held against what the paper allows.

Every test also states mutants, formulas with one thing wrong, and none of them may agree.
"""

from __future__ import annotations

import types
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pytest

import algorithms
from peer.effects import Combine, Effect, Exchange
from peer.experiment import Experiment, from_mapping
from peer.peer import Peer
from peer.program import Running
from peer.state import PeerState
from sim.runs.simulate import drive, make_states
from tests.algorithms.numpy_gan import (
    GAN,
    NETS,
    Array,
    Sgd,
    TinyGan,
    flat64,
    parameters,
    sigmoid,
)

TOLERANCE = 1e-5
"""Largest difference allowed, relative to the net's largest parameter.

hearsay computes in float32, which rounds to 6e-8, and the oracles in float64. A run here makes at
most some tens of steps and averages, whose independent roundings add up to little: measured are
1e-7 to 3e-7. What is chosen by size (approach 1) and divided by a mean (approach 2) is left a
margin. A wrong formula has to be off by a hundred times as much (``assert_agrees``); the mutants
stated here are off by more than 1e-2.
"""

LR = 0.4
BATCH = 8
UNEQUAL = {"source": "digits", "partition": {"labels": [[0, 1, 2], [3], [4, 5], [6]]}}

Pair = dict[str, Array]  # net -> (P,)
Pairs = dict[int, Pair]  # by peer
States = dict[int, PeerState]


def pairs_of(states: States) -> Pairs:
    """Every peer's nets of the pair."""
    return {k: {n: parameters(s, n) for n in NETS if n in s.nets} for k, s in states.items()}


# --- hearsay's side -------------------------------------------------------------------------------


class Sent(NamedTuple):
    """One letter with nets in it."""

    round: int
    sender: int
    receiver: int
    nets: frozenset[str]


@types.coroutine
def _overheard(running: Running, hear: Callable[[Effect], None]) -> Generator[Effect, Any, None]:
    """The same coroutine, each effect told to ``hear`` on its way."""
    result = None
    while True:
        try:
            effect = running.send(result)
        except StopIteration:
            return
        hear(effect)
        result = yield effect


def _letters(sender: int, effect: Effect) -> Iterable[Sent]:
    match effect:
        case Combine(net, moments, weights):
            for other in weights:
                yield Sent(moments[other].round, sender, other, frozenset({net}))
        case Exchange(letters, _, _, moments):
            for other, letter in letters.items():
                if nets := letter.tensors.keys() & set(NETS):
                    yield Sent(moments[other].round, sender, other, frozenset(nets))


class Ran:
    """What a run of hearsay left and sent; and what its peers began with, and drew."""

    def __init__(self, experiment: Experiment, states: States, sent: Sequence[Sent]) -> None:
        self.experiment, self.states, self.sent = experiment, states, sent
        self.rounds: int = experiment.algorithm.settings["rounds"]
        self._twins = make_states(experiment)
        self._start = pairs_of(self._twins)
        self._drawn: defaultdict[tuple[int, str, str], list[Array]] = defaultdict(list)

    def __getitem__(self, key: tuple[int, str]) -> Array:
        peer, net = key
        return parameters(self.states[peer], net)

    @property
    def start(self) -> Pairs:
        """What every peer begins with."""
        return {k: dict(pair) for k, pair in self._start.items()}

    @property
    def samples(self) -> dict[int, int]:
        """n_k, of the peers that hold data."""
        return {k: len(s.shard) for k, s in self.states.items() if s.shard is not None}

    def links(self, round: int, net: str) -> list[tuple[int, int]]:
        """Who sent whom that net in that round, by sender."""
        return sorted((s.sender, s.receiver) for s in self.sent if s[0] == round and net in s.nets)

    def draws(self, peer: int, what: str, prefix: str = "") -> Iterator[Array]:
        """All mini-batches (``real``) or noise that a peer draws, from the first, whoever asks."""
        twin, drawn = self._twins[peer], self._drawn[peer, what, prefix]
        for i in count():
            if i == len(drawn):
                real = what == "real"
                drawn.append(
                    flat64(twin.draw_real(prefix) if real else twin.draw_noise(BATCH, prefix))
                )
            yield drawn[i]


def run(algorithm: Mapping[str, Any], **keys: Any) -> Ran:
    raw = {
        "peers": 5,
        "graph": "star",
        "optimizer": {"name": "sgd", "lr": LR},
        "gan": GAN,
        "data": UNEQUAL,
        "batch": BATCH,
        "seed": 0,
        "checkpoint": 0,
    }
    experiment = from_mapping(raw | keys | {"algorithm": dict(algorithm)})
    program = algorithms.find(experiment)
    sent: list[Sent] = []

    def start(peer: Peer) -> Coroutine[Effect, Any, None]:
        async def listened() -> None:
            await _overheard(program.start(peer), lambda e: sent.extend(_letters(peer.id, e)))

        return listened()

    states = make_states(experiment)
    drive(experiment, states, replace(program, start=start))
    return Ran(experiment, states, sent)


Expected = Mapping[tuple[int, str], Array]  # by peer and net


def off(ran: Ran, expected: Expected) -> float:
    """The largest difference of any parameter, relative to its net's largest."""
    return max(
        float(np.abs(ran[key] - values).max() / np.abs(values).max())
        for key, values in expected.items()
    )


def assert_agrees(
    ran: Ran, expected: Expected, mutants: Mapping[str, Callable[[], Expected]]
) -> None:
    """The run is what the oracle says, and nothing like what any mutant of it says."""
    assert off(ran, expected) < TOLERANCE
    for (peer, net), values in expected.items():
        assert np.abs(values - ran.start[peer][net]).max() > 0.005  # it learnt
    for name, mutant in mutants.items():
        assert off(ran, mutant()) > 100 * TOLERANCE, name


# --- local training -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Local:
    """T iterations of a peer's own GAN.

    ``D_first``: n_d steps of D, each with new reals and new noise, then G with new noise
    (Goodfellow et al. 2014, Algorithm 1). ``G_first``: G, then D on the fakes that G made before
    its step (the released code of FeGAN). ``simultaneous``: both gradients at the old point
    (Rasouli et al. 2020). ``mu``: of the term mu/2 ||w - anchor||^2, for both nets (FedProx).
    """

    steps: int
    order: str = "D_first"
    n_d: int = 1
    mu: float = 0.0


class Trainee:
    """A peer's draws and its optimizers' memory, which outlive a round."""

    gan = TinyGan("bce_ns")

    def __init__(self, ran: Ran, peer: int, prefix: str = "", momentum: float = 0.0) -> None:
        self.real, self.noise = (ran.draws(peer, what, prefix) for what in ("real", "noise"))
        self.momentum = momentum
        self.reset()

    def reset(self) -> None:
        self.memory = {net: Sgd(LR, self.momentum) for net in NETS}

    def train(self, w: Pair, how: Local, anchor: Pair | None = None) -> Pair:
        w = dict(w)

        def descend(**gradients: Array) -> None:
            for net, gradient in gradients.items():
                if anchor is not None:
                    gradient = gradient + how.mu * (w[net] - anchor[net])
                w[net] = w[net] + self.memory[net](gradient)

        def of(net: str, z: Array) -> Array:
            x = next(self.real) if net == "discriminator" else None
            return self.gan.gradient(net, w["discriminator"], w["generator"], x, z)

        for _ in range(how.steps):
            if how.order == "G_first":
                z = next(self.noise)
                fakes = self.gan.generate(w["generator"], z)
                descend(generator=of("generator", z))
                gradient = self.gan.of_discriminator(w["discriminator"], next(self.real), fakes)
                descend(discriminator=gradient)
            elif how.order == "D_first":
                for _ in range(how.n_d):
                    descend(discriminator=of("discriminator", next(self.noise)))
                descend(generator=of("generator", next(self.noise)))
            else:
                to_d = of("discriminator", next(self.noise))
                descend(discriminator=to_d, generator=of("generator", next(self.noise)))
        return w


def flatten(w: Pairs) -> dict[tuple[int, str], Array]:
    return {(k, net): values for k, pair in w.items() for net, values in pair.items()}


# --- gossip (Hardy, Le Merrer, Sericola 2018) -----------------------------------------------------

Mix = Callable[[str, dict[int, Array], list[tuple[int, int]]], dict[int, Array]]
"""(net, w by peer, (sender, receiver) of this round) -> w by peer."""


def gossip(ran: Ran, mix: Mix, how: Local) -> Expected:
    """Every peer trains, then those who meet mix G and D; all that is sent is sent at once."""
    w, trainees = ran.start, {k: Trainee(ran, k) for k in ran.states}
    for round in range(ran.rounds):
        w = {k: trainees[k].train(pair, how) for k, pair in w.items()}
        for net in NETS:
            mixed = mix(net, {k: pair[net] for k, pair in w.items()}, ran.links(round, net))
            for k, values in mixed.items():
                w[k][net] = values
    return flatten(w)


def pairwise(
    net: str, w: dict[int, Array], links: list[tuple[int, int]], share: Callable[[int, int], float]
) -> dict[int, Array]:
    """w_k = share(k, r) w_k + (1 - share(k, r)) w_r, at both ends; the share is one half."""
    return w | {k: share(k, r) * w[k] + (1 - share(k, r)) * w[r] for r, k in links}


def push(
    net: str, w: dict[int, Array], links: list[tuple[int, int]], keep: float = 0.5
) -> dict[int, Array]:
    """w_r = (w_r + w_k)/2 for each letter that r gets, in the order of their senders k."""
    new = dict(w)
    for k, r in sorted(links):
        new[r] = keep * new[r] + (1 - keep) * w[k]
    return new


class SumWeight:
    """GoSGD (Blot et al. 2016): the sender keeps half its mass and sends (w_k, alpha_k)."""

    def __init__(self, peers: int, kept: float = 0.5, sent: float | None = None) -> None:
        self.kept, self.sent = kept, 1 - kept if sent is None else sent
        self.alpha = {net: dict.fromkeys(range(peers), 1 / peers) for net in NETS}

    def __call__(
        self, net: str, w: dict[int, Array], links: list[tuple[int, int]]
    ) -> dict[int, Array]:
        """w_r = (alpha_r w_r + alpha_k w_k) / (alpha_r + alpha_k), alpha_r += alpha_k."""
        alpha, new = self.alpha[net], dict(w)
        under_way = {}
        for k, _ in links:
            under_way[k] = self.sent * alpha[k]
            alpha[k] *= self.kept
        for k, r in links:
            new[r] = (alpha[r] * new[r] + under_way[k] * w[k]) / (alpha[r] + under_way[k])
            alpha[r] += under_way[k]
        if self.kept + self.sent == 1:
            assert sum(alpha.values()) == pytest.approx(1)
        return new


def nobody(net: str, w: dict[int, Array], links: list[tuple[int, int]]) -> dict[int, Array]:
    return w


def only(of: str, mix: Mix) -> Mix:
    return lambda net, w, links: mix(net, w, links) if net == of else w


FOUR = {"peers": 4, "graph": "complete", "init": "own"}


@pytest.mark.parametrize("mode", ["together", "independent"])
@pytest.mark.parametrize("mass", ["equal", "samples"])
def test_pairwise_gossip(mode: str, mass: str) -> None:
    """Push-pull: both ends take (w_k + w_r)/2, or the n-weighted mean of the two."""
    how = Local(steps=2)
    ran = run({"name": "gossip", "rounds": 4, "period": 2, "mode": mode, "mass": mass}, **FOUR)
    n = ran.samples

    def by_samples(k: int, r: int) -> float:
        return n[k] / (n[k] + n[r])

    shares: dict[str, Callable[[int, int], float]] = {
        "equal": lambda k, r: 0.5,
        "samples": by_samples,
        "the other's": lambda k, r: 1 - by_samples(k, r),
        "two thirds": lambda k, r: 2 / 3,
    }
    apart = 0
    for round in range(4):
        met = {net: set(ran.links(round, net)) for net in NETS}
        apart += met["generator"] != met["discriminator"]
        for links in met.values():
            assert links
            assert links == {(r, k) for k, r in links}  # both ways
            assert len({k for k, _ in links}) == len(links)  # one partner each
    assert bool(apart) == (mode == "independent")
    mix = {name: partial(pairwise, share=share) for name, share in shares.items()}
    right = mix.pop(mass)
    assert_agrees(
        ran,
        gossip(ran, right, how),
        {
            **{f"share: {name}": partial(gossip, ran, wrong, how) for name, wrong in mix.items()},
            "nobody talks": partial(gossip, ran, nobody, how),
            "only G": partial(gossip, ran, only("generator", right), how),
            "only D": partial(gossip, ran, only("discriminator", right), how),
            "one step": partial(gossip, ran, right, Local(steps=1)),
            "simultaneous": partial(gossip, ran, right, Local(steps=2, order="simultaneous")),
        },
    )


@pytest.mark.parametrize("mode", ["together", "independent"])
def test_push_gossip(mode: str) -> None:
    """The receiver alone moves, to the middle; senders go on as they are."""
    how = Local(steps=1)
    settings = {"name": "gossip", "rounds": 4, "period": 1, "mix": "push", "mode": mode}
    ran = run(settings | {"probability": 0.7}, **FOUR)
    letters = [ran.links(t, "generator") for t in range(4)]
    assert any(0 < len(links) < 4 for links in letters)  # with probability p
    receivers = [[r for _, r in links] for links in letters]
    assert any(len(set(rs)) < len(rs) for rs in receivers)  # two letters for one

    def both(net: str, w: dict[int, Array], links: list[tuple[int, int]]) -> dict[int, Array]:
        return push(net, w, [*links, *((r, k) for k, r in links)])

    def at_once(net: str, w: dict[int, Array], links: list[tuple[int, int]]) -> dict[int, Array]:
        met = {r: [w[k] for k, other in links if other == r] for r in w}
        return {r: np.mean([w[r], *others], axis=0) for r, others in met.items()}

    assert_agrees(
        ran,
        gossip(ran, push, how),
        {
            "a third": partial(gossip, ran, partial(push, keep=1 / 3), how),
            "both ends": partial(gossip, ran, both, how),
            "the mean of all": partial(gossip, ran, at_once, how),
            "nobody talks": partial(gossip, ran, nobody, how),
        },
    )


@pytest.mark.parametrize("mode", ["together", "independent"])
def test_sum_weight_gossip(mode: str) -> None:
    """Mass halves when sent and adds up where it arrives; means are weighted by it."""
    how = Local(steps=1, order="G_first")
    settings = {"name": "gossip", "rounds": 4, "period": 1, "mix": "sum_weight", "mode": mode}
    ran = run(settings | {"order": "G_first", "probability": 0.6}, **FOUR)
    # Where all send, all masses shrink alike, and what they shrink by shows in no mean.
    assert any(0 < len(ran.links(t, net)) < 4 for t in range(3) for net in NETS)
    assert_agrees(
        ran,
        gossip(ran, SumWeight(4), how),
        {
            "a third kept": lambda: gossip(ran, SumWeight(4, kept=1 / 3), how),
            "mass lost": lambda: gossip(ran, SumWeight(4, sent=0.4), how),
            "massless": partial(gossip, ran, push, how),
            "D first": lambda: gossip(ran, SumWeight(4), Local(steps=1)),
        },
    )


# --- federated averaging (McMahan et al. 2017; Oasis, equation 2; FedProx, Li et al. 2020) --------

Weigh = Callable[[Mapping[int, int], Iterable[int]], dict[int, float]]
"""(n by worker, those chosen) -> their weights."""


def by_samples(n: Mapping[int, int], chosen: Iterable[int]) -> dict[int, float]:
    """n_k / sum of n over those chosen."""
    chosen = list(chosen)
    return {k: n[k] / sum(n[j] for j in chosen) for k in chosen}


def uniformly(n: Mapping[int, int], chosen: Iterable[int]) -> dict[int, float]:
    """1 / |S|, as FeGAN's FL-vanilla."""
    chosen = list(chosen)
    return dict.fromkeys(chosen, 1 / len(chosen))


def of_everybody(n: Mapping[int, int], chosen: Iterable[int]) -> dict[int, float]:
    """Mutant: n_k / sum of n over all, chosen or not."""
    return {k: n[k] / sum(n.values()) for k in chosen}


def mean(models: Pairs, weights: Mapping[int, float]) -> Pair:
    """w = sum over k of omega_k w_k, for each net."""
    return {net: sum((weights[k] * models[k][net] for k in models), np.zeros(1)) for net in NETS}


def chosen_in(ran: Ran, round: int, server: int = 0) -> list[int]:
    """The workers whom the server sent the model in a round."""
    return [r for k, r in ran.links(round, "generator") if k == server]


def assert_chosen(ran: Ran, fraction: float, workers: int = 4) -> None:
    """Every round has max(1, floor(C N)) distinct workers, and over all rounds everybody."""
    chosen = [chosen_in(ran, t) for t in range(ran.rounds)]
    for workers_of_round in chosen:
        assert len(workers_of_round) == max(1, int(fraction * workers))
        assert len(set(workers_of_round)) == len(workers_of_round)
    assert {k for ks in chosen for k in ks} == set(range(1, workers + 1))


def fedavg(
    ran: Ran, weigh: Weigh, how: Local, momentum: float = 0.0, reset: bool = False
) -> Expected:
    """The chosen train w from where it is, pulled to it by mu; w becomes their weighted mean."""
    w, n = ran.start[0], ran.samples
    trainees = {k: Trainee(ran, k, momentum=momentum) for k in n}
    for round in range(ran.rounds):
        models = {}
        for k in chosen_in(ran, round):
            if reset:
                trainees[k].reset()
            models[k] = trainees[k].train(w, how, anchor=w)
        w = mean(models, weigh(n, models))
    return flatten({0: w})


def sgd(momentum: float) -> dict[str, Any]:
    return {"name": "sgd", "lr": LR, "momentum": momentum}


@pytest.mark.parametrize("fraction", [1.0, 0.7])
def test_fedavg(fraction: float) -> None:
    """Weights n_k / sum n over those who took part, moments kept by each worker."""
    settings = {"name": "fedavg", "rounds": 4, "local_steps": 2, "n_d": 2, "fraction": fraction}
    ran = run(settings, optimizer=sgd(0.9))
    assert_chosen(ran, fraction)
    how = Local(steps=2, n_d=2)
    mutants = {
        "uniform": partial(fedavg, ran, uniformly, how, 0.9),
        "moments reset": partial(fedavg, ran, by_samples, how, 0.9, reset=True),
        "one D step": partial(fedavg, ran, by_samples, Local(steps=2), 0.9),
        "one step": partial(fedavg, ran, by_samples, Local(steps=1, n_d=2), 0.9),
        "pulled": partial(fedavg, ran, by_samples, replace(how, mu=0.5), 0.9),
    }
    if fraction < 1:
        mutants["weights of everybody"] = partial(fedavg, ran, of_everybody, how, 0.9)
    assert_agrees(ran, fedavg(ran, by_samples, how, 0.9), mutants)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_fl_vanilla(fraction: float) -> None:
    """FeGAN's baseline: a plain mean; G first, and D on the very same fakes."""
    ran = run(
        {
            "name": "fedavg",
            "rounds": 4,
            "local_steps": 2,
            "order": "G_first",
            "weighting": "uniform",
            "optimizer_state": "reset",
            "fraction": fraction,
        },
        optimizer=sgd(0.9),
    )
    assert_chosen(ran, fraction)
    how = Local(steps=2, order="G_first")
    assert_agrees(
        ran,
        fedavg(ran, uniformly, how, 0.9, reset=True),
        {
            "by samples": partial(fedavg, ran, by_samples, how, 0.9, reset=True),
            "moments kept": partial(fedavg, ran, uniformly, how, 0.9),
            "D first": partial(fedavg, ran, uniformly, Local(steps=2), 0.9, reset=True),
            "simultaneous": partial(
                fedavg, ran, uniformly, replace(how, order="simultaneous"), 0.9, reset=True
            ),
        },
    )


def test_fedgan() -> None:
    """Rasouli et al. 2020: K simultaneous steps of D and G, p_i = |R_i| / sum |R_j|."""
    ran = run({"name": "fedavg", "rounds": 3, "local_steps": 3, "order": "simultaneous"})
    how = Local(steps=3, order="simultaneous")
    assert_agrees(
        ran,
        fedavg(ran, by_samples, how),
        {
            "uniform": partial(fedavg, ran, uniformly, how),
            "D first": partial(fedavg, ran, by_samples, Local(steps=3)),
        },
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weighting", ["samples", "uniform"])
def test_fedprox(weighting: str, momentum: float) -> None:
    """mu/2 ||w - w^t||^2 for both nets, w^t being the model received; before the moments."""
    settings = {"name": "fedavg", "rounds": 3, "local_steps": 4, "mu": 0.5, "fraction": 0.75}
    ran = run(settings | {"weighting": weighting}, optimizer=sgd(momentum))
    how = Local(steps=4, mu=0.5)
    weigh = by_samples if weighting == "samples" else uniformly
    other = uniformly if weighting == "samples" else by_samples
    assert_agrees(
        ran,
        fedavg(ran, weigh, how, momentum),
        {
            "not pulled": partial(fedavg, ran, weigh, replace(how, mu=0), momentum),
            "pulled by mu/2": partial(fedavg, ran, weigh, replace(how, mu=0.25), momentum),
            "pulled by 2 mu": partial(fedavg, ran, weigh, replace(how, mu=1), momentum),
            "pushed": partial(fedavg, ran, weigh, replace(how, mu=-0.5), momentum),
            "other weights": partial(fedavg, ran, other, how, momentum),
        },
    )


# --- Ditto (Li et al. 2021, Algorithm 1; in the order of Oasis's baseline) ------------------------


def ditto(
    ran: Ran, personal: Local, how: Local, weigh: Weigh = by_samples, anchored: str = "received"
) -> Expected:
    """v_k - eta (grad F_k(v_k) + lambda (v_k - w^t)), and w as in FedAvg; both at the chosen."""
    v, n = ran.start, ran.samples
    w = v.pop(0)
    own = {k: Trainee(ran, k) for k in n}
    shared = {k: Trainee(ran, k, "global_") for k in n}
    for round in range(ran.rounds):
        chosen = chosen_in(ran, round)
        models = {k: shared[k].train(w, how, w) for k in chosen}
        for k in chosen:
            anchor = {"received": w, "trained": models[k], "own": v[k]}[anchored]
            v[k] = own[k].train(v[k], personal, anchor)
        w = mean(models, weigh(n, models))
    return flatten(v | {0: w})


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_ditto(fraction: float) -> None:
    """Personal pairs pulled to the model received; a worker that is not chosen keeps its own."""
    ran = run(
        {
            "name": "ditto",
            "rounds": 4,
            "local_steps": 2,
            "personal_steps": 3,
            "pull": 0.4,
            "fraction": fraction,
        },
        init="own",
    )
    assert_chosen(ran, fraction)
    personal, how = Local(steps=3, mu=0.4), Local(steps=2)
    assert_agrees(
        ran,
        ditto(ran, personal, how),
        {
            "not pulled": partial(ditto, ran, replace(personal, mu=0), how),
            "pulled by 2 lambda": partial(ditto, ran, replace(personal, mu=0.8), how),
            "pulled to what it trained": partial(ditto, ran, personal, how, anchored="trained"),
            "pulled to itself": partial(ditto, ran, personal, how, anchored="own"),
            "shared pair pulled": partial(ditto, ran, personal, replace(how, mu=0.4)),
            "two personal steps": partial(ditto, ran, replace(personal, steps=2), how),
            "uniform": partial(ditto, ran, personal, how, uniformly),
        },
    )


# --- MD-GAN (Hardy, Le Merrer, Sericola 2019, Algorithm 1) ----------------------------------------


@dataclass(frozen=True)
class MdGan:
    """How an MD-GAN is trained; every field but the first three is for mutants.

    Worker n = 1..N gets X^((n mod k) + 1) to be judged and X^(((n + 1) mod k) + 1) to learn from.
    """

    k: int
    n_d: int
    loss: str = "bce_ns"
    shift: int = 0  # of both batches
    weigh: Weigh = uniformly  # of feedback: 1/N
    swaps: bool = True
    resets: bool = True  # D's moments, when it has moved
    fresh: bool = False  # new reals for each of the L steps of D

    def train(self, ran: Ran, momentum: float) -> Expected:
        gan, n = TinyGan(self.loss), ran.samples
        g = ran.start[0]["generator"]
        d = {k: ran.start[k]["discriminator"] for k in n}
        server, workers = Trainee(ran, 0, momentum=momentum), {}
        for k in n:
            workers[k] = Trainee(ran, k, momentum=momentum)
        for round in range(ran.rounds):
            z = [next(server.noise) for _ in range(self.k)]
            x = [gan.generate(g, each) for each in z]
            gradients = {}
            for k in n:
                of_g, of_d = ((k + self.shift + i) % self.k for i in (0, 1))
                real = next(workers[k].real)
                for step in range(self.n_d):
                    if step and self.fresh:
                        real = next(workers[k].real)
                    gradient = gan.of_discriminator(d[k], real, x[of_d])
                    d[k] = d[k] + workers[k].memory["discriminator"](gradient)
                error = gan.error(d[k], x[of_g])  # the mean loss's: 1/b is in it
                gradients[k] = gan.through_generator(g, z[of_g], error)
            weights = self.weigh(n, n)
            step_of_g = sum((weights[k] * gradients[k] for k in n), np.zeros(1))
            g = g + server.memory["generator"](step_of_g)
            if self.swaps:
                links = ran.links(round, "discriminator")
                d = d | {r: d[k] for k, r in links}
                for _, r in links:
                    if self.resets:
                        workers[r].reset()
        return {(0, "generator"): g} | {(k, "discriminator"): d[k] for k in d}


@pytest.mark.parametrize("loss", ["bce_ns", "bce_sat"])
@pytest.mark.parametrize(("k", "n_d"), [(1, 1), (2, 1), (3, 2)])
def test_mdgan(k: int, n_d: int, loss: str) -> None:
    """Feedback dB/dx_i on k batches, the mean of all workers' pulled back through G.

    Workers hold unequal data, and count the same: 1/N.
    """
    settings = {"name": "mdgan", "rounds": 4, "k": k, "n_d": n_d, "swap": False}
    ran = run(settings, loss=loss, init="own")
    how = MdGan(k, n_d, loss)
    mutants = {
        "by samples": replace(how, weigh=by_samples),
        "a sum": replace(how, weigh=lambda n, chosen: dict.fromkeys(chosen, 1.0)),
        "other loss": replace(how, loss="bce_sat" if loss == "bce_ns" else "bce_ns"),
        "one more step": replace(how, n_d=n_d + 1),
    }
    if k > 1:
        mutants["counted from zero"] = replace(how, shift=-1)
        mutants["one batch"] = replace(how, k=1)
    if n_d > 1:
        mutants["new reals"] = replace(how, fresh=True)
    assert_agrees(
        ran,
        how.train(ran, 0.0),
        {name: partial(mutant.train, ran, 0.0) for name, mutant in mutants.items()},
    )


def test_mdgan_takes_two_batches_of_four_workers() -> None:
    """k = max(2, floor(ln N)), where nothing else is said."""
    ran = run({"name": "mdgan", "rounds": 3, "swap": False}, init="own")
    assert_agrees(
        ran,
        MdGan(2, 1).train(ran, 0.0),
        {str(k): partial(MdGan(k, 1).train, ran, 0.0) for k in (1, 3)},
    )


@pytest.mark.parametrize(("swap_epochs", "due"), [(0.4, (1, 3)), (0.2, (0, 1, 2, 3, 4))])
def test_mdgan_swaps_discriminators(swap_epochs: float, due: tuple[int, ...]) -> None:
    """After every m E/b iterations: each D moves to another worker, without its moments.

    Here m = 40 images and b = 8: with E = 0.4 after every second iteration, with 0.2 after each.
    """
    labels = {"labels": [[0, 1], [2, 3], [4, 5], [6, 7]], "cap": 40}
    ran = run(
        {"name": "mdgan", "rounds": 5, "k": 2, "swap_epochs": swap_epochs},
        graph="complete",
        data={"source": "digits", "partition": {"name": "labels", **labels}},
        init="own",
        optimizer=sgd(0.9),
    )
    assert set(ran.samples.values()) == {40}
    for round in range(ran.rounds):
        links = ran.links(round, "discriminator")
        if round not in due:
            assert not links
            continue
        senders, receivers = zip(*links, strict=True)
        assert sorted(senders) == sorted(receivers) == [1, 2, 3, 4]
        assert all(k != r for k, r in links)
    how = MdGan(2, 1)
    mutants = {"no swap": replace(how, swaps=False), "moments kept": replace(how, resets=False)}
    assert_agrees(
        ran,
        how.train(ran, 0.9),
        {name: partial(mutant.train, ran, 0.9) for name, mutant in mutants.items()},
    )


# --- Distributed-GAN ------------------------------------------------------------------------------

Select = Callable[[Array], Array]
"""Users' changes, (m, P), to the server's, (P,)."""


def largest_by_coordinate(changes: Array) -> Array:
    """max(dw_i), in each coordinate the change of largest magnitude, with its sign."""
    return np.array([max(column, key=abs) for column in changes.T])


def largest_signed(changes: Array) -> Array:
    """max(dw_i), in each coordinate the largest number."""
    largest: Array = changes.max(axis=0)
    return largest


def largest_user(changes: Array) -> Array:
    """max(dw_i), the whole change of the user whose change is longest."""
    return max(changes, key=lambda change: float(change @ change))


def mean_of_users(changes: Array) -> Array:
    middle: Array = changes.mean(axis=0)
    return middle


def magnitudes(changes: Array) -> Array:
    """Mutant: the largest magnitude, its sign lost."""
    return largest_signed(np.abs(changes))


def smallest_by_coordinate(changes: Array) -> Array:
    """Mutant: of the smallest magnitude."""
    return np.array([min(column, key=abs) for column in changes.T])


def everything(change: Array) -> Array:
    return change


def few(change: Array, count: int) -> Array:
    """A user's upload: its ``count`` largest changes by magnitude, the others 0 (Shokri)."""
    kept = np.argsort(-np.abs(change))[:count]
    return np.where(np.isin(np.arange(change.size), kept), change, 0)


def above(change: Array, threshold: float) -> Array:
    """A user's upload: what is larger than a threshold."""
    return np.where(np.abs(change) > threshold, change, 0)


def selective_update(
    ran: Ran, select: Select, upload: Select = everything, pulls: bool = True, trained: bool = True
) -> Expected:
    """Algorithm 1: users upload dw_i = w_i - w_s; w_s += max(dw_i); G learns from the server's D.

    Users start from w_s, and judge one batch of the server's fakes.
    """
    gan, users = TinyGan("bce_ns"), {k: Trainee(ran, k) for k in ran.samples}
    server, noise = ran.start[0], ran.draws(0, "noise")
    g, d = server["generator"], server["discriminator"]
    own = dict.fromkeys(users, d)
    for _ in range(ran.rounds):
        fakes = gan.generate(g, next(noise))
        changes = []
        for k, user in users.items():
            before = d if pulls else own[k]
            gradient = gan.of_discriminator(before, next(user.real), fakes)
            own[k] = before + user.memory["discriminator"](gradient)
            changes.append(upload(own[k] - before))
        judge = d + select(np.stack(changes))
        g = g - LR * gan.gradient("generator", judge if trained else d, g, None, next(noise))
        d = judge
    return {(0, "generator"): g, (0, "discriminator"): d}


SELECT: dict[str, Select] = {
    "elem_maxabs": largest_by_coordinate,
    "elem_max_signed": largest_signed,
    "user_max_norm": largest_user,
    "mean": mean_of_users,
    "magnitudes": magnitudes,
    "smallest": smallest_by_coordinate,
}


def distributed(approach: str, **settings: Any) -> dict[str, Any]:
    return {"name": "distributed_gan", "approach": approach, "rounds": 4, **settings}


@pytest.mark.parametrize("rule", ["elem_maxabs", "elem_max_signed", "user_max_norm", "mean"])
def test_selective_update(rule: str) -> None:
    """Distributed-GAN, Algorithm 1: the four readings of "the biggest"."""
    ran = run(distributed("selective_update", selection={"rule": rule}), init="own")
    mutants: dict[str, Callable[[], Expected]] = {
        name: partial(selective_update, ran, wrong)
        for name, wrong in SELECT.items()
        if name != rule
    }
    right = SELECT[rule]
    mutants["users keep theirs"] = partial(selective_update, ran, right, pulls=False)
    mutants["G before D_s"] = partial(selective_update, ran, right, trained=False)
    assert_agrees(ran, selective_update(ran, right), mutants)


def test_selective_update_is_by_magnitude_where_nothing_is_said() -> None:
    ran = run(distributed("selective_update"))
    assert off(ran, selective_update(ran, largest_by_coordinate)) < TOLERANCE


@pytest.mark.parametrize("uploaded", [13, 66, 300])
def test_selective_update_by_users_who_upload_a_share(uploaded: int) -> None:
    """theta_u of a user's 661 parameters, those that changed most."""
    selection = {"rule": "elem_maxabs", "fraction": uploaded / 661}
    ran = run(distributed("selective_update", selection=selection))
    assert ran[0, "discriminator"].size == 661
    state = partial(selective_update, ran, largest_by_coordinate)
    assert_agrees(
        ran,
        state(partial(few, count=uploaded)),
        {
            "everything": state,
            "one fewer": lambda: state(partial(few, count=uploaded - 1)),
            "one more": lambda: state(partial(few, count=uploaded + 1)),
        },
    )


def test_selective_update_by_users_who_upload_what_is_large() -> None:
    selection = {"rule": "elem_maxabs", "threshold": 0.002}
    ran = run(distributed("selective_update", selection=selection))
    state = partial(selective_update, ran, largest_by_coordinate)
    assert_agrees(
        ran,
        state(partial(above, threshold=0.002)),
        {"everything": state, "half": lambda: state(partial(above, threshold=0.001))},
    )


Meaning = Callable[[dict[int, Array]], dict[int, Array]]
"""Logits phi_j of the same fakes by user, (B,) each, to dL_G/dphi_j."""


def of_mean_output(v: Mapping[int, float]) -> Meaning:
    """L_G = BCE(p, 1) = mean[-log p], where p = sum of v_j D_j(x), D_j = sigmoid(phi_j)."""

    def meaning(phi: dict[int, Array]) -> dict[int, Array]:
        outputs = {j: sigmoid(s) for j, s in phi.items()}
        p = sum((v[j] * outputs[j] for j in phi), np.zeros(1))
        return {j: -v[j] * y * (1 - y) / p / y.size for j, y in outputs.items()}

    return meaning


def of_mean_logit(v: Mapping[int, float]) -> Meaning:
    """Mutant: the logits are averaged, and not the probabilities."""

    def meaning(phi: dict[int, Array]) -> dict[int, Array]:
        s = sum((v[j] * phi[j] for j in phi), np.zeros(1))
        return {j: -v[j] * sigmoid(-s) / s.size for j in phi}

    return meaning


def of_mean_loss(v: Mapping[int, float]) -> Meaning:
    """Mutant: the losses are averaged, as MD-GAN does."""
    return lambda phi: {j: -v[j] * sigmoid(-s) / s.size for j, s in phi.items()}


def average_output(
    ran: Ran, meaning: Meaning, rejudged: bool = True, separate: bool = True
) -> Expected:
    """Algorithm 2: users train D_j; all judge the same fakes; G learns from the mean output."""
    gan, users = TinyGan("bce_ns"), {k: Trainee(ran, k) for k in ran.samples}
    g, noise = ran.start[0]["generator"], ran.draws(0, "noise")
    d = {k: ran.start[k]["discriminator"] for k in users}
    for _ in range(ran.rounds):
        z_d = next(noise)
        z_g = next(noise) if separate else z_d
        old = dict(d)
        for k, user in users.items():
            gradient = gan.of_discriminator(d[k], next(user.real), gan.generate(g, z_d))
            d[k] = d[k] + user.memory["discriminator"](gradient)
        judges = d if rejudged else old
        fakes = gan.generate(g, z_g)
        slopes = meaning({k: gan.judge(w, fakes)[1] for k, w in judges.items()})
        errors = [
            gan.back(w, fakes, lambda _, slope=slopes[k]: slope)[1]  # type: ignore[misc]
            for k, w in judges.items()
        ]
        g = g - LR * gan.through_generator(g, z_g, np.sum(errors, axis=0))
    return {(0, "generator"): g} | {(k, "discriminator"): d[k] for k in d}


EQUAL = dict.fromkeys(range(1, 5), 0.25)
WEIGHTED = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}


@pytest.mark.parametrize("v", [None, WEIGHTED])
def test_average_output(v: dict[int, float] | None) -> None:
    """Distributed-GAN, Algorithm 2, with equal weights and with others."""
    ran = run(distributed("average_output", outputs={"by": "mean", "v": v}), init="own")
    weights = v or EQUAL
    others = EQUAL if v else WEIGHTED
    assert_agrees(
        ran,
        average_output(ran, of_mean_output(weights)),
        {
            "other weights": partial(average_output, ran, of_mean_output(others)),
            "mean logit": partial(average_output, ran, of_mean_logit(weights)),
            "mean loss": partial(average_output, ran, of_mean_loss(weights)),
            "D before": partial(average_output, ran, of_mean_output(weights), rejudged=False),
            "D's fakes": partial(average_output, ran, of_mean_output(weights), separate=False),
        },
    )


def sequential(ran: Ran, order: Sequence[int], at_once: bool = False) -> Expected:
    """Algorithm 3: for each user, D_j trains, then G on new noise against D_j alone."""
    gan, users = TinyGan("bce_ns"), {k: Trainee(ran, k) for k in ran.samples}
    g, noise = ran.start[0]["generator"], ran.draws(0, "noise")
    d = {k: ran.start[k]["discriminator"] for k in users}
    for _ in range(ran.rounds):
        old, step = g, np.zeros(1)
        for k in order:
            fakes = gan.generate(old if at_once else g, next(noise))
            gradient = gan.of_discriminator(d[k], next(users[k].real), fakes)
            d[k] = d[k] + users[k].memory["discriminator"](gradient)
            at = old if at_once else g
            step = -LR * gan.gradient("generator", d[k], at, None, next(noise))
            g = g + step
    return {(0, "generator"): g} | {(k, "discriminator"): d[k] for k in d}


def test_sequential() -> None:
    """Distributed-GAN, Algorithm 3: m steps of G in a pass over m users."""
    ran = run(distributed("sequential"), init="own")
    assert_agrees(
        ran,
        sequential(ran, (1, 2, 3, 4)),
        {
            "backwards": partial(sequential, ran, (4, 3, 2, 1)),
            "at once": partial(sequential, ran, (1, 2, 3, 4), at_once=True),
            "twice the first": partial(sequential, ran, (1, 1, 2, 3, 4)),
        },
    )

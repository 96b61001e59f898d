"""Optimistic steps, DPOSG and DSS-OG: where they coincide with others, and what they are for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

import algorithms
from peer.experiment import from_mapping
from peer.peer import Peer
from peer.program import Program
from peer.simultaneous import draw_sample, gradients, gradients_at, point_of
from peer.state import PeerState
from sim.runs.simulate import drive, make_states
from topology.errors import UserError

SGD = {"name": "sgd", "lr": 0.1}
GRADIENT_DESCENT = {"name": "gossip", "period": 1, "order": "simultaneous"}


def experiment_of(algorithm: dict[str, Any], **keys: Any):
    raw = {
        "peers": 4,
        "graph": "ring",
        "algorithm": {"rounds": 5} | algorithm,
        "optimizer": SGD,
        "gan": "tests.support.games:bilinear",
        "loss": "wgan",
        "init": "own",
        "data": {"source": "digits", "partition": "iid"},
        "batch": 4,
        "seed": 5,
    }
    return from_mapping(raw | keys)


def run(algorithm: dict[str, Any], **keys: Any) -> dict[int, PeerState]:
    experiment = experiment_of(algorithm, **keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    return states


def points(states: dict[int, PeerState]) -> np.ndarray:
    """(x, y) of every peer, (K, 2), in float64."""
    nets = [
        [s.nets[net].arena.vector[0] for net in ("generator", "discriminator")]
        for s in states.values()
    ]
    return np.array(nets, dtype=np.float64)


def distance(states: dict[int, PeerState]) -> float:
    """Of the peer farthest from the point where the bilinear game is at rest."""
    return float(np.hypot(*(points(states) - [-1.0, 0.0]).T).max())


@pytest.mark.parametrize(
    ("optimistic", "order"), [("dposg", "combine-then-adapt"), ("dss_og", "adapt-then-combine")]
)
def test_with_a_constant_gradient_it_is_diffusion(optimistic: str, order: str) -> None:
    flat = {"gan": "tests.support.games:flat"}
    diffusion = points(run({"name": "diffusion", "order": order}, **flat))
    other_order = {"combine-then-adapt": "consensus"}.get(order, order)
    assert np.array_equal(points(run({"name": optimistic}, **flat)), diffusion)
    assert np.ptp(diffusion[:, 0]) > 0  # the peers differ
    in_the_other_game = points(run({"name": "diffusion", "order": other_order}))
    assert not np.allclose(points(run({"name": optimistic})), in_the_other_game)


def optimistic_descent(x: float, y: float, steps: int, mu: float = 0.1) -> np.ndarray:
    """w - 2 mu g(w) + mu g(of the step before), from two equal points, in the bilinear game."""
    w = np.array([x, y])
    before = None
    for _ in range(steps):
        g = np.array([-w[1], w[0] + 1])
        w, before = w - mu * (2 * g - (g if before is None else before)), g
    return w


def test_alone_dss_og_is_optimistic_gradient_descent_ascent() -> None:
    alone = {"peers": 1, "graph": "complete"}
    (start,) = points(make_states(experiment_of({"name": "dss_og"}, **alone)))
    for rounds in (1, 2, 20):
        (found,) = points(run({"name": "dss_og", "rounds": rounds}, **alone))
        assert np.allclose(found, optimistic_descent(*start, rounds), atol=1e-5)


def test_alone_dposg_is_optimistic_gradient_descent_ascent() -> None:
    """Z_{k+1} = Z_k - 2 eta g(Z_k) + eta g(Z_{k-1}), and X_k = Z_{k+1} + eta g(Z_k)."""
    alone = {"peers": 1, "graph": "complete"}
    (start,) = points(make_states(experiment_of({"name": "dposg"}, **alone)))
    for rounds in (1, 2, 20):
        (found,) = points(run({"name": "dposg", "rounds": rounds}, **alone))
        w = optimistic_descent(*start, rounds)  # Z_k
        z = optimistic_descent(*start, rounds + 1)  # Z_{k+1}
        g = np.array([-w[1], w[0] + 1])
        assert np.allclose(found, z + 0.1 * g, atol=1e-5)


@pytest.mark.parametrize("algorithm", [{"name": "dposg", "mixings": 2}, {"name": "dss_og"}])
def test_it_spirals_in_where_gradient_descent_spirals_out(algorithm: dict[str, Any]) -> None:
    """In the bilinear game a step turns u = (x + 1) + iy, and takes it nearer, or farther away.

    Optimistic: u_k = (1 + 2i mu) u_{k-1} - i mu u_{k-2}, whose larger root has a modulus below 1;
    plain: u_k = (1 + i mu) u_{k-1}. By then the peers agree.
    """
    mu = 0.3
    keys: dict[str, Any] = {"optimizer": SGD | {"lr": mu}}
    optimistic = max(abs(np.roots([1, -(1 + 2j * mu), 1j * mu])))
    for system, factor in ((algorithm, optimistic), (GRADIENT_DESCENT, math.hypot(1, mu))):
        at_50, at_100 = (distance(run(system | {"rounds": n}, **keys)) for n in (50, 100))
        assert at_100 / at_50 == pytest.approx(factor**50, rel=0.01)
    assert optimistic**50 < 0.1  # and the other is more than 8


def test_more_mixings_bring_peers_closer() -> None:
    few, many = (run({"name": "dposg", "rounds": 1, "mixings": t}) for t in (1, 4))
    assert np.var(points(many), axis=0).sum() < 0.5 * np.var(points(few), axis=0).sum()
    assert np.allclose(points(many).mean(0), points(few).mean(0), atol=0.05)


def test_step_sizes_of_the_two_nets_are_apart() -> None:
    """Where D does not learn, x moves along a constant gradient."""
    still = {"generator": SGD, "discriminator": {"name": "sgd", "lr": 0.0}}
    for name in ("dposg", "dss_og"):
        alone = {"peers": 1, "graph": "complete", "optimizer": still}
        ((x, y),) = points(make_states(experiment_of({"name": name}, **alone)))
        (found,) = points(run({"name": name}, **alone))
        assert np.allclose(found, [x + 5 * 0.1 * y, y], atol=1e-6)


@pytest.mark.parametrize("name", ["dposg", "dss_og"])
@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ("adam", r"^optimizer: .* generator's optimizer is adam; set optimizer: \{name: sgd"),
        (SGD | {"momentum": 0.9}, r"^optimizer\.momentum: .* leave it out$"),
        (
            {"generator": SGD, "discriminator": SGD | {"weight_decay": 0.1}},
            r"^optimizer\.weight_decay: .* without the discriminator's weight_decay: 0\.1",
        ),
    ],
)
def test_other_optimizers_are_refused(name: str, optimizer: Any, said: str) -> None:
    experiment = experiment_of({"name": name}, optimizer=optimizer)
    with pytest.raises(UserError, match=said):
        algorithms.find(experiment)


def test_a_schedule_of_the_rate_is_plain_sgd() -> None:
    experiment = experiment_of(
        {"name": "dposg"}, optimizer=SGD | {"momentum": 0.0, "schedule": "linear"}
    )
    assert algorithms.find(experiment).rounds == 5


@pytest.mark.parametrize("name", ["dposg", "dss_og"])
def test_a_peer_that_went_back_to_its_first_values_stays_there(name: str) -> None:
    """With so large a rate numbers overflow, and every gradient after that is not finite."""
    keys: dict[str, Any] = {"peers": 1, "graph": "complete", "optimizer": SGD | {"lr": 1e30}}
    start = points(make_states(experiment_of({"name": name}, **keys)))
    ends = [run({"name": name, "rounds": rounds}, **keys) for rounds in range(1, 15)]
    guards = [states[0].facts.get("guard", {}) for states in ends]
    back = [guard.get("went_back", "") for guard in guards].index("its first values")
    assert np.abs(points(ends[back - 1])).max() > 1e20
    assert np.array_equal(points(ends[back]), start)


ALL_DRAWN: dict[str, dict[str, Any]] = {
    "told classes, augmented, penalised": {
        "gan": "mlp-digits",
        "conditional": True,
        "augment": ["translation", "cutout"],
        "loss": {"name": "bce_ns", "gradient_penalty": 1.0, "r1": 1.0, "r1_every": 2},
    },
    "batch-norm and dropout": {"gan": "tests.support.games:drawing", "loss": "bce_ns"},
}


@pytest.mark.parametrize("keys", ALL_DRAWN.values(), ids=ALL_DRAWN)
def test_two_gradients_of_one_sample_are_equal_at_one_point(keys: dict[str, Any]) -> None:
    """And one of another sample differs, be R1 due or not; the nets are left as they were."""
    experiment = experiment_of({"name": "dss_og"}, peers=1, graph="complete", **keys)
    states = make_states(experiment)
    steps: list[int] = []

    async def probe(peer: Peer) -> None:
        peer.rng("modules")  # a stream is in the state once it was asked for
        async for _ in peer.rounds(3):
            xi = draw_sample(peer)
            steps.append(states[0].r1_step(""))
            w, dumped = point_of(peer), states[0].dump()
            first = await gradients_at(peer, w, xi)
            elsewhere = await gradients_at(peer, {net: w[net] + 0.1 for net in w}, xi)
            assert equal(states[0].dump().tensors, dumped.tensors)
            assert states[0].dump().facts == dumped.facts
            again = await gradients(peer, xi)
            assert equal(first, again)
            for other in (elsewhere, await gradients(peer, draw_sample(peer))):
                assert not any(torch.allclose(first[net], other[net]) for net in first)
            draw_sample(peer)

    drive(experiment, states, Program("probe", probe, 3))
    # three samples a round; R1 is due at the first of them, then at the second
    assert steps == ([1, 0, 1] if "augment" in keys else [0, 0, 0])


def equal(these: Mapping[str, torch.Tensor], those: Mapping[str, torch.Tensor]) -> bool:
    assert these.keys() == those.keys()
    return all(torch.equal(these[name], those[name]) for name in these)

"""Published systems against plain statements of their formulas, and cases that must coincide.

The statements use whole autograd graphs over ordinary modules; the systems send messages. Draws are
replayed from twins of the peers, whose streams give the same numbers.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Coroutine
from decimal import Decimal, localcontext
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

import algorithms
import sim
from algorithms.distributed_gan.average_output import Aggregate, aggregate
from algorithms.distributed_gan.selective_update import Selection, dense, largest, select
from algorithms.partners import derangement
from peer.compute.execute import carry_out
from peer.effects import Letter
from peer.experiment import from_mapping
from peer.gan.arena import module_with
from peer.peer import PAIR, Peer
from peer.state import PeerState
from peer.state.recorder import arena_digest
from peer.streams import torch_seeded
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN
from topology.errors import UserError

States = dict[int, PeerState]
SGD = {"name": "sgd", "lr": 0.05}
UNEQUAL = {"source": "digits", "partition": {"labels": [[0, 1, 2], [3], [4, 5], [6, 7]]}}


def run(algorithm: dict[str, Any], **keys: Any) -> States:
    experiment = from_mapping(PLAIN | keys | {"algorithm": algorithm})
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    return states


def twins(algorithm: dict[str, Any], **keys: Any) -> States:
    return make_states(from_mapping(PLAIN | keys | {"algorithm": algorithm}))


def digests(states: States) -> list[str]:
    return [arena_digest(states[k]) for k in sorted(states)]


def vector(state: PeerState, net: str) -> torch.Tensor:
    return state.nets[net].arena.vector


def flat(module: torch.nn.Module, state: PeerState, net: str) -> torch.Tensor:
    """The parameters of ``module`` laid out as the arena of ``net`` is."""
    out = torch.zeros_like(vector(state, net))
    values = dict(module.named_parameters())
    for slot in state.nets[net].arena.layout.slots:
        out[slot.offset : slot.offset + slot.size] = values[slot.name].detach().flatten()
    return out


def step(module: torch.nn.Module, loss: torch.Tensor, lr: float, pull: Any = None) -> None:
    """w = w - lr (grad + mu (w - anchor))."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    anchors = [None] * len(gradients) if pull is None else list(pull[1].parameters())
    with torch.no_grad():
        for w, g, anchor in zip(module.parameters(), gradients, anchors, strict=True):
            w -= lr * (g if anchor is None else g + pull[0] * (w - anchor))


def d_loss(D: Any, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    return softplus(-D(real)).mean() + softplus(D(fake)).mean()


def g_loss(D: Any, fake: torch.Tensor) -> torch.Tensor:
    return softplus(-D(fake)).mean()


def nets_of(state: PeerState) -> tuple[torch.nn.Module, torch.nn.Module]:
    return copy.deepcopy(state.gan.generator), copy.deepcopy(state.gan.discriminator)


# --- federated ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu", [0.0, 0.5])
@pytest.mark.parametrize("weighting", ["samples", "uniform"])
def test_fedavg_and_fedprox_are_what_their_formulas_say(mu: float, weighting: str) -> None:
    algorithm = {
        "name": "fedavg", "rounds": 3, "local_steps": 2, "mu": mu, "weighting": weighting,
    }  # fmt: skip
    keys = {"data": UNEQUAL, "optimizer": SGD}
    got = run(algorithm, **keys)
    twin = twins(algorithm, **keys)
    G, D = nets_of(twin[0])
    n = {k: len(twin[k].shard) for k in range(1, 5)}
    assert len(set(n.values())) > 1
    total = sum(n.values()) if weighting == "samples" else 4
    for _ in range(3):
        sums: list[Any] = [None, None]
        for k in range(1, 5):
            g, d = copy.deepcopy(G), copy.deepcopy(D)
            for _ in range(2):
                real = twin[k].draw_real()
                fake = g(twin[k].draw_noise(16)).detach()
                step(d, d_loss(d, real, fake), 0.05, (mu, D))
                step(g, g_loss(d, g(twin[k].draw_noise(16))), 0.05, (mu, G))
            share = (n[k] if weighting == "samples" else 1) / total
            for i, (module, net) in enumerate(zip((g, d), PAIR, strict=True)):
                w = flat(module, twin[0], net) * share
                sums[i] = w if sums[i] is None else sums[i] + w
        G, D = (module_with(m, w) for m, w in zip((G, D), sums, strict=True))
    for module, net in zip((G, D), PAIR, strict=True):
        assert torch.allclose(flat(module, got[0], net), vector(got[0], net), atol=1e-6)


def test_one_simultaneous_step_with_everybody_is_sgd_on_the_mean_gradient() -> None:
    algorithm = {"name": "fedavg", "rounds": 4, "local_steps": 1, "order": "simultaneous"}
    keys = {"data": UNEQUAL, "optimizer": SGD}
    got, twin = run(algorithm, **keys), twins(algorithm, **keys)
    G, D = nets_of(twin[0])
    n = sum(len(twin[k].shard) for k in range(1, 5))
    for _ in range(4):
        losses_d, losses_g = [], []
        for k in range(1, 5):
            share = len(twin[k].shard) / n
            real, z_d = twin[k].draw_real(), twin[k].draw_noise(16)
            losses_d.append(share * d_loss(D, real, G(z_d).detach()))
            losses_g.append(share * g_loss(D, G(twin[k].draw_noise(16))))
        of_d = torch.autograd.grad(torch.stack(losses_d).sum(), list(D.parameters()))
        of_g = torch.autograd.grad(torch.stack(losses_g).sum(), list(G.parameters()))
        with torch.no_grad():
            for module, gradients in ((D, of_d), (G, of_g)):
                for w, gradient in zip(module.parameters(), gradients, strict=True):
                    w -= 0.05 * gradient
    for module, net in zip((G, D), PAIR, strict=True):
        assert torch.allclose(flat(module, got[0], net), vector(got[0], net), atol=1e-6)


def test_fedprox_without_a_pull_is_fedavg_bit_for_bit() -> None:
    plain = {"name": "fedavg", "rounds": 4, "local_steps": 3}
    assert digests(run(plain | {"mu": 0.0})) == digests(run(plain))
    assert digests(run(plain | {"mu": 0.1})) != digests(run(plain))


def test_dittos_personal_pair_without_a_pull_is_training_alone_bit_for_bit() -> None:
    sets = [[0, 1], [2, 3], [4, 5], [6, 7]]
    ditto = {"name": "ditto", "rounds": 3, "personal_steps": 2, "local_steps": 1, "pull": 0.0}
    personal = run(ditto, data={"source": "digits", "partition": {"labels": sets}})
    alone = run(
        {"name": "local", "rounds": 6},
        data={"source": "digits", "partition": {"labels": [[8, 9], *sets]}},
        graph="ring",
    )
    pulled = run(ditto | {"pull": 0.5}, data={"source": "digits", "partition": {"labels": sets}})
    for k in range(1, 5):
        for net in PAIR:
            assert torch.equal(vector(personal[k], net), vector(alone[k], net))
            assert not torch.equal(vector(pulled[k], net), vector(alone[k], net))


def test_dittos_server_is_fedavgs_and_the_unsampled_keep_their_own() -> None:
    shared = {"rounds": 1, "local_steps": 2, "fraction": 0.5}
    ditto = run({"name": "ditto", "personal_steps": 1, **shared})
    untrained = twins({"name": "ditto", **shared})
    moved = [
        k for k in range(1, 5)
        if not torch.equal(vector(ditto[k], "generator"), vector(untrained[k], "generator"))
    ]  # fmt: skip
    assert len(moved) == 2
    assert not torch.equal(vector(ditto[0], "generator"), vector(untrained[0], "generator"))


def test_oasis_with_one_group_and_no_regulariser_is_fedavg_bit_for_bit() -> None:
    shared = {"rounds": 4, "local_steps": 2, "fraction": 0.5}
    fedavg = run({"name": "fedavg", **shared})
    oasis = {"name": "oasis", **shared, "grouping": {"k": 1}}
    assert digests(run(oasis | {"regulariser": {"gamma": 0.0}})) == digests(fedavg)
    assert digests(run(oasis | {"regulariser": {"gamma": 0.5}})) != digests(fedavg)


def test_fegan_without_either_is_fl_vanilla_bit_for_bit() -> None:
    shared = {"rounds": 4, "local_steps": 2, "fraction": 0.5}
    vanilla = run({"name": "fedavg", "order": "G_first", "weighting": "uniform", **shared})
    fegan = {"name": "fegan", **shared}
    assert digests(run(fegan | {"balanced": False, "kl": False})) == digests(vanilla)
    assert digests(run(fegan | {"balanced": True, "kl": True})) != digests(vanilla)


def test_g_first_trains_d_on_the_fakes_that_g_was_judged_by() -> None:
    algorithm = {"name": "fedavg", "rounds": 1, "local_steps": 1, "order": "G_first"}
    keys = {"peers": 2, "graph": "path", "optimizer": SGD}
    got, twin = run(algorithm, **keys), twins(algorithm, **keys)
    G, D = nets_of(twin[0])
    z = twin[1].draw_noise(16)
    fake = G(z).detach()
    step(G, g_loss(D, G(z)), 0.05)
    step(D, d_loss(D, twin[1].draw_real(), fake), 0.05)
    for module, net in zip((G, D), PAIR, strict=True):
        assert torch.allclose(flat(module, got[1], net), vector(got[1], net), atol=1e-6)


# --- gossip ---------------------------------------------------------------------------------------

STILL = {"name": "sgd", "lr": 0.0}


def test_pairwise_gossip_keeps_the_mean_and_brings_peers_together() -> None:
    algorithm = {"name": "gossip", "rounds": 30, "period": 1}
    keys = {"graph": "ring", "init": "own", "optimizer": STILL}
    before, after = twins(algorithm, **keys), run(algorithm, **keys)
    for net in PAIR:
        was, now = (
            torch.stack([vector(s[k], net) for k in s]).double() for s in (before, after)
        )  # fmt: skip
        assert torch.allclose(was.mean(0), now.mean(0), atol=1e-6)
        assert now.var(0).sum() < 1e-3 * was.var(0).sum()


FAULTY = {
    "faults": [{"peer": 1, "down": 3.1, "up": 9.7}],
    "network": {"loss": 0.3, "delay": 0.1},
    "deadline": 1.0,
}


@pytest.mark.parametrize("failing", [{}, FAULTY], ids=["sound", "faulty"])
def test_sum_weight_gossip_conserves_mass_and_the_weighted_mean(failing: dict[str, Any]) -> None:
    algorithm = {"name": "gossip", "rounds": 12, "period": 1, "mix": "sum_weight"}
    keys = {"graph": "ring", "init": "own", "optimizer": STILL, **failing}
    before, after = twins(algorithm, **keys), run(algorithm, **keys)
    for net in PAIR:
        alpha = torch.tensor([after[k].facts["alpha"][net] for k in after], dtype=torch.float64)
        assert alpha.sum().item() == pytest.approx(1.0)
        now = torch.stack([vector(after[k], net) for k in after]).double()
        was = torch.stack([vector(before[k], net) for k in before]).double()
        assert torch.allclose((alpha[:, None] * now).sum(0), was.mean(0), atol=1e-6)


# --- one generator --------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("loss", ["bce_ns", "bce_sat"])
def test_mdgans_generator_follows_all_discriminators(k: int, loss: str) -> None:
    algorithm = {"name": "mdgan", "rounds": 2, "k": k, "swap": False}
    keys = {"optimizer": SGD, "loss": loss}
    got, twin = run(algorithm, **keys), twins(algorithm, **keys)
    G = nets_of(twin[0])[0]
    Ds = {n: nets_of(twin[0])[1] for n in range(1, 5)}
    for _ in range(2):
        X = [G(twin[0].draw_noise(16)) for _ in range(k)]
        losses = []
        for n in range(1, 5):
            step(Ds[n], d_loss(Ds[n], twin[n].draw_real(), X[(n + 1) % k].detach()), 0.05)
            phi = Ds[n](X[n % k])
            losses.append((softplus(-phi) if loss == "bce_ns" else -softplus(phi)).mean())
        step(G, torch.stack(losses).mean(), 0.05)
    assert torch.allclose(flat(G, got[0], "generator"), vector(got[0], "generator"), atol=1e-6)
    for n in range(1, 5):
        ours = vector(got[n], "discriminator")
        assert torch.allclose(flat(Ds[n], got[n], "discriminator"), ours, atol=1e-6)


def test_one_mdgan_worker_is_a_gan_with_separate_fake_batches() -> None:
    algorithm = {"name": "mdgan", "rounds": 3, "k": 2}
    keys = {"peers": 2, "graph": "path", "optimizer": SGD}
    got, twin = run(algorithm, **keys), twins(algorithm, **keys)
    G, D = nets_of(twin[0])
    for _ in range(3):
        z = [twin[0].draw_noise(16) for _ in range(2)]
        step(D, d_loss(D, twin[1].draw_real(), G(z[0]).detach()), 0.05)
        step(G, g_loss(D, G(z[1])), 0.05)
    assert torch.allclose(flat(G, got[0], "generator"), vector(got[0], "generator"), atol=1e-6)
    ours = vector(got[1], "discriminator")
    assert torch.allclose(flat(D, got[1], "discriminator"), ours, atol=1e-6)


def test_discriminators_change_places_and_none_is_lost() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 5, 8):
        items = list(range(10, 10 + size))
        moved = derangement(items, rng)
        assert sorted(moved) == items
        assert all(a != b for a, b in zip(items, moved, strict=True))
    algorithm = {"name": "mdgan", "rounds": 1, "n_d": 1, "swap_epochs": 0.01}
    still = run(algorithm | {"swap": False}, graph="complete", optimizer=SGD)
    swapped = run(algorithm, graph="complete", optimizer=SGD)
    held = {k: vector(still[k], "discriminator").numpy().tobytes() for k in range(1, 5)}
    now = {k: vector(swapped[k], "discriminator").numpy().tobytes() for k in range(1, 5)}
    assert sorted(held.values()) == sorted(now.values())
    assert all(held[k] != now[k] for k in held)


@pytest.mark.parametrize("loss", ["bce_ns", "bce_sat", "lsgan", "hinge", "wgan"])
def test_average_output_is_back_propagation_through_the_average(loss: str) -> None:
    algorithm = {"name": "distributed_gan", "approach": "average_output", "rounds": 1}
    keys = {"optimizer": SGD, "loss": loss}
    got, twin = run(algorithm, **keys), twins(algorithm, **keys)
    G = nets_of(twin[0])[0]
    z_d, z_g = twin[0].draw_noise(16), twin[0].draw_noise(16)
    fake, images = G(z_d).detach(), G(z_g)
    verdicts = []
    for j in range(1, 5):
        D = nets_of(twin[0])[1]
        real = twin[j].draw_real()
        if loss == "lsgan":
            value = 0.5 * ((D(real) - 1).square().mean() + D(fake).square().mean())
            step(D, value, 0.05)
            verdicts.append(D(images))
        elif loss == "hinge":
            value = torch.clamp(1 - D(real), min=0).mean() + torch.clamp(1 + D(fake), min=0).mean()
            step(D, value, 0.05)
            verdicts.append(D(images))
        elif loss == "wgan":
            step(D, D(fake).mean() - D(real).mean(), 0.05)
            verdicts.append(D(images))
        else:
            step(D, d_loss(D, real, fake), 0.05)
            verdicts.append(torch.sigmoid(D(images)))
    mean = torch.stack(verdicts).mean(0)
    value = {
        "bce_ns": lambda p: -torch.log(p).mean(),
        "bce_sat": lambda p: torch.log(1 - p).mean(),
        "lsgan": lambda p: (p - 1).square().mean(),
        "hinge": lambda p: -p.mean(),
        "wgan": lambda p: -p.mean(),
    }[loss](mean)
    step(G, value, 0.05)
    assert torch.allclose(flat(G, got[0], "generator"), vector(got[0], "generator"), atol=1e-6)


def test_with_one_user_approaches_two_and_three_are_one_gan() -> None:
    keys = {"peers": 2, "graph": "path", "optimizer": SGD}
    two, three = (
        {"name": "distributed_gan", "rounds": 3, "approach": a}
        for a in ("average_output", "sequential")
    )
    assert digests(run(two, **keys)) == digests(run(three, **keys))
    got, twin = run(three, **keys), twins(three, **keys)
    G, D = nets_of(twin[0])
    for _ in range(3):
        z_d, z_g = twin[0].draw_noise(16), twin[0].draw_noise(16)
        step(D, d_loss(D, twin[1].draw_real(), G(z_d).detach()), 0.05)
        step(G, g_loss(D, G(z_g)), 0.05)
    assert torch.allclose(flat(G, got[0], "generator"), vector(got[0], "generator"), atol=1e-6)


def test_the_generator_travels_from_user_to_user() -> None:
    algorithm = {"name": "distributed_gan", "serverless": True, "rounds": 2}
    keys = {"peers": 3, "graph": "ring", "optimizer": SGD}
    got, twin = run(algorithm, **keys), twins(algorithm, **keys)
    G = nets_of(twin[0])[0]
    Ds = [nets_of(twin[0])[1] for _ in range(3)]
    for _ in range(2):
        for k in range(3):
            real, z = twin[k].draw_real(), twin[k].draw_noise(16)
            step(Ds[k], d_loss(Ds[k], real, G(z).detach()), 0.05)
            step(G, g_loss(Ds[k], G(twin[k].draw_noise(16))), 0.05)
    assert torch.allclose(flat(G, got[0], "generator"), vector(got[0], "generator"), atol=1e-6)


@pytest.mark.parametrize("approach", ["average_output", "sequential"])
def test_the_server_records_the_loss_of_its_generator(approach: str, tmp_path: Path) -> None:
    algorithm = {"name": "distributed_gan", "approach": approach, "rounds": 2}
    keys = PLAIN | {"algorithm": algorithm, "metrics": {"every": 1}}
    sim.run(keys, run_dir=tmp_path / "run", report=False)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [record for line in lines if (record := json.loads(line)).get("losses") is not None]
    noted = {(r["peer"], r["round"]): r["generator_loss"] for r in records if "generator_loss" in r}
    assert set(noted) == {(0, 1), (0, 2)}
    assert all(0.3 < loss < 3 for loss in noted.values())  # -log D(G(z)), D near a half


def server_of(loss: str) -> Peer:
    keys = PLAIN | {"loss": loss, "algorithm": {"name": "distributed_gan", "rounds": 1}}
    experiment = from_mapping(keys)
    return Peer(make_states(experiment)[0], experiment.schedule)


def test_f2u_listens_to_the_most_forgiving_and_f2a_lies_between() -> None:
    phi = torch.tensor([[0.2, 0.9, 0.1], [0.7, 0.3, 0.1]])
    most, _ = aggregate(server_of("lsgan"), [1, 2, 3], phi, Aggregate(by="max"))
    expected = torch.zeros(2, 3)
    expected[0, 1], expected[1, 0] = 2 * (0.9 - 1) / 2, 2 * (0.7 - 1) / 2
    assert torch.allclose(most, expected)
    mean, _ = aggregate(server_of("lsgan"), [1, 2, 3], phi, Aggregate(by="mean"))
    flat_, _ = aggregate(server_of("lsgan"), [1, 2, 3], phi, Aggregate(by="softmax", start=0.0))
    assert torch.allclose(mean, flat_)
    sharp, _ = aggregate(server_of("lsgan"), [1, 2, 3], phi, Aggregate(by="softmax", start=500.0))
    assert torch.allclose(sharp, most, atol=1e-4)
    weighted, _ = aggregate(
        server_of("lsgan"), [1, 2, 3], phi, Aggregate(v={1: 1.0, 2: 0.0, 3: 1.0})
    )
    assert weighted[:, 1].tolist() == [0.0, 0.0]


def exact_slopes(phi: list[float], by: str, loss: str) -> list[float]:
    """dL/dphi_j of one image, lambda being 0.1, in decimal arithmetic of 400 digits."""
    with localcontext(prec=400):
        D = [1 / (1 + (-Decimal(x)).exp()) for x in phi]
        scores = {"mean": [Decimal(0) for _ in D], "softmax": [x / 10 for x in D]}
        e = [x.exp() for x in scores[by]] if by in scores else [Decimal(x == max(D)) for x in D]
        s = [x / sum(e) for x in e]
        total = sum(map(mul, s, D), Decimal(0))
        outer = -1 / total if loss == "bce_ns" else -1 / (1 - total)
        # D_j is in its own share, too: ds_i/dD_j = lambda s_i (delta_ij - s_j)
        moved = [1 + (x - total) / 10 if by == "softmax" else Decimal(1) for x in D]
        return [float(outer * a * m * x * (1 - x)) for a, m, x in zip(s, moved, D, strict=True)]


@pytest.mark.parametrize("by", ["mean", "max", "softmax"])
@pytest.mark.parametrize("loss", ["bce_ns", "bce_sat"])
def test_far_logits_have_the_derivative_of_exact_arithmetic(by: str, loss: str) -> None:
    """A logit of -90 or 17 is a probability of 0 or 1 in float32, whose logarithm is not finite."""
    rows = [[-300.0, -90.0, -200.0], [17.0, 40.0, 300.0], [-100.0, 30.0, 0.5], [0.25, -0.75, 2.0]]
    how = Aggregate.model_validate({"by": by})
    got, _ = aggregate(server_of(loss), [1, 2, 3], torch.tensor(rows), how)
    expected = torch.tensor([exact_slopes(row, by, loss) for row in rows]) / len(rows)
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-9)


def result_of(running: Coroutine[Any, Any, torch.Tensor], state: PeerState) -> torch.Tensor:
    """What the coroutine returns, whose effects are all local."""
    answer = None
    while True:
        try:
            effect = running.send(answer)
        except StopIteration as ended:
            found: torch.Tensor = ended.value
            return found
        answer = carry_out(effect, state)


def seed_of_modules(state: PeerState) -> int:
    return int(state.streams["modules"].integers(2**63))


def test_feedback_of_a_d_with_dropout_is_of_the_pass_that_gave_its_logits() -> None:
    how, keys = {"name": "mdgan", "rounds": 1}, {"graph": "complete", "gan": "mlpgan"}
    state, twin = twins(how, **keys)[1], twins(how, **keys)[1]
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    D = nets_of(twin)[1]
    with torch_seeded(seed_of_modules(twin)):
        leaf = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(g_loss(D, leaf), leaf)
    schedule = from_mapping(PLAIN | {"algorithm": how}).schedule
    error = result_of(Peer(state, schedule).error_of_images(x), state)
    assert torch.allclose(error, expected, atol=1e-8)
    assert seed_of_modules(state) == seed_of_modules(twin)  # one seed was drawn


def test_with_dropout_approach_three_is_one_gan_too() -> None:
    """Two letters lie between the logits and the error: both passes have the same mask."""
    how: dict[str, Any] = {"name": "distributed_gan", "rounds": 2}
    keys = {"peers": 2, "graph": "path", "optimizer": SGD, "gan": "mlpgan"}
    got, twin = run(how, **keys), twins(how, **keys)
    G, D = nets_of(twin[0])
    for _ in range(2):
        z_d, z_g = twin[0].draw_noise(16), twin[0].draw_noise(16)
        with torch_seeded(seed_of_modules(twin[1])):
            loss = d_loss(D, twin[1].draw_real(), G(z_d).detach())
        step(D, loss, 0.05)
        with torch_seeded(seed_of_modules(twin[1])):
            loss = g_loss(D, G(z_g))
        step(G, loss, 0.05)
    assert torch.allclose(flat(G, got[0], "generator"), vector(got[0], "generator"), atol=1e-6)


def test_without_a_user_that_counts_the_generator_takes_no_step() -> None:
    """The weights of users whose v_j is 0 would be 0/0; their discriminators train all the same."""
    how = {"name": "distributed_gan", "approach": "average_output", "rounds": 3}
    keys: dict[str, Any] = {"faults": [{"peer": 1, "down": 0.0001}], "deadline": 5.0}
    keys["optimizer"] = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
    algorithm = how | {"outputs": {"v": {1: 1.0}}}
    before, got = twins(algorithm, **keys), run(algorithm, **keys)
    assert torch.equal(vector(got[0], "generator"), vector(before[0], "generator"))
    for j in (2, 3, 4):
        assert not torch.equal(vector(got[j], "discriminator"), vector(before[j], "discriminator"))
        assert "guard" not in got[j].facts
    slopes, _ = aggregate(server_of("bce_ns"), [2], torch.zeros(2, 1), Aggregate(v={1: 1.0}))
    assert slopes.tolist() == [[0.0], [0.0]]


def test_f2as_lambda_follows_its_own_gradient_and_stays_above_zero() -> None:
    phi = torch.tensor([[0.2, 0.9], [0.7, 0.3]], dtype=torch.float64).float()

    def objective(value: float) -> float:
        weights = torch.softmax(value * phi.double(), dim=1)
        verdict = (weights * phi.double()).sum(1)
        return float((verdict - 1).square().mean() + 0.1 * value**2)

    slope = (objective(0.5 + 1e-4) - objective(0.5 - 1e-4)) / 2e-4
    peer = server_of("lsgan")
    _, loss = aggregate(peer, [1, 2], phi, Aggregate(by="softmax", start=0.5, lr=0.1))
    assert loss == pytest.approx(objective(0.5), abs=1e-6)
    assert peer.facts["lambda"] == pytest.approx(0.5 - 0.1 * slope, abs=1e-5)
    peer = server_of("lsgan")
    aggregate(peer, [1, 2], phi, Aggregate(by="softmax", start=0.01, lr=100.0, beta=10.0))
    assert peer.facts["lambda"] >= 0


def test_selective_update_takes_the_biggest_changes() -> None:
    changes = [torch.tensor([1.0, -5.0, 0.0]), torch.tensor([-2.0, 4.0, 0.5])]
    assert select(changes, "elem_maxabs").tolist() == [-2.0, -5.0, 0.5]
    assert select(changes, "elem_max_signed").tolist() == [1.0, 4.0, 0.5]
    assert select(changes, "user_max_norm").tolist() == [1.0, -5.0, 0.0]
    assert select(changes, "mean").tolist() == [-0.5, -0.5, 0.25]
    few = largest(changes[0], Selection(fraction=0.4), 3)
    assert dense(Letter("change", few), changes[0]).tolist() == [0.0, -5.0, 0.0]
    none = largest(changes[1], Selection(threshold=3.0), 3)
    assert dense(Letter("change", none), changes[1]).tolist() == [0.0, 4.0, 0.0]


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "keys", "words"),
    [
        ({"name": "fedavg"}, {"graph": "ring"}, "fedavg needs links that are not there: 0-2, 0-3"),
        ({"name": "fedavg", "server": 7}, {}, "algorithm.server: there is no peer 7"),
        ({"name": "fedavg"}, {"peers": 1}, "peers: 1 is the server alone"),
        ({"name": "mdgan"}, {}, "mdgan needs links that are not there: 1-2, 1-3, 1-4 and 3 more"),
        ({"name": "distributed_gan", "serverless": True}, {"graph": "path"}, "0-4"),
        (
            {"name": "distributed_gan", "serverless": True, "approach": "average_output"},
            {"graph": "ring"},
            "serverless is a form of approach: sequential",
        ),
        ({"name": "gossip", "partners": "anybody"}, {"graph": "ring"}, "'graph: complete'"),
        ({"name": "oasys"}, {}, "did you mean 'oasis'"),
    ],
)
def test_one_line_says_what_cannot_be(
    algorithm: dict[str, Any], keys: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        run(algorithm | {"rounds": 1}, **keys)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)

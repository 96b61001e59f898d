"""Gradient penalties: against plain autograd, in every engine, and across a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import algorithms
from peer.compute.execute import carry_out
from peer.effects import Train
from peer.experiment import from_mapping
from peer.gan.losses import LOSSES
from peer.gan.objectives import OBJECTIVES, Batch
from peer.gan.penalties import Penalties
from peer.state import PeerState
from sim.engines.stacked import Stacked
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN, keys_of
from topology.errors import InputNote

RING = PLAIN | {
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 5},
    "optimizer": {"name": "sgd", "lr": 0.01},
}
WGAN = {"name": "wgan", "gradient_penalty": 10}
LAZY = {"name": "bce_ns", "r1": 5.0, "r1_every": 3}
BATCH_NORM = {
    "gan": {"name": "dcgan28", "width": 4},
    "data": {"source": "synthetic", "images": 40, "size": 28, "partition": "own"},
}


def test_the_gradient_penalty_of_a_linear_discriminator_by_hand() -> None:
    """phi = w . x: the slope is |w| wherever x^ lies, and the penalty lambda (|w| - 1)^2."""
    D = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    w = torch.tensor([[0.0, 3.0, 0.0, 4.0]])
    weight = D.get_parameter("1.weight")
    with torch.no_grad():
        weight.copy_(w)
    x, y = torch.randn(5, 1, 2, 2), torch.randn(5, 1, 2, 2)
    loss = replace(LOSSES["wgan"], penalties=Penalties(gradient_penalty=10.0))
    found = OBJECTIVES["discriminator"].value(None, D, loss, Batch(x, fake=y, eps=torch.rand(5)))
    added = found.minimised - found.loss
    assert added.item() == pytest.approx(10 * 16, rel=1e-5)
    (gradient,) = torch.autograd.grad(added, weight)
    # d/dw lambda (|w| - 1)^2 = 2 lambda (|w| - 1) w / |w|
    torch.testing.assert_close(gradient, 20 * 4 / 5 * w, rtol=1e-4, atol=1e-3)


def test_a_discriminator_without_slope_has_a_finite_gradient() -> None:
    D = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    nn.init.zeros_(D.get_parameter("1.weight"))
    loss = replace(LOSSES["wgan"], penalties=Penalties(gradient_penalty=10.0))
    x = torch.randn(3, 1, 2, 2)
    batch = Batch(x, fake=-x, eps=torch.rand(3))
    value = OBJECTIVES["discriminator"].value(None, D, loss, batch).minimised
    for gradient in torch.autograd.grad(value, list(D.parameters())):
        assert gradient.isfinite().all()


def oracle(state: PeerState, twin: PeerState, steps: int) -> torch.Tensor:
    """D's parameters after ``steps`` of plain SGD, from the formulas, on the twin's draws."""
    G, D = twin.pair("")
    assert isinstance(G, nn.Module)
    assert isinstance(D, nn.Module)
    says = state.loss.name, state.loss.penalties
    for step in range(steps):
        real = twin.draw_real()
        if says[1].gradient_penalty:
            eps = torch.from_numpy(twin.streams["eps"].random(len(real), dtype="float32"))
        fake = G(twin.draw_noise(len(real))).detach()
        phi, psi = D(real), D(fake)
        if says[0] == "wgan":
            value = psi.mean() - phi.mean()
        else:
            bce = nn.BCEWithLogitsLoss()
            value = bce(phi, torch.ones_like(phi)) + bce(psi, torch.zeros_like(psi))
        if says[1].gradient_penalty:
            e = eps.reshape(-1, 1, 1, 1)
            hat = (e * real + (1 - e) * fake).requires_grad_()
            (g,) = torch.autograd.grad(D(hat).sum(), hat, create_graph=True)
            lengths = (g * g).sum(dim=(1, 2, 3)).sqrt()
            value = value + says[1].gradient_penalty * ((lengths - 1) ** 2).mean()
        if says[1].r1 and step % says[1].r1_every == 0:
            x = real.clone().requires_grad_()
            (g,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
            value = value + says[1].r1_every * says[1].r1 / 2 * (g * g).sum(dim=(1, 2, 3)).mean()
        gradients = torch.autograd.grad(value, list(D.parameters()))
        with torch.no_grad():
            for w, gradient in zip(D.parameters(), gradients, strict=True):
                w -= 0.01 * gradient
    return twin.nets["discriminator"].arena.vector


@pytest.mark.parametrize(
    "loss",
    [WGAN, LAZY, {"name": "wgan", "gradient_penalty": 3.0, "r1": 2.0, "r1_every": 2}],
    ids=["gradient penalty", "lazy R1", "both"],
)
def test_steps_of_one_peer_are_those_of_plain_autograd(loss: dict[str, Any]) -> None:
    experiment = from_mapping(RING | {"loss": loss})
    state, twin = make_states(experiment)[0], make_states(experiment)[0]
    expected = oracle(state, twin, 5)
    carry_out(Train("discriminator", "discriminator", 5), state)
    found = state.nets["discriminator"].arena.vector
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    plain = make_states(from_mapping(RING | {"loss": loss["name"]}))[0]
    carry_out(Train("discriminator", "discriminator", 5), plain)
    assert not torch.allclose(plain.nets["discriminator"].arena.vector, found, atol=1e-4)
    assert plain.streams.dump()["batches"] == state.streams.dump()["batches"]
    assert plain.streams.dump()["noise"] == state.streams.dump()["noise"]


def test_the_reported_loss_is_without_penalties() -> None:
    def reported(loss: Any) -> float:
        state = make_states(from_mapping(RING | {"loss": loss}))[0]
        return float(carry_out(Train("discriminator", "discriminator"), state).loss)

    assert reported(WGAN) == reported("wgan")
    assert reported(LAZY) == reported("bce_ns")


def end(keys: dict[str, Any], engine: Stacked | None) -> dict[int, PeerState]:
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment), engine=engine)
    return states


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": WGAN},
        {"loss": LAZY, "algorithm": {"name": "diffusion", "rounds": 5, "local_steps": 2}},
        {"loss": LAZY, "algorithm": {"name": "diffusion", "rounds": 9, "n_d": 2}},
        keys_of("fedavg, half of them", 4) | {"loss": LAZY},
        keys_of("oasis", 3) | {"loss": LAZY},
        keys_of("mdgan", 3) | {"loss": WGAN},
    ],
    ids=["wgan", "several steps", "recorded", "out of step", "beside Omega", "given fakes"],
)
def test_stacked_is_one_peer_at_a_time(changes: dict[str, Any]) -> None:
    keys = RING | changes | {"optimizer": RING["optimizer"]}
    engine = Stacked()
    stacked, alone = end(keys, engine), end(keys, None)
    assert all(tuner.stacked for tuner in engine.tuners.values())
    for k, state in alone.items():
        assert state.facts == stacked[k].facts
        assert state.streams.dump() == stacked[k].streams.dump()
        for name, net in state.nets.items():
            ours = stacked[k].nets[name].arena.vector
            torch.testing.assert_close(ours, net.arena.vector, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", [WGAN, LAZY])
def test_batch_norm_in_the_discriminator_is_noted_and_trained_with(loss: dict[str, Any]) -> None:
    keys = RING | BATCH_NORM | {"loss": loss, "algorithm": {"name": "diffusion", "rounds": 2}}
    keys |= {"peers": 3, "batch": 8}
    engine = Stacked(convolutions=True)
    with pytest.warns(InputNote, match="batch-norm in the discriminator of 'dcgan28' couples"):
        alone, stacked = end(keys, None), end(keys, engine)
    assert all(tuner.stacked for tuner in engine.tuners.values())
    for k, state in alone.items():
        for name, net in state.nets.items():
            ours = stacked[k].nets[name].arena.vector
            torch.testing.assert_close(ours, net.arena.vector, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", [WGAN, LAZY])
def test_a_discriminator_that_is_told_classes_may_have_batch_norm(loss: dict[str, Any]) -> None:
    """Its buffers change in every pass, which torch.func.grad refuses."""
    data = {"source": "synthetic", "images": 60, "size": 28, "classes": 3, "partition": "iid"}
    keys = RING | BATCH_NORM | {"loss": loss, "algorithm": {"name": "diffusion", "rounds": 2}}
    keys |= {"peers": 2, "batch": 8, "conditional": True, "data": data}
    with pytest.warns(InputNote, match="batch-norm"):
        alone, stacked = end(keys, None), end(keys, Stacked(convolutions=True))
    for k, state in alone.items():
        for name, net in state.nets.items():
            ours = stacked[k].nets[name].arena.vector
            torch.testing.assert_close(ours, net.arena.vector, rtol=1e-3, atol=1e-4)


def test_oasis_trains_a_discriminator_with_batch_norm() -> None:
    """Its regulariser differentiates through passes that move the statistics."""
    states = end(keys_of("oasis", 2) | BATCH_NORM, None)
    assert states[1].nets["discriminator"].arena.vector.isfinite().all()


def test_the_lazy_penaltys_count_is_part_of_the_state() -> None:
    experiment = from_mapping(RING | {"loss": LAZY})
    state, other = make_states(experiment)[0], make_states(experiment)[0]
    carry_out(Train("discriminator", "discriminator", 4), state)
    assert state.r1_step("") == 1
    other.load(state.dump())
    for each in (state, other):
        carry_out(Train("discriminator", "discriminator", 3), each)
    one, two = (each.nets["discriminator"].arena.vector for each in (state, other))
    assert torch.equal(one, two)

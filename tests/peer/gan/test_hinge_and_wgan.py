"""Hinge and Wasserstein losses, against their formulas written with plain torch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import algorithms
from peer.experiment import from_mapping
from peer.gan.losses import LOSSES
from peer.gan.objectives import OBJECTIVES, Batch
from peer.state import PeerState
from sim.engines.stacked import Stacked
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN
from topology import UserError


def of_discriminator(loss: str, real: np.ndarray, fake: np.ndarray) -> float:
    """L_D in NumPy."""
    if loss == "hinge":
        return float(np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean())
    return float(fake.mean() - real.mean())


@pytest.mark.parametrize("loss", ["hinge", "wgan"])
def test_values_are_those_of_the_papers(loss: str) -> None:
    """Logits on both sides of hinge's corners, and of the other image count in each batch."""
    real = torch.tensor([[-2.0], [0.25], [1.0], [3.0]])
    fake = torch.tensor([[-3.0], [-0.5], [0.75]])
    found = LOSSES[loss].discriminator(real, fake).item()
    assert found == pytest.approx(of_discriminator(loss, real.numpy(), fake.numpy()))
    assert LOSSES[loss].generator(fake).item() == pytest.approx(2.75 / 3)


@pytest.mark.parametrize("loss", ["hinge", "wgan"])
def test_gradients_are_autograds_of_the_formula(loss: str) -> None:
    torch.manual_seed(3)
    G = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Unflatten(1, (1, 2, 2)))
    D = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1))
    batch = Batch(torch.randn(6, 1, 2, 2), torch.randn(6, 2))
    parts = {"discriminator": D, "generator": G}
    phi, psi = D(batch.real), D(G(batch.z))
    zero = torch.zeros(())
    if loss == "hinge":
        expected_d = torch.maximum(zero, 1 - phi).mean() + torch.maximum(zero, 1 + psi).mean()
    else:
        expected_d = psi.mean() - phi.mean()
    expected = {"discriminator": expected_d, "generator": -psi.mean()}
    for role, net in parts.items():
        found = OBJECTIVES[role].value(G, D, LOSSES[loss], batch)
        assert found.loss is found.minimised
        ours = torch.autograd.grad(found.minimised, list(net.parameters()), retain_graph=True)
        theirs = torch.autograd.grad(expected[role], list(net.parameters()), retain_graph=True)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("loss", ["hinge", "wgan"])
def test_stacked_is_one_peer_at_a_time(loss: str) -> None:
    keys = PLAIN | {
        "graph": "ring",
        "algorithm": {"name": "diffusion", "rounds": 4},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "loss": loss,
    }
    stacked, alone = end(keys, Stacked()), end(keys, None)
    for k, state in alone.items():
        for name, net in state.nets.items():
            ours = stacked[k].nets[name].arena.vector
            torch.testing.assert_close(ours, net.arena.vector, rtol=1e-4, atol=1e-5)


def end(keys: dict[str, Any], engine: Stacked | None) -> dict[int, PeerState]:
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment), engine=engine)
    return states


@pytest.mark.parametrize("loss", ["hinge", "wgan"])
def test_a_regulariser_that_the_loss_has_not_is_refused_before_training(loss: str) -> None:
    oasis: dict[str, Any] = {"name": "oasis", "rounds": 1}
    with pytest.raises(UserError, match=f"'{loss}' has no regulariser.*algorithm.regulariser.gam"):
        algorithms.find(from_mapping(PLAIN | {"algorithm": oasis, "loss": loss}))
    without = oasis | {"regulariser": {"gamma": 0}}
    assert algorithms.find(from_mapping(PLAIN | {"algorithm": without, "loss": loss})).rounds == 1
    real = torch.zeros(2, 1, 1, 1)
    with pytest.raises(UserError, match="has no regulariser"):
        OBJECTIVES["regularised"].value(None, nn.Flatten(), LOSSES[loss], Batch(real, fake=real))

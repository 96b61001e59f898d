"""Nets that are told classes, against plain torch: lookups in a table, and a projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import leaky_relu, linear, softplus

import algorithms
from peer.compute.execute import carry_out
from peer.effects import Gradient
from peer.experiment import from_mapping
from peer.gan.build import make_gan
from peer.gan.conditional import Asked, ConditionalDiscriminator, Labelled, judges
from peer.gan.models import MODELS
from peer.quality.mixture import final_generator
from peer.quality.samples import draw_samples
from peer.state import PeerState
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN, keys_of
from topology import UserError

KEYS: dict[str, Any] = PLAIN | {
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 2},
    "conditional": {"labels": "own", "embedding": 5},
}
Tensors = Mapping[str, torch.Tensor]


def plain_generator(w: Tensors, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = torch.cat((z, w["embedding"][y]), dim=1)
    for i in (0, 2):
        x = leaky_relu(linear(x, w[f"net.{i}.weight"], w[f"net.{i}.bias"]), 0.2)
    return torch.tanh(linear(x, w["net.4.weight"], w["net.4.bias"])).view(-1, 1, 8, 8)


def plain_discriminator(w: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    f = x.flatten(1)
    for i in (1, 3):
        f = leaky_relu(linear(f, w[f"net.first.{i}.weight"], w[f"net.first.{i}.bias"]), 0.2)
    psi = linear(f, w["net.last.5.weight"], w["net.last.5.bias"])[:, 0]
    return torch.stack([psi[i] + w["embedding"][y[i]] @ f[i] for i in range(len(y))])


@pytest.fixture(scope="module")
def state() -> PeerState:
    """Peer 1 after two rounds, when no embedding is 0 any more."""
    experiment = from_mapping(KEYS)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    return states[1]


@pytest.mark.parametrize("net", ["discriminator", "generator"])
def test_a_gradient_is_that_of_plain_torch(state: PeerState, net: str) -> None:
    state = state.copy()
    twin = state.copy()
    result = carry_out(Gradient(net, net), state)

    w = {
        name: {
            key: value.detach().clone().requires_grad_()
            for key, value in held.arena.tensors().items()
        }
        for name, held in twin.nets.items()
    }
    G, D = w["generator"], w["discriminator"]
    streams, shard = twin.streams, twin.shard
    assert shard is not None
    assert shard.labels is not None
    if net == "discriminator":
        chosen = shard.choose(16, streams["batches"])
        real, y = shard.pixels[chosen], torch.from_numpy(shard.labels[chosen]).long()
    z = torch.from_numpy(streams["noise"].standard_normal((16, 32), dtype=np.float32))
    drawn = shard.labels[streams["labels"].integers(0, len(shard), 16)]
    fake = plain_generator(G, z, torch.from_numpy(drawn).long())
    phi = plain_discriminator(D, fake, torch.from_numpy(drawn).long())
    if net == "discriminator":
        value = softplus(-plain_discriminator(D, real, y)).mean() + softplus(phi).mean()
    else:
        value = softplus(-phi).mean()
    names = list(w[net])
    gradients = torch.autograd.grad(value, [w[net][name] for name in names])
    assert result.loss == pytest.approx(value.item(), rel=1e-5)
    layout, ours = state.nets[net].arena.layout, state.nets[net].arena.gradient
    for slot in layout.slots:
        expected = gradients[names.index(slot.name)]
        torch.testing.assert_close(layout.view(ours, slot), expected, rtol=1e-4, atol=1e-6)
        assert slot.name != "embedding" or expected.abs().sum() > 0


@pytest.mark.parametrize("labels", ["own", "all"])
def test_fakes_are_of_the_peers_own_classes_or_of_all(labels: str) -> None:
    states = make_states(from_mapping(KEYS | {"conditional": {"labels": labels}}))
    for k, state in states.items():
        assert state.shard is not None
        batch = state.draw_batch(True, batch=400)
        assert batch.labels_real is not None
        assert batch.labels_fake is not None
        assert batch.z is not None
        assert torch.equal(batch.z[:, 32:], batch.labels_fake)
        assert torch.equal(batch.labels_fake.sum(1), torch.ones(400))
        own = set(np.unique(state.shard.labels).tolist())
        assert set(batch.labels_real.argmax(1).tolist()) == own == {2 * k, 2 * k + 1}
        fakes = set(batch.labels_fake.argmax(1).tolist())
        assert fakes == (own if labels == "own" else set(range(10)))


def test_real_images_are_judged_as_their_own_class(state: PeerState) -> None:
    state = state.copy()
    assert state.shard is not None
    batch = state.draw_batch(True, batch=8)
    assert batch.real is not None
    assert batch.labels_real is not None
    for image, label in zip(batch.real, batch.labels_real.argmax(1), strict=True):
        of = [torch.equal(image, each) for each in state.shard.pixels].index(True)
        assert state.shard.labels is not None
        assert state.shard.labels[of] == label


def test_an_unconditional_draw_is_as_it_was() -> None:
    plain = make_states(from_mapping({key: KEYS[key] for key in KEYS if key != "conditional"}))
    told = make_states(from_mapping(KEYS))
    a, b = plain[0].draw_batch(True), told[0].draw_batch(True)
    assert torch.equal(a.real, b.real)  # type: ignore[arg-type]
    assert torch.equal(a.z, b.z[:, :32])  # type: ignore[arg-type,index]
    assert a.labels_real is None is a.labels_fake


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"unetgan"}))
def test_every_sequence_of_layers_is_made_conditional(name: str) -> None:
    side = 64 if "64" in name else 28 if name == "dcgan28" else 32
    gan = make_gan(name, {}, (3, side, side), seed=0, classes=4, embedding=6)
    assert gan.inputs == gan.z_dim + 4
    z = torch.randn(8, gan.z_dim)
    y = torch.eye(4).repeat(2, 1)
    images = gan.generator(torch.cat((z, y), dim=1))
    assert images.shape == (8, 3, side, side)
    D = gan.discriminator.eval()
    assert isinstance(D, ConditionalDiscriminator)
    with torch.no_grad():
        torch.testing.assert_close(D(images, y), D(images))  # embeddings start from 0
        D.embedding.normal_()
        f = D.net.features(images)
        expected = D(images)[:, 0] + torch.stack(
            [D.embedding[i % 4] @ (f[i] if f.dim() == 2 else f[i].sum((1, 2))) for i in range(8)]
        )
        torch.testing.assert_close(D(images, y)[:, 0], expected, rtol=1e-4, atol=1e-4)


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f, self.psi = nn.Linear(64, 7), nn.Linear(7, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(x.flatten(1)).tanh()

    def verdict(self, f: torch.Tensor) -> torch.Tensor:
        return self.psi(f)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.verdict(self.features(x))


class Whole(Parts):
    features = None  # type: ignore[assignment]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.psi(self.f(x.flatten(1)).tanh())


def _generator(z: int) -> nn.Module:
    return nn.Sequential(nn.Linear(z, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))


def test_a_net_of_ones_own_fills_the_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_parts(shape: Any, z: int = 9) -> Any:
        return _generator(z), Parts()

    def by_itself(shape: Any, classes: int, z: int = 9) -> Any:
        return _generator(z + classes), ConditionalDiscriminator(Parts(), classes, 7)

    def whole(shape: Any, z: int = 9) -> Any:
        return _generator(z), Whole()

    def without_noise(shape: Any) -> Any:
        return _generator(9), Parts()

    for factory in (in_parts, by_itself, whole, without_noise):
        monkeypatch.setitem(MODELS, factory.__name__, factory)
    for name in ("in_parts", "by_itself"):
        gan = make_gan(name, {}, (1, 8, 8), seed=0, classes=3, embedding=4)
        assert (gan.z_dim, gan.inputs) == (9, 12)
        assert gan.discriminator(torch.zeros(2, 1, 8, 8), torch.eye(3)[:2]).shape == (2, 1)
    with pytest.raises(UserError, match=r"conditional: .* does not say its features"):
        make_gan("whole", {}, (1, 8, 8), seed=0, classes=3)
    with pytest.raises(UserError, match=r"conditional: .* takes no z"):
        make_gan("without_noise", {}, (1, 8, 8), seed=0, classes=3)


def test_a_labelled_judge_keeps_real_and_fake_apart() -> None:
    def net(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y

    one = torch.ones(1)
    of_real, of_fake = judges(Labelled(net, 2 * one, 3 * one))
    assert (of_real(one), of_fake(one)) == (3, 4)
    assert Labelled(net, 2 * one, 3 * one)(one) == 3
    assert Labelled(net, None, 3 * one)(one) == 4
    assert judges(net) == (net, net)


def test_samples_are_asked_for_all_classes_in_turn_or_for_one(state: PeerState) -> None:
    generator = final_generator(state)
    assert isinstance(generator, Asked)
    drawn = draw_samples(generator, 32, 30, seed=4)
    only = draw_samples(Asked(generator.net, 10, only=7), 32, 30, seed=4)
    same = [i for i in range(30) if torch.allclose(drawn[i], only[i], atol=1e-6)]
    assert same == [7, 17, 27]
    assert generator.asked(12).tolist() == [*range(10), 0, 1]


def test_what_makes_no_sense_is_refused() -> None:
    for system in ("mdgan", "average output", "selective update"):
        with pytest.raises(UserError, match=r"conditional: .* does not hold both nets"):
            algorithms.find(from_mapping(keys_of(system, 1) | {"conditional": True}))
    with pytest.raises(UserError, match="conditional: the data have no classes"):
        from_mapping(KEYS).build_gan((1, 8, 8), classes=0)
    named = {"source": "folder", "path": "x", "classes": ["cat", "dog"], "partition": "own"}
    gan = from_mapping(KEYS | {"data": named}).build_gan((1, 8, 8), classes=1)
    assert gan.classes == 2
    assert from_mapping(KEYS | {"conditional": False}).conditional is None

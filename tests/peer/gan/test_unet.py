"""U-Net GAN: its normalisation, CutMix and losses by hand, and a few steps of training."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from peer.compute.execute import carry_out
from peer.data.sources import Images
from peer.effects import Evaluate, Generate, Train
from peer.experiment import from_mapping
from peer.gan import LOSSES, OBJECTIVES, Arena, Batch, Layout, make_gan
from peer.gan.models.spectral import SpectralConv2d, SpectralLinear, spectrally_normal
from peer.gan.models.unet import UNetDiscriminator
from peer.gan.unet_losses import (
    PixelJudge,
    cut_mask,
    inconsistency,
    mix,
    pixel_discriminator_loss,
    pixel_generator_loss,
)
from peer.state import PeerState, make_state
from topology import UserError

SHAPE = (3, 32, 32)
BCE = LOSSES["bce_ns"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Spectral normalisation


def test_power_iterations_find_the_largest_singular_value() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=seeded())
    u = torch.randn(6, generator=seeded(1))
    for _ in range(200):
        normal = spectrally_normal(weight, u, training=True)
    largest = torch.linalg.matrix_norm(weight.flatten(1), 2)
    assert torch.allclose(normal, weight / largest, rtol=1e-5)
    assert u.norm().item() == pytest.approx(1)


def test_u_moves_in_training_alone_and_its_length_means_nothing() -> None:
    layer = SpectralLinear(5, 3)
    x = torch.randn(2, 5, generator=seeded())
    layer.eval()
    before = layer.u.clone()
    y = layer(x)
    assert torch.equal(layer.u, before)
    layer.u.mul_(0.25)  # as an average with neighbours may leave it
    assert torch.allclose(layer(x), y, rtol=1e-6)
    layer.train()
    layer(x)
    assert not torch.allclose(layer.u, before)


def test_its_gradient_is_that_of_the_quotient() -> None:
    """Of W / (u' W v) with u and v held fixed: (G - <G, W / sigma> u v') / sigma."""
    weight = torch.randn(4, 3, generator=seeded()).requires_grad_()
    u = torch.randn(4, generator=seeded(1))
    seen = torch.randn(4, 3, generator=seeded(2))
    w = weight.detach()
    v = nn.functional.normalize(w.T @ u, dim=0)
    left = nn.functional.normalize(w @ v, dim=0)
    sigma = left @ w @ v
    (spectrally_normal(weight, u, training=True) * seen).sum().backward()
    expected = (seen - (seen * w / sigma).sum() * torch.outer(left, v)) / sigma
    assert weight.grad is not None
    assert torch.allclose(weight.grad, expected, rtol=1e-5, atol=1e-6)


def test_a_spectral_layer_lives_in_an_arena() -> None:
    twin = nn.Sequential(SpectralConv2d(2, 3, 3, padding=1), nn.Flatten(), SpectralLinear(48, 1))
    arena = Arena(twin, torch.zeros(Layout.of(twin).length))
    net = cast(nn.Sequential, arena.module)
    assert [slot.name for slot in arena.layout.slots if not slot.trained] == ["0.u", "2.u"]
    x = torch.randn(4, 2, 4, 4, generator=seeded())
    assert torch.equal(net(x), twin(x))
    assert torch.equal(net[0].u, twin[0].u)
    tail = arena.vector[arena.layout.trained :]
    assert torch.equal(tail[:3], net[0].u)  # the iteration has written into the arena
    away = copy.deepcopy(net)
    away(x)
    assert torch.equal(tail[:3], twin[0].u)  # and a copy's iteration has not


# CutMix


def test_masks_at_hand_computed_corners() -> None:
    cuts = torch.tensor(
        [
            [0.25, 0.0, 0.0, 0.0],  # a quarter real: a box of 2x2 in the corner
            [0.25, 0.99, 0.5, 0.0],  # top = floor(.99 * 3) = 2, left = floor(.5 * 3) = 1
            [0.75, 0.5, 0.99, 0.5],  # a quarter fake: a box of 2x2 around which all is real
        ]
    )
    masks = cut_mask(cuts, 4, 4)
    assert masks.shape == (3, 1, 4, 4)
    assert masks[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert masks[1, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    assert masks[2, 0].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


def test_masks_show_the_share_that_was_drawn_and_reach_every_pixel() -> None:
    cuts = torch.rand(4000, 4, generator=seeded())
    masks = cut_mask(cuts, 32, 32)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    shares = masks.mean((1, 2, 3))
    assert (shares - cuts[:, 0]).abs().max() < 0.04  # corners lie on whole pixels
    assert masks.mean().item() == pytest.approx(0.5, abs=0.02)
    everywhere = masks.mean((0, 1))
    assert everywhere.min() > 0.4
    assert everywhere.max() < 0.6


def test_a_mask_takes_each_pixel_from_one_of_two_images() -> None:
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    real, fake = torch.full((1, 3, 2, 2), 7.0), torch.full((1, 3, 2, 2), -2.0)
    mixed = mix(real, fake, mask)
    assert mixed[0].tolist() == [[[7, -2], [-2, 7]]] * 3


# Losses


class Constant(nn.Module):
    """Judges every image the same, and every pixel by its own value: perfectly consistent."""

    def __init__(self, logit: float, mix: float = 1.0, consistency: float = 1.0) -> None:
        super().__init__()
        self.logit, self.mix, self.consistency = logit, mix, consistency

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 1), self.logit)

    def forward_pixels(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self(x), x[:, :1]


class ByTheWhole(Constant):
    """Judges every pixel by the image's mean: it does not see where a mixed image is real."""

    def forward_pixels(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self(x), x.mean((1, 2, 3), keepdim=True).expand(-1, 1, *x.shape[2:])


def real_and_fake() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two pairs of 4x4 images of ln 3 and of 0, a quarter of each to be real when mixed."""
    real, fake = torch.full((2, 1, 4, 4), math.log(3)), torch.zeros(2, 1, 4, 4)
    return real, fake, torch.tensor([[0.25, 0.0, 0.0, 0.0]] * 2)


def test_without_cuts_both_verdicts_count_once() -> None:
    real, fake, _ = real_and_fake()
    # images: logit 0 for both, ln 2 each; pixels: sigma(ln 3) = 3/4, sigma(0) = 1/2
    images, pixels = 2 * math.log(2), math.log(4 / 3) + math.log(2)
    value = pixel_discriminator_loss(Constant(0.0), BCE, real, fake, None)
    assert value.item() == pytest.approx(images + pixels)
    assert pixel_generator_loss(Constant(0.0), BCE, real).item() == pytest.approx(
        math.log(2) + math.log(4 / 3)
    )


def test_a_mixed_image_is_fake_and_its_pixels_are_what_they_are() -> None:
    real, fake, cuts = real_and_fake()
    plain = 2 * math.log(2) + math.log(4 / 3) + math.log(2)
    encoder = math.log(2)  # -log(1 - sigma(0))
    decoder = math.log(4 / 3) / 4 + math.log(2) * 3 / 4
    value = pixel_discriminator_loss(Constant(0.0), BCE, real, fake, cuts)
    assert value.item() == pytest.approx(plain + encoder + decoder)  # consistency adds nothing
    half = pixel_discriminator_loss(Constant(0.0, mix=0.5), BCE, real, fake, cuts)
    assert half.item() == pytest.approx(plain + 0.5 * (encoder + decoder))
    none = pixel_discriminator_loss(Constant(0.0, mix=0.0), BCE, real, fake, cuts)
    assert none.item() == pytest.approx(plain)


def test_the_encoder_is_told_that_a_mixed_image_is_fake() -> None:
    real, fake, cuts = real_and_fake()
    sure = pixel_discriminator_loss(Constant(-3.0), BCE, real, fake, cuts)
    without = pixel_discriminator_loss(Constant(-3.0), BCE, real, fake, None)
    decoder = math.log(4 / 3) / 4 + math.log(2) * 3 / 4
    assert (sure - without).item() == pytest.approx(math.log1p(math.exp(-3)) + decoder, rel=1e-5)


def test_consistency_by_hand() -> None:
    real, fake, cuts = real_and_fake()
    mask = cut_mask(cuts, 4, 4)
    mixed = mix(real, fake, mask)
    assert inconsistency(mixed, real, fake, mask).item() == 0
    # all pixels at 3/4, of which three quarters should be at 1/2
    assert inconsistency(real, real, fake, mask).item() == pytest.approx(0.75 * 0.25**2)
    # the judge of means: every pixel of a mixed image at sigma(ln 3 / 4)
    verdict = 1 / (1 + 3**-0.25)
    apart = 0.25 * (verdict - 0.75) ** 2 + 0.75 * (verdict - 0.5) ** 2
    values = [
        pixel_discriminator_loss(ByTheWhole(0.0, consistency=weight), BCE, real, fake, cuts)
        for weight in (0.0, 2.0)
    ]
    assert (values[1] - values[0]).item() == pytest.approx(2 * apart, rel=1e-4)


def test_least_squares_judge_pixels_too() -> None:
    real, fake, cuts = real_and_fake()
    value = pixel_discriminator_loss(Constant(0.0), LOSSES["lsgan"], real, fake, cuts)
    off = 0.5 * (math.log(3) - 1) ** 2  # of a real pixel at ln 3; 1/2 of a fake one's 0
    plain = 0.5 + off
    decoder = off / 4
    assert value.item() == pytest.approx(plain + decoder)


def test_fewer_fakes_than_real_images_are_mixed_as_far_as_they_go() -> None:
    real, fake, cuts = real_and_fake()
    one = pixel_discriminator_loss(Constant(0.0), BCE, real, fake[:1], cuts)
    two = pixel_discriminator_loss(Constant(0.0), BCE, real, fake, cuts)
    assert one.item() == pytest.approx(two.item())  # all images are alike here


def test_objectives_take_the_pixels_into_account() -> None:
    judge: Any = Constant(0.0)
    assert isinstance(judge, PixelJudge)
    real, fake, cuts = real_and_fake()
    generator = nn.Identity()
    batch = Batch(real, fake, cuts=cuts)
    d = OBJECTIVES["discriminator"].value(generator, judge, BCE, batch).minimised
    assert torch.equal(d, pixel_discriminator_loss(judge, BCE, real, fake, cuts))
    g = OBJECTIVES["generator"].value(generator, judge, BCE, batch).minimised
    assert torch.equal(g, pixel_generator_loss(judge, BCE, fake))
    with pytest.raises(AssertionError, match="bare function"):  # its pixels would go unheard
        OBJECTIVES["discriminator"].value(generator, judge.forward, BCE, batch)


# The net


def test_the_two_verdicts_and_what_they_see() -> None:
    net = make_gan("unetgan", {"width": 4}, SHAPE, seed=0).discriminator
    assert isinstance(net, UNetDiscriminator)
    net.eval()
    x = torch.randn(2, *SHAPE, generator=seeded()).requires_grad_()
    logits, pixels = net.forward_pixels(x)
    assert (logits.shape, pixels.shape) == ((2, 1), (2, 1, 32, 32))
    assert torch.equal(net(x), logits)
    decoder = {name for name, _ in net.named_parameters() if name.startswith(("dec", "pixel"))}
    names, parameters = zip(*net.named_parameters(), strict=True)
    gradients = torch.autograd.grad(logits.sum(), parameters, allow_unused=True, retain_graph=True)
    unused = {name for name, g in zip(names, gradients, strict=True) if g is None}
    assert unused == decoder
    gradients = torch.autograd.grad(pixels.sum(), parameters, allow_unused=True)
    unused = {name for name, g in zip(names, gradients, strict=True) if g is None}
    assert unused == {"global_head.weight", "global_head.bias"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"mix": 1.5}, "gan.mix: .*1.5"), ({"consistency": -1.0}, "gan.consistency: .*-1.0")],
)
def test_settings_that_cannot_be(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_gan("unetgan", {"width": 4, **settings}, SHAPE, seed=0)


def test_a_users_own_judge_of_pixels_is_checked(tmp_path: Path) -> None:
    (tmp_path / "half_a_judge.py").write_text(
        """
from torch import nn

class Judge(nn.Module):
    mix, consistency = 0.5, 1.0
    def forward(self, x):
        return x.mean((1, 2, 3))[:, None]
    def forward_pixels(self, x):
        return self(x), x

class Broken(Judge):
    def forward_pixels(self, x):
        raise RuntimeError("not today")

def pair(judge):
    return lambda shape: (nn.Sequential(nn.Linear(8, 192), nn.Unflatten(1, shape)), judge())

colour, broken = pair(Judge), pair(Broken)
"""
    )
    with pytest.raises(UserError, match=r"\(2, 1\), \(2, 3, 8, 8\); it must give .*\(2, 1, 8, 8\)"):
        make_gan("half_a_judge:colour", {}, (3, 8, 8), seed=0, folder=tmp_path)
    with pytest.raises(UserError, match=r"forward_pixels fails .*: not today"):
        make_gan("half_a_judge:broken", {}, (3, 8, 8), seed=0, folder=tmp_path)


def test_many_at_once_under_vmap_are_what_they_are_one_by_one() -> None:
    nets = [make_gan("unetgan", {"width": 2}, SHAPE, seed=s).discriminator for s in range(3)]
    tensors = torch.func.stack_module_state(nets)
    real, fake = torch.randn(2, 3, 2, *SHAPE, generator=seeded()).unbind()
    cuts = torch.rand(3, 2, 4, generator=seeded())

    class Rebound(nn.Module):
        """Calls forward_pixels where functional_call would call forward."""

        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.net.forward_pixels(x)  # type: ignore[no-any-return,operator]

    pattern = Rebound(copy.deepcopy(nets[0]).to("meta"))

    def loss(parameters: Any, buffers: Any, *batch: torch.Tensor) -> torch.Tensor:
        class Judge:
            mix, consistency = 0.5, 1.0

            def forward_pixels(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                values = {f"net.{k}": v for k, v in (parameters | buffers).items()}
                return torch.func.functional_call(pattern, values, x)  # type: ignore[no-any-return]

        return pixel_discriminator_loss(Judge(), BCE, *batch)

    together = torch.func.vmap(torch.func.grad(loss))(*tensors, real, fake, cuts)
    for k, net in enumerate(nets):
        pixel_discriminator_loss(net, BCE, real[k], fake[k], cuts[k]).backward()
        for name, parameter in net.named_parameters():
            assert torch.allclose(together[name][k], parameter.grad, rtol=1e-3, atol=1e-5), name
        for name, u in net.named_buffers():
            assert torch.allclose(tensors[1][name][k], u, atol=1e-5), name


# Training


def state(width: int, seed: int = 0, **settings: Any) -> PeerState:
    experiment = from_mapping(
        {
            "peers": 1,
            "graph": {"edges": []},
            "algorithm": {"name": "local", "rounds": 1},
            "gan": {"name": "unetgan", "z": 16, "width": width, **settings},
            "optimizer": {
                "generator": {"name": "adam", "lr": 0.0001, "betas": [0.0, 0.999]},
                "discriminator": {"name": "adam", "lr": 0.0005, "betas": [0.0, 0.999]},
            },
            "batch": 4,
            "seed": seed,
        }
    )
    pixels = np.random.default_rng(0).uniform(-1, 1, (12, *SHAPE)).astype(np.float32)
    return make_state(experiment, 0, Images(pixels), np.arange(12))


def steps(peer: PeerState, count: int) -> list[float]:
    return [
        carry_out(Train(net, net, 1), peer).loss
        for _ in range(count)
        for net in ("discriminator", "generator")
    ]


def vectors(peer: PeerState) -> list[torch.Tensor]:
    return [net.arena.vector.clone() for net in peer.nets.values()]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the drivers compute: more threads than free cores make these small steps crawl."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_discriminator_learns_to_tell_the_two_apart() -> None:
    peer = state(width=16)
    losses = [carry_out(Train("discriminator", "discriminator", 1), peer).loss for _ in range(16)]
    # single losses jump: a mixed image may be nearly all real, and is to be called fake
    assert statistics.median(losses[8:]) < 0.75 * losses[0]


@pytest.mark.usefixtures("one_thread")
def test_it_trains_at_32x32_on_a_cpu() -> None:
    peer = state(width=16)
    before = vectors(peer)
    losses = steps(peer, 3)
    assert all(math.isfinite(loss) for loss in losses)
    # an undecided judge: ln 2 for each of four verdicts on an image, half of two on a mixed one
    assert losses[0] == pytest.approx(5 * math.log(2), rel=0.1)
    assert losses[1] == pytest.approx(2 * math.log(2), rel=0.1)
    for old, new in zip(before, vectors(peer), strict=True):
        assert torch.isfinite(new).all()
        assert not torch.equal(old, new)
    z = peer.draw_noise(2)
    images = carry_out(Generate("generator", z), peer)
    logits = carry_out(Evaluate("discriminator", images), peer)
    assert (images.shape, logits.shape) == ((2, *SHAPE), (2, 1))
    assert torch.equal(logits, carry_out(Evaluate("discriminator", images), peer))


@pytest.mark.usefixtures("one_thread")
def test_equal_seeds_give_equal_bits_whatever_torch_has_drawn() -> None:
    one, same, other = state(4), state(4), state(4, seed=1)
    losses = steps(one, 3)
    before = torch.get_rng_state()
    torch.manual_seed(99)
    global_state = torch.get_rng_state()
    assert steps(same, 3) == losses
    assert torch.equal(torch.get_rng_state(), global_state)  # nothing was drawn from it
    torch.set_rng_state(before)
    assert steps(other, 3) != losses
    for a, b in zip(vectors(one), vectors(same), strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("one_thread")
def test_cuts_are_the_peers_own_and_move_no_other_draw() -> None:
    mixed, plain = state(4), state(4)
    object.__setattr__(plain, "gan", make_gan("mlp-1m", {"z": 16}, SHAPE, seed=0))
    batch, without = mixed.draw_batch(True), plain.draw_batch(True)
    assert batch.cuts is not None
    assert batch.cuts.shape == (4, 4)
    assert without.cuts is None
    assert torch.equal(batch.z, without.z)
    assert mixed.draw_batch(False).cuts is None


@pytest.mark.usefixtures("one_thread")
def test_rebuilt_from_its_state_it_goes_on_with_the_same_bits() -> None:
    one = state(4)
    steps(one, 2)
    again = state(4, seed=0)
    again.load(one.dump())
    assert steps(again, 2) == steps(one, 2)
    for a, b in zip(vectors(one), vectors(again), strict=True):
        assert torch.equal(a, b)

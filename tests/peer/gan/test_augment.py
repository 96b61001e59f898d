"""Differentiable augmentation against plain loops, and its way through every objective."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from peer.experiment import from_mapping
from peer.gan.augment import TRANSFORMS, View, augment
from peer.gan.losses import LOSSES
from peer.gan.objectives import OBJECTIVES, Batch
from tests.support.systems import PLAIN
from topology import UserError


def uniforms(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(rng.random((count, width)))
        for name, (_, width) in TRANSFORMS.items()
    }


def loops(image: np.ndarray, u: dict[str, np.ndarray]) -> np.ndarray:
    """T of one image (c, h, w), pixel by pixel, as the paper and its code say it."""
    x = image.copy()
    c, h, w = x.shape
    if u["flip"][0] < 0.5:
        x = x[:, :, ::-1].copy()
    x += u["colour"][0] - 0.5
    for i in range(h):
        for j in range(w):
            grey = sum(x[:, i, j]) / c
            x[:, i, j] = (x[:, i, j] - grey) * 2 * u["colour"][1] + grey
    mean = x.sum() / x.size
    x = (x - mean) * (u["colour"][2] + 0.5) + mean
    down, right = (
        int(np.floor(part * (2 * most + 1))) - most
        for part, most in zip(u["translation"], (round(h / 8), round(w / 8)), strict=True)
    )
    moved = np.zeros_like(x)
    for i in range(h):
        for j in range(w):
            if 0 <= i - down < h and 0 <= j - right < w:
                moved[:, i, j] = x[:, i - down, j - right]
    for i in range(h):
        for j in range(w):
            inside = True
            for place, part, side in zip((i, j), u["cutout"], (h, w), strict=True):
                hole = side // 2
                middle = int(part * (side + 1 - hole % 2))
                inside &= middle - hole // 2 <= place < middle - hole // 2 + hole
            if inside:
                moved[:, i, j] = 0
    return moved


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 8)])
def test_augmented_images_are_those_of_plain_loops(shape: tuple[int, ...]) -> None:
    images = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (60, *shape)))
    u = uniforms(60)
    found = augment(images, u).numpy()
    for i, image in enumerate(images.numpy()):
        expected = loops(image, {name: of[i].numpy() for name, of in u.items()})
        np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_every_shift_and_every_place_of_the_hole_occurs() -> None:
    images = torch.ones(2000, 1, 8, 8)
    u = {name: of.float() for name, of in uniforms(2000).items()}
    moved = augment(images, {"translation": u["translation"]})
    assert set(moved.sum((1, 2, 3)).int().tolist()) == {64, 56, 49}
    left = augment(images, {"cutout": u["cutout"]}).sum((1, 2, 3))
    assert set(left.int().tolist()) == {64 - a * b for a in (2, 3, 4) for b in (2, 3, 4)}


def test_under_vmap_it_is_the_same_and_what_is_absent_changes_nothing() -> None:
    images = torch.rand(3, 5, 2, 8, 8, dtype=torch.float64)
    each = [uniforms(5, seed) for seed in range(3)]
    stacked = {name: torch.stack([u[name] for u in each]) for name in TRANSFORMS}
    together = torch.func.vmap(augment)(images, stacked)
    alone = torch.stack([augment(x, u) for x, u in zip(images, each, strict=True)])
    assert torch.equal(together, alone)
    assert augment(images, None) is images


@pytest.mark.parametrize("objective", ["discriminator", "regularised", "generator"])
def test_an_objective_is_that_of_the_augmented_images(objective: str) -> None:
    """By hand: T before D, for real images and for fakes; and G's gradient goes through T."""
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8))).double()
    D = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).double()
    real, z = torch.randn(4, 1, 8, 8).double(), torch.randn(4, 3).double()
    of_real, of_fake = uniforms(4, 1), uniforms(4, 2)
    loss = LOSSES["bce_ns"]
    batch = Batch(real, z, augment_real=of_real, augment_fake=of_fake)
    if objective == "generator":
        batch = batch._replace(real=None, augment_real=None)
    value = OBJECTIVES[objective].value(G, D, loss, batch).loss
    fakes = D(augment(G(z), of_fake))
    if objective == "generator":
        expected = nn.functional.softplus(-fakes).mean()
        of = G[0].weight
    else:
        reals = D(augment(real, of_real))
        expected = nn.functional.softplus(-reals).mean() + nn.functional.softplus(fakes).mean()
        of = D[1].weight
    torch.testing.assert_close(value, expected)
    (ours,), (theirs,) = torch.autograd.grad(value, of), torch.autograd.grad(expected, of)
    torch.testing.assert_close(ours, theirs)
    assert theirs.abs().sum() > 0


def test_an_error_goes_back_through_what_was_seen() -> None:
    images, u = torch.randn(3, 1, 8, 8, dtype=torch.float64), uniforms(3)
    view = View(images, u)
    weights = torch.randn_like(images)
    leaf = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad((augment(leaf, u) * weights).sum(), leaf)
    torch.testing.assert_close(view.error_before(weights), expected)
    assert View(images, None).error_before(weights) is weights


def test_a_list_is_short_for_a_mapping_and_an_unknown_name_is_refused() -> None:
    keys = PLAIN | {"algorithm": {"name": "fedavg", "rounds": 1}}
    short = from_mapping(keys | {"augment": ["flip", "translation"]})
    long = from_mapping(keys | {"augment": {"translation": True, "flip": True}})
    assert short.augment == long.augment
    assert short.augment.names == ("flip", "translation")
    assert short.fingerprint() == long.fingerprint() != from_mapping(keys).fingerprint()
    with pytest.raises(UserError, match=r"unknown key 'augment.color'.*colour"):
        from_mapping(keys | {"augment": ["color"]})

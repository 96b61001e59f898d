"""A GAN small enough to differentiate by hand, in float64, and as torch modules for the library.

What the oracles have in common: nothing here knows of any algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peer.state import PeerState

GAN = "tests.algorithms.numpy_gan:tiny"
"""What an experiment file says to have it."""

NETS = ("discriminator", "generator")
Array = NDArray[np.float64]

PIXELS, Z, HIDDEN = 64, 6, 10
G_SHAPES = [(PIXELS, Z), (PIXELS,)]  # W, b:       x = tanh(W z + b)
D_SHAPES = [(HIDDEN, PIXELS), (HIDDEN,), (1, HIDDEN), (1,)]  # U, c, v, e: s = v . tanh(U x + c) + e


def tiny(shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """The same GAN as torch modules, for the code under test."""
    generator = nn.Sequential(nn.Linear(Z, PIXELS), nn.Tanh(), nn.Unflatten(1, shape))
    discriminator = nn.Sequential(
        nn.Flatten(), nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)
    )
    return generator, discriminator


def unpack(vector: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """One array a shape, cut from the vector in order."""
    parts, start = [], 0
    for shape in shapes:
        parts.append(vector[start : start + prod(shape)].reshape(shape))
        start += prod(shape)
    assert start == len(vector)
    return parts


def sigmoid(s: Array) -> Array:
    return 0.5 * (1 + np.tanh(s / 2))


def softplus(s: Array) -> Array:
    """log(1 + exp(s)) = -log(1 - sigmoid(s)) = -log sigmoid(-s)."""
    return np.logaddexp(0, s)


@dataclass(frozen=True)
class Losses:
    """A pair of losses of the logits s, (B,), and their derivatives in each logit."""

    of_real: Callable[[Array], float]  # L_D = of_real(s(x)) + of_fake(s(G(z)))
    of_fake: Callable[[Array], float]
    of_generator: Callable[[Array], float]  # L_G = of_generator(s(G(z)))
    d_real: Callable[[Array], Array]
    d_fake: Callable[[Array], Array]
    d_generator: Callable[[Array], Array]


_BCE: dict[str, Callable[[Array], Any]] = {
    "of_real": lambda s: softplus(-s).mean(),  # mean[-log sigmoid(s)]
    "of_fake": lambda s: softplus(s).mean(),  # mean[-log(1 - sigmoid(s))]
    "d_real": lambda s: -sigmoid(-s) / s.size,
    "d_fake": lambda s: sigmoid(s) / s.size,
}
LOSSES = {
    "bce_ns": Losses(
        **_BCE,
        of_generator=lambda s: float(softplus(-s).mean()),  # mean[-log sigmoid(s)]
        d_generator=lambda s: -sigmoid(-s) / s.size,
    ),
    "bce_sat": Losses(
        **_BCE,
        of_generator=lambda s: float(-softplus(s).mean()),  # mean[log(1 - sigmoid(s))]
        d_generator=lambda s: -sigmoid(s) / s.size,
    ),
    "lsgan": Losses(
        of_real=lambda s: float(0.5 * ((s - 1) ** 2).mean()),
        of_fake=lambda s: float(0.5 * (s**2).mean()),
        of_generator=lambda s: float(((s - 1) ** 2).mean()),
        d_real=lambda s: (s - 1) / s.size,
        d_fake=lambda s: s / s.size,
        d_generator=lambda s: 2 * (s - 1) / s.size,
    ),
}


class TinyGan:
    """Values and hand-made gradients of both objectives of the tiny GAN, in float64."""

    def __init__(self, loss: str) -> None:
        self.losses = LOSSES[loss]

    @staticmethod
    def generate(g: Array, z: Array) -> Array:
        """z (B, Z) to x (B, PIXELS)."""
        weight, bias = unpack(g, G_SHAPES)
        return np.tanh(z @ weight.T + bias)

    @staticmethod
    def judge(d: Array, x: Array) -> tuple[Array, Array]:
        """Images x (B, PIXELS) to hidden units h (B, HIDDEN) and logits s (B,)."""
        u, c, v, e = unpack(d, D_SHAPES)
        h = np.tanh(x @ u.T + c)
        return h, h @ v[0] + e[0]

    def objective(self, net: str, d: Array, g: Array, x: Array | None, z: Array) -> float:
        """J^D or J^G, both to be made small."""
        fake = self.judge(d, self.generate(g, z))[1]
        if net == "generator":
            return self.losses.of_generator(fake)
        assert x is not None
        return self.losses.of_real(self.judge(d, x)[1]) + self.losses.of_fake(fake)

    def gradient(self, net: str, d: Array, g: Array, x: Array | None, z: Array) -> Array:
        """The gradient of ``objective`` in the net's own parameters, (P,)."""
        fakes = self.generate(g, z)
        if net == "discriminator":
            assert x is not None
            return self.of_discriminator(d, x, fakes)
        return self.through_generator(g, z, self.error(d, fakes))

    def of_discriminator(self, d: Array, x: Array, fakes: Array) -> Array:
        """dL_D/dd, the fakes being given, (P,)."""
        real = self.back(d, x, self.losses.d_real)[0]
        return real + self.back(d, fakes, self.losses.d_fake)[0]

    def error(self, d: Array, fakes: Array) -> Array:
        """dL_G/dx of each fake x, (B, PIXELS)."""
        return self.back(d, fakes, self.losses.d_generator)[1]

    @classmethod
    def through_generator(cls, g: Array, z: Array, error: Array) -> Array:
        """From dL/dx (B, PIXELS) of the images made of z to dL/dg, (P,)."""
        to_inner = error * (1 - cls.generate(g, z) ** 2)  # through tanh
        return np.concatenate([(to_inner.T @ z).ravel(), to_inner.sum(axis=0)])

    @classmethod
    def back(cls, d: Array, x: Array, slope: Callable[[Array], Array]) -> tuple[Array, Array]:
        """From dL/ds = slope(s) to dL/d(U, c, v, e), flat, and to dL/dx (B, PIXELS)."""
        u, _, v, _ = unpack(d, D_SHAPES)
        h, s = cls.judge(d, x)
        to_s = slope(s)  # (B,)
        to_inner = np.outer(to_s, v[0]) * (1 - h**2)  # (B, HIDDEN), through tanh
        to_u, to_c = to_inner.T @ x, to_inner.sum(axis=0)
        to_v, to_e = to_s @ h, to_s.sum()
        return np.concatenate([to_u.ravel(), to_c, to_v, [to_e]]), to_inner @ u


class Sgd:
    """w - mu g; with momentum beta, w - mu m where m is g at first and then beta m + g."""

    def __init__(self, lr: float, momentum: float = 0.0) -> None:
        self.lr, self.momentum = lr, momentum
        self.m: Array | float = 0.0

    def __call__(self, gradient: Array) -> Array:
        """The step that is added to the parameters."""
        self.m = self.momentum * self.m + gradient
        return -self.lr * self.m


def flat64(tensor: torch.Tensor) -> Array:
    """A batch of anything as float64 rows."""
    rows: Array = tensor.flatten(1).double().numpy()
    return rows


def parameters(state: PeerState, net: str) -> Array:
    """A net's parameters in float64, without the padding between them, which must be zero."""
    arena = state.nets[net].arena
    values = arena.vector.detach().double().numpy().copy()
    parts = [values[s.offset : s.offset + s.size].copy() for s in arena.layout.slots]
    for slot in arena.layout.slots:
        values[slot.offset : slot.offset + slot.size] = 0
    assert not values.any(), "padding is not zero"
    return np.concatenate(parts)

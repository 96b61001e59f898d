"""Games of two numbers, as GANs: x is all that G learns, y all that D learns.

Of the digits, the pixel in the upper left corner is -1 everywhere. With ``loss: wgan``, D minimises
``phi(G(z)) - phi(real)`` and G minimises ``-phi(G(z))``.
"""

from __future__ import annotations

import torch
from torch import nn


class Number(nn.Module):
    """A module with one parameter, drawn from torch's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.rand(()) + 0.5)


class Corner(Number):
    """Images (batch, *shape) that are x in the upper left corner, and 0 elsewhere."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        corner = torch.zeros(self.shape)
        corner[0, 0, 0] = 1.0
        return self.value * corner.expand(len(z), *self.shape) + 0 * z.mean()


class Scaled(Number):
    """phi = y times the pixel in the corner."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.value * images[:, 0, 0, :1]  # (batch, 1)


class Added(Number):
    """phi = y + the pixel in the corner."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.value + images[:, 0, 0, :1]  # (batch, 1)


def bilinear(shape: tuple[int, int, int], z: int = 2) -> tuple[nn.Module, nn.Module]:
    """D minimises y (x + 1), G minimises -y x: at rest where x = -1 and y = 0."""
    return Corner(shape), Scaled()


def flat(shape: tuple[int, int, int], z: int = 2) -> tuple[nn.Module, nn.Module]:
    """G minimises -x - y, D minimises x + 1: constant gradients, -1 of G and 0 of D."""
    return Corner(shape), Added()


def drawing(shape: tuple[int, int, int], z: int = 4) -> tuple[nn.Module, nn.Module]:
    """G with batch-norm; D with dropout, which draws inside the module."""
    pixels = shape[0] * shape[1] * shape[2]
    generator = nn.Sequential(
        nn.Linear(z, 8), nn.BatchNorm1d(8), nn.Linear(8, pixels), nn.Unflatten(1, shape)
    )
    return generator, nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(pixels, 1))

"""Residual GANs for pictures, with spectral normalisation of the whole discriminator.

Source: Miyato, Kataoka, Koyama, Yoshida 2018 (arXiv:1802.05957), tables 4 (32x32) and 5, and its
released code for 64x64. Both end in a rectifier and a sum over the map; a residual branch starts
from Glorot's uniform weights times the root of 2, everything else from Glorot's, biases from 0.
They are made for ``loss: hinge``, Adam (2e-4, betas 0 and 0.9) and five steps of D for one of G.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from peer.gan.models.shapes import Pair, Shape, require_square
from peer.gan.models.spectral import SpectralConv2d, SpectralLinear, settle


def resnet32(shape: Shape, z: int = 128, width: int = 64) -> Pair:
    """SNGAN's residual pair for 32x32: 368,771 + 66,849 parameters at three channels.

    The paper's is ``width: 256``, with 4,276,739 + 1,053,825. G has ``width`` channels throughout,
    D half as many, as in the paper.

    Args:
        shape: channels and a side of 32.
        z: how many numbers an image is drawn from.
        width: channels of G.

    Raises:
        UserError: another size of image.
    """
    require_square("resnet32", shape, 32)
    half = max(1, width // 2)
    generator = _generator(shape[0], z, [width] * 4)
    discriminator = _discriminator(shape[0], [half] * 4, down=2)
    return generator, discriminator


def resnet64(shape: Shape, z: int = 128, width: int = 16) -> Pair:
    """Its sibling for 64x64: 1,162,051 + 635,329 parameters at three channels.

    The released one is ``width: 64``, with 12,220,675 + 10,141,441.

    Args:
        shape: channels and a side of 64.
        z: how many numbers an image is drawn from.
        width: channels of the narrowest layer of either net; the widest has 16 times as many.

    Raises:
        UserError: another size of image.
    """
    require_square("resnet64", shape, 64)
    widths = [width * 2**k for k in range(5)]  # 1 2 4 8 16
    generator = _generator(shape[0], z, widths[::-1])
    return generator, _discriminator(shape[0], widths, down=5)


def _generator(channels: int, z: int, widths: list[int]) -> nn.Sequential:
    """Z (batch, z) to a map of 4x4, then twice the side with every block."""
    net = nn.Sequential(
        nn.Linear(z, widths[0] * 4 * 4),
        nn.Unflatten(1, (widths[0], 4, 4)),
        *(UpBlock(width_in, width_out) for width_in, width_out in pairwise(widths)),
        nn.BatchNorm2d(widths[-1]),
        nn.ReLU(),
        nn.Conv2d(widths[-1], channels, 3, padding=1),  # (batch, c, side, side)
        nn.Tanh(),
    )
    return net.apply(_start)


def _discriminator(channels: int, widths: list[int], down: int) -> nn.Sequential:
    """Images to logits (batch, 1); the first ``down`` blocks halve the side."""
    blocks = [
        DownBlock(width_in, width_out, halves=k < down, first=k == 0)
        for k, (width_in, width_out) in enumerate(pairwise([channels, *widths]))
    ]
    net = nn.Sequential(*blocks, SumPool(), SpectralLinear(widths[-1], 1)).apply(_start)
    settle(net)
    return net


class UpBlock(nn.Module):
    """The generator's residual block: twice the side."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width_in, h, w) to (batch, width_out, 2h, 2w)."""
        h = self.conv1(_twice(relu(self.norm1(x))))
        h = self.conv2(relu(self.norm2(h)))
        # 1x1 convolution and repeating pixels commute: convolve where the map is small.
        return torch.add(h, _twice(self.shortcut(x)))


class DownBlock(nn.Module):
    """The discriminator's residual block: half the side, or the same.

    Args:
        width_in: channels of its input, and between its convolutions unless it is the first.
        width_out: channels of its output.
        halves: whether it halves the side.
        first: whether its input is the image, whose values no rectifier may clip.
    """

    def __init__(self, width_in: int, width_out: int, halves: bool, first: bool) -> None:
        super().__init__()
        between = width_out if first else width_in
        self.halves = halves
        self.first = first
        self.conv1 = SpectralConv2d(width_in, between, 3, padding=1)
        self.conv2 = SpectralConv2d(between, width_out, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if halves or width_in != width_out:
            self.shortcut = SpectralConv2d(width_in, width_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width_in, h, w) to (batch, width_out, h, w), or half the side."""
        h = self.conv1(x if self.first else relu(x))
        h = self.conv2(relu(h))
        if not self.halves:
            return torch.add(h, self.shortcut(x))
        # 1x1 convolution and averaging commute, too.
        return torch.add(avg_pool2d(h, 2), self.shortcut(avg_pool2d(x, 2)))


class SumPool(nn.Module):
    """A rectifier, then the sum over the map: (batch, width, h, w) to (batch, width)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the class says."""
        return relu(x).sum((2, 3))


def _twice(x: torch.Tensor) -> torch.Tensor:
    """Twice the side: each pixel becomes two by two."""
    return interpolate(x, scale_factor=2)


def _start(module: nn.Module) -> None:
    """Initial weights, for ``net.apply``: blocks come after the layers inside them."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, UpBlock | DownBlock):
        for conv in (module.conv1, module.conv2):
            nn.init.xavier_uniform_(conv.weight, gain=math.sqrt(2))

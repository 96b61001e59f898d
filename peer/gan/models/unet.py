"""U-Net GAN, written from the paper's description: the discriminator judges pixels, too.

Source: Schoenfeld, Schiele, Khoreva (CVPR 2020, arXiv:2002.12655).

The discriminator is a U-Net: its encoder judges the image, its decoder every pixel. The losses,
with CutMix, are in :mod:`peer.gan.unet_losses`.

An image of side 4 * 2^n has n blocks in the generator, n in the encoder and n in the decoder. In
units of ``width`` their channels are, at 128x128 (n = 5), the paper's: generator 16-16-8-4-2-1,
encoder 1-2-4-8-16, decoder 8-4-2-1-1; a smaller image leaves out the widest ones.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from peer.gan.models.shapes import Pair, Shape, require_square
from peer.gan.models.spectral import SpectralConv2d, SpectralLinear


def unetgan(
    shape: Shape, z: int = 128, width: int = 64, mix: float = 0.5, consistency: float = 1.0
) -> Pair:
    """U-NetGAN of the Oasis paper (CelebA, 128x128): 33,732,739 + 31,481,602 parameters.

    At 32x32 with ``width: 16`` it is 515,619 + 124,738 at three channels, for a CPU.

    The generator has as many parameters as the published net, the discriminator 65 fewer than the
    31,481,667 counted there; a linear layer of 64 to 1 would account for them, but the description
    does not have one. Only the discriminator is spectrally normalised. Not here: the paper's
    average of the generator over time, and its share of mixed images that grows from 0 in the first
    epochs (``mix`` is constant).

    Args:
        shape: channels and a side of 32, 64 or 128.
        z: how many numbers an image is drawn from.
        width: channels of the narrowest block.
        mix: the share of a batch that CutMix mixes, from 0 (no CutMix) to 1.
        consistency: the weight lambda of the consistency loss.

    Raises:
        UserError: another size of image.
    """
    require_square("unetgan", shape, 32, 64, 128)
    generator = UNetGenerator(shape, z, width)
    discriminator = UNetDiscriminator(shape, width, mix, consistency)
    return generator.apply(_start), discriminator.apply(_start)


def _start(module: nn.Module) -> None:
    """N(0, 0.02) throughout: BigGAN's orthogonal weights would depend on the machine's LAPACK."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _blocks(side: int) -> int:
    return (side // 4).bit_length() - 1


class SelfModulatedNorm(nn.Module):
    """Batch-norm whose scale and shift are functions of z, a small MLP each.

    Source: Chen, Lucic, Houlsby, Gelly 2019 (arXiv:1810.01365).
    """

    def __init__(self, channels: int, z: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = (
            nn.Sequential(nn.Linear(z, z), nn.ReLU(), nn.Linear(z, channels, bias=False))
            for _ in range(2)
        )

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """X (batch, channels, h, w) and z (batch, z_dim) to x's shape."""
        scale: torch.Tensor = self.scale(z)[:, :, None, None]
        shift: torch.Tensor = self.shift(z)[:, :, None, None]
        normal: torch.Tensor = self.norm(x)
        return normal * (1 + scale) + shift


class UpBlock(nn.Module):
    """BigGAN's residual block of the generator: twice the side, modulated by z."""

    def __init__(self, width_in: int, width_out: int, z: int) -> None:
        super().__init__()
        self.norm1 = SelfModulatedNorm(width_in, z)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = SelfModulatedNorm(width_out, z)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """X (batch, width_in, h, w) and z (batch, z_dim) to (batch, width_out, 2h, 2w)."""
        h: torch.Tensor = self.conv1(_twice(relu(self.norm1(x, z))))
        h = self.conv2(relu(self.norm2(h, z)))
        return h + _twice(self.shortcut(x))


class UNetGenerator(nn.Module):
    """BigGAN's generator without classes: z (batch, z_dim) to images (batch, c, side, side)."""

    def __init__(self, shape: Shape, z: int, width: int) -> None:
        super().__init__()
        channels, side, _ = shape
        n = _blocks(side)
        widths = [width * 2 ** min(n - 1, n - k) for k in range(n + 1)]  # 16 16 8 4 2 1
        self.z_dim = z
        self.first = nn.Sequential(
            nn.Linear(z, widths[0] * 4 * 4), nn.Unflatten(1, (widths[0], 4, 4))
        )
        self.blocks = nn.ModuleList(UpBlock(a, b, z) for a, b in pairwise(widths))
        self.last = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Z (batch, z_dim) to images (batch, c, side, side) in [-1, 1]."""
        h = self.first(z)  # (batch, widest, 4, 4)
        for block in self.blocks:
            h = block(h, z)
        images: torch.Tensor = self.last(h)
        return images


class ResidualBlock(nn.Module):
    """The discriminator's residual block: half the side in the encoder, twice in the decoder."""

    def __init__(self, width_in: int, width_out: int, up: bool, first: bool = False) -> None:
        super().__init__()
        self.up = up
        self.first = first  # in the encoder: no ReLU before it, which would clip the image's values
        self.conv1 = SpectralConv2d(width_in, width_out, 3, padding=1)
        self.conv2 = SpectralConv2d(width_out, width_out, 3, padding=1)
        self.shortcut = SpectralConv2d(width_in, width_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width_in, h, w) to (batch, width_out, h', w'), half or twice the side."""
        h = x if self.first else relu(x)
        h = self.conv1(_twice(h) if self.up else h)
        h = self.conv2(relu(h))
        # 1x1 convolution and resizing commute: convolve where the map is small.
        if self.up:
            return torch.add(h, _twice(self.shortcut(x)))
        return torch.add(avg_pool2d(h, 2), self.shortcut(avg_pool2d(x, 2)))


class UNetDiscriminator(nn.Module):
    """A U-Net with spectral normalisation: one logit an image, and one a pixel.

    Attributes:
        mix: the share of a batch that CutMix mixes.
        consistency: the weight lambda of the consistency loss.
    """

    def __init__(self, shape: Shape, width: int, mix: float, consistency: float) -> None:
        super().__init__()
        self.mix = mix
        self.consistency = consistency
        channels, side, _ = shape
        n = _blocks(side)
        down = [channels, *(width * 2**k for k in range(n))]  # c | 1 2 4 8 16
        self.encoder = nn.ModuleList(
            ResidualBlock(a, b, up=False, first=k == 0) for k, (a, b) in enumerate(pairwise(down))
        )
        self.global_head = SpectralLinear(down[-1], 1)
        # Every map but the innermost is joined with the encoder's of its size: 16 | 8+8 4+4 2+2 1+1
        up = [down[-1], *(2 * skipped for skipped in down[-2:0:-1])]
        out = [*down[-2:0:-1], width]  # 8 4 2 1 1
        self.decoder = nn.ModuleList(
            ResidualBlock(a, b, up=True) for a, b in zip(up, out, strict=True)
        )
        self.pixel_head = SpectralConv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (batch, c, side, side) to the encoder's logits (batch, 1)."""
        return self._judge(self._encode(x)[-1])

    def forward_pixels(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images to logits (batch, 1) and, from the decoder, (batch, 1, side, side)."""
        *skipped, innermost = self._encode(x)
        h = self.decoder[0](innermost)
        for block, beside in zip(self.decoder[1:], reversed(skipped), strict=True):
            h = block(torch.cat([h, beside], dim=1))
        return self._judge(innermost), self.pixel_head(relu(h))

    def _encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps after every block: (batch, width, side/2, side/2) to (batch, widest, 4, 4)."""
        maps = [x]
        for block in self.encoder:
            maps.append(block(maps[-1]))
        return maps[1:]

    def _judge(self, innermost: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.global_head(relu(innermost).sum((2, 3)))
        return logits


def _twice(x: torch.Tensor) -> torch.Tensor:
    """Twice the side: each pixel becomes two by two."""
    return interpolate(x, scale_factor=2)

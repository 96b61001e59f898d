"""The 32x32 nets of the PyTorch-GAN collection, which enlarge by repeating pixels.

FeGAN trains the LSGAN among them. Every batch-norm but DCGAN's first has an epsilon of 0.8: there,
an argument meant for the momentum sets epsilon. It weakens the normalisation (a channel is divided
by sqrt(var + 0.8)) and results depend on it, so it is kept. Initial weights: convolutions
N(0, 0.02), batch-norm scales N(1, 0.02), fully connected layers as torch has them.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from peer.gan.models.shapes import Pair, Shape, require_square, start_from_normal

EPSILON = 0.8


def lsgan32(shape: Shape, z: int = 100, dropout: float = 0.25) -> Pair:
    """FeGAN's LSGAN, to be trained with ``loss: lsgan``; MNIST is enlarged from 28x28 beforehand.

    1,049,729 + 98,113 parameters at one channel, 1,050,883 + 98,401 at three.
    """
    require_square("lsgan32", shape, 32)
    return _pair(shape, z, dropout, [])


def dcgan32(shape: Shape, z: int = 100, dropout: float = 0.25) -> Pair:
    """The DCGAN beside it, one batch-norm more: 1,049,985 + 98,113 parameters at one channel.

    1,051,139 + 98,401 at three. It stands for the DCGAN of the Oasis paper, see ``dcgan-oasis``.
    """
    require_square("dcgan32", shape, 32)
    return _pair(shape, z, dropout, [nn.BatchNorm2d(128)])


def _pair(shape: Shape, z: int, dropout: float, first: list[nn.Module]) -> Pair:
    """Both nets; ``first`` is what G does to its first map, ``dropout`` that of D's channels."""
    channels = shape[0]
    g: list[nn.Module] = [nn.Linear(z, 128 * 8 * 8), nn.Unflatten(1, (128, 8, 8)), *first]
    for width in (128, 64):  # (128, 16, 16), (64, 32, 32)
        g += [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, width, 3, padding=1),
            nn.BatchNorm2d(width, eps=EPSILON),
            nn.LeakyReLU(0.2),
        ]
    g += [nn.Conv2d(64, channels, 3, padding=1), nn.Tanh()]

    d: list[nn.Module] = []
    for width_in, width_out in pairwise([channels, 16, 32, 64, 128]):  # 16, 8, 4, 2 squared
        d += [nn.Conv2d(width_in, width_out, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        d += [nn.Dropout2d(dropout)] if dropout else []
        d += [nn.BatchNorm2d(width_out, eps=EPSILON)] if width_out > 16 else []
    d += [nn.Flatten(), nn.Linear(128 * 2 * 2, 1)]

    generator, discriminator = nn.Sequential(*g), nn.Sequential(*d)
    return generator.apply(start_from_normal), discriminator.apply(start_from_normal)

"""Fully connected GANs, for images of any size; parameters are counted at the papers' sizes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from peer.gan.models.shapes import Pair, Shape

Widths = list[int]


def mlp(
    shape: Shape, z: int, generator: Widths, discriminator: Widths, dropout: float = 0.0
) -> Pair:
    """Fully connected nets of the given hidden widths, leaky ReLU 0.2, tanh at the end of G.

    ``dropout`` is the probability with which D drops a hidden unit while training.
    """
    return _generator(shape, z, generator, _leaky), _discriminator(shape, discriminator, dropout)


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def _generator(
    shape: Shape, z: int, widths: Widths, activation: Callable[[], nn.Module]
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([z, *widths]):
        layers += [nn.Linear(width_in, width_out), activation()]
    return nn.Sequential(*layers, *_image(widths[-1], shape))


def _image(width: int, shape: Shape) -> list[nn.Module]:
    """(batch, width) to images (batch, c, h, w) in [-1, 1]."""
    pixels = shape[0] * shape[1] * shape[2]
    return [nn.Linear(width, pixels), nn.Tanh(), nn.Unflatten(1, shape)]


def _discriminator(
    shape: Shape, widths: Widths, dropout: float = 0.0, outputs: int = 1
) -> nn.Sequential:
    pixels = shape[0] * shape[1] * shape[2]
    layers: list[nn.Module] = [nn.Flatten()]
    for width_in, width_out in pairwise([pixels, *widths]):
        layers += [nn.Linear(width_in, width_out), _leaky()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def mlp_digits(shape: Shape, z: int = 32) -> Pair:
    """8x8 digits: G 32-128-128-64, D 64-128-128-1; 28,992 + 24,961 parameters."""
    return mlp(shape, z, [128, 128], [128, 128])


def mlp_1m(shape: Shape, z: int = 100) -> Pair:
    """A million parameters, for speed: G 100-256-512-784, D 784-512-256-1."""
    return mlp(shape, z, [256, 512], [512, 256])


def mlpgan(shape: Shape, z: int = 100, dropout: float = 0.3) -> Pair:
    """MLPGAN of the Oasis paper (MNIST): 1,486,352 + 1,460,225 parameters at 28x28."""
    return mlp(shape, z, [256, 512, 1024], [1024, 512, 256], dropout)


def distributed_mlp(shape: Shape, z: int = 64) -> Pair:
    """The MNIST pair of the Distributed-GAN paper: 283,920 + 267,009 parameters at 28x28.

    ReLU in G, leaky ReLU 0.2 in D. The paper names the layers without widths; these are those of a
    tutorial with the same layers. The paper's convolutional pair (tables 3 and 4) is ``dcgan64``.
    """
    return _generator(shape, z, [256, 256], nn.ReLU), _discriminator(shape, [256, 256])


def mdgan_mlp(shape: Shape, z: int = 100, outputs: int = 1) -> Pair:
    """The MLP pair of the MD-GAN paper (Hardy et al. 2019) at 28x28: 716,560 + 665,089 parameters.

    The paper's D is that of an ACGAN, with one logit and ten classes: ``outputs: 11`` gives the
    670,219 parameters of its text. That net is for counting only: no loss here reads classes, and
    an experiment needs a D with one logit. The activations (leaky ReLU 0.2) are ours; the paper
    gives widths alone.
    """
    return _generator(shape, z, [512, 512], _leaky), _discriminator(
        shape, [512, 512], outputs=outputs
    )


def pytorch_gan_mlp(shape: Shape, z: int = 100) -> Pair:
    """The plain GAN of the PyTorch-GAN collection at 28x28: 1,510,032 + 533,505 parameters.

    G 100-128-256-512-1024-784 with batch-norm after every hidden layer but the first. Its epsilon
    is 0.8: there, an argument meant for the momentum sets epsilon. It is kept because results
    depend on it.
    """
    g: list[nn.Module] = [nn.Linear(z, 128), _leaky()]
    for width_in, width_out in pairwise([128, 256, 512, 1024]):
        g += [nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out, eps=0.8), _leaky()]
    return nn.Sequential(*g, *_image(1024, shape)), _discriminator(shape, [512, 256])

"""Deep convolutional GANs: G of transposed convolutions, D of strided ones.

Source: Radford, Metz, Chintala 2016 (arXiv:1511.06434).

Weights start from N(0, 0.02), batch-norm scales from N(1, 0.02); no convolution has a bias. In all
of them ``width`` is the narrowest layer's channels (32 is a quarter of the work of 64).
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from peer.gan.models.shapes import Pair, Shape, require_square, start_from_normal

Widths = list[int]


def dcgan28(shape: Shape, z: int = 100, width: int = 64) -> Pair:
    """A 28x28 DCGAN for MNIST, ours for the diffusion GAN: 759,680 + 138,624 parameters.

    Of 32x32 images (MNIST padded, or colour) ``dcgan-diffusion32`` is its twin.
    """
    require_square("dcgan28", shape, 28)
    return _pair(shape, z, [2 * width, width], [width, 2 * width], side=7)


def dcgan_diffusion32(shape: Shape, z: int = 100, width: int = 64) -> Pair:
    """``dcgan28`` with one layer more, for 32x32: 1,066,880 + 661,248 parameters at one channel."""
    require_square("dcgan-diffusion32", shape, 32)
    return _pair(shape, z, [4 * width, 2 * width, width], [width, 2 * width, 4 * width], side=4)


def dcgan_oasis(shape: Shape, z: int = 64, width: int = 64) -> Pair:
    """A candidate for the DCGAN of the Oasis paper (CIFAR-10): 921,472 + 142,592 parameters.

    The paper gives only a size, 4.06 MiB, and this net, with widths that are powers of two, has it
    (1,064,064 float32 parameters, 4.059 MiB). Others may have it, too.
    """
    require_square("dcgan-oasis", shape, 32)
    generator = _generator(shape[0], z, [4 * width, 2 * width, width], side=4)
    return _started(generator, _discriminator(shape[0], [width, 2 * width], side=8))


def dcgan64(shape: Shape, z: int = 100, width: int = 64) -> Pair:
    """The 64x64 DCGAN of FeGAN (ImageNet) and of Distributed-GAN (CelebA, LSUN; tables 3 and 4).

    3,576,704 + 2,765,568 parameters at three channels. Table 3 has "max_pool2d" beside two
    activations; with strides of two, the map would then be too small for the layers that follow, so
    there is none here.
    """
    require_square("dcgan64", shape, 64)
    widths = [8 * width, 4 * width, 2 * width, width]
    return _pair(shape, z, widths, widths[::-1], side=4)


def _pair(shape: Shape, z: int, generator: Widths, discriminator: Widths, side: int) -> Pair:
    return _started(
        _generator(shape[0], z, generator, side), _discriminator(shape[0], discriminator, side)
    )


def _generator(channels: int, z: int, widths: Widths, side: int) -> nn.Sequential:
    """From z to a map of ``side`` squared, then twice the side with every layer."""
    layers: list[nn.Module] = [
        nn.Unflatten(1, (z, 1, 1)),
        nn.ConvTranspose2d(z, widths[0], side, bias=False),  # (widths[0], side, side)
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    for width_in, width_out in pairwise(widths):
        layers += [
            nn.ConvTranspose2d(width_in, width_out, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
        ]
    return nn.Sequential(
        *layers,
        nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1, bias=False),  # (c, h, w)
        nn.Tanh(),
    )


def _discriminator(channels: int, widths: Widths, side: int) -> nn.Sequential:
    """Half the side with every layer; the last kernel, ``side`` squared, covers the whole map."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 4, stride=2, padding=1, bias=False),
        nn.LeakyReLU(0.2),
    ]
    for width_in, width_out in pairwise(widths):
        layers += [
            nn.Conv2d(width_in, width_out, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, side, bias=False), nn.Flatten())


def _started(*nets: nn.Module) -> Pair:
    generator, discriminator = (net.apply(start_from_normal) for net in nets)
    return generator, discriminator

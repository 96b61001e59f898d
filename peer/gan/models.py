"""The GANs that come with hearsay.

Each factory takes the shape of an image (channels, height, width) and its own settings, and returns
(generator, discriminator): the generator maps z (batch, z) to images (batch, c, h, w) in [-1, 1],
the discriminator images to logits (batch, 1). They are plain ``nn.Sequential``, so that a saved
generator loads into the same few lines of anybody's code.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from topology.errors import UserError

Shape = tuple[int, int, int]
Pair = tuple[nn.Module, nn.Module]


def mlp(
    shape: Shape, z: int, generator: list[int], discriminator: list[int], dropout: float = 0.0
) -> Pair:
    """Fully connected nets of the given hidden widths, leaky ReLU 0.2, tanh at the end of G.

    ``dropout`` is the probability with which D drops a hidden unit while training.
    """
    pixels = shape[0] * shape[1] * shape[2]
    g: list[nn.Module] = []
    for width_in, width_out in pairwise([z, *generator]):
        g += [nn.Linear(width_in, width_out), nn.LeakyReLU(0.2)]
    g += [nn.Linear(generator[-1], pixels), nn.Tanh(), nn.Unflatten(1, shape)]
    d: list[nn.Module] = [nn.Flatten()]
    for width_in, width_out in pairwise([pixels, *discriminator]):
        d += [nn.Linear(width_in, width_out), nn.LeakyReLU(0.2)]
        d += [nn.Dropout(dropout)] if dropout else []
    d += [nn.Linear(discriminator[-1], 1)]
    return nn.Sequential(*g), nn.Sequential(*d)


def mlp_digits(shape: Shape, z: int = 32) -> Pair:
    """8x8 digits: G 32-128-128-64, D 64-128-128-1; 28,992 + 24,961 parameters."""
    return mlp(shape, z, [128, 128], [128, 128])


def mlp_1m(shape: Shape, z: int = 100) -> Pair:
    """A million parameters, for speed: G 100-256-512-784, D 784-512-256-1."""
    return mlp(shape, z, [256, 512], [512, 256])


def mlpgan(shape: Shape, z: int = 100, dropout: float = 0.3) -> Pair:
    """MLPGAN of the Oasis paper (MNIST): 1,486,352 + 1,460,225 parameters at 28x28."""
    return mlp(shape, z, [256, 512, 1024], [1024, 512, 256], dropout)


def dcgan28(shape: Shape, z: int = 100, width: int = 64) -> Pair:
    """A 28x28 DCGAN without biases (Radford et al. 2016): 759,680 + 138,624 parameters.

    ``width`` is the narrowest layer's channels (32 for a quarter of the work). Weights start from
    N(0, 0.02), batch-norm scales from N(1, 0.02).
    """
    channels, height, breadth = shape
    if (height, breadth) != (28, 28):
        raise UserError(
            f"gan: dcgan28 draws 28x28 images, the data are {height}x{breadth}; "
            "choose mlp-digits or mlpgan, which fit any size"
        )
    g = nn.Sequential(
        nn.Unflatten(1, (z, 1, 1)),
        nn.ConvTranspose2d(z, 2 * width, 7, bias=False),  # (2w, 7, 7)
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),  # (w, 14, 14)
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1, bias=False),  # (c, 28, 28)
        nn.Tanh(),
    )
    d = nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1, bias=False),  # (w, 14, 14)
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),  # (2w, 7, 7)
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 7, bias=False),  # (1, 1, 1)
        nn.Flatten(),
    )
    for net in (g, d):
        net.apply(_dcgan_init)
    return g, d


def _dcgan_init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


MODELS = {
    "mlp-digits": mlp_digits,
    "mlp-1m": mlp_1m,
    "mlpgan": mlpgan,
    "dcgan28": dcgan28,
}

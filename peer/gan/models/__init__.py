"""The GANs that come with hearsay, by name.

Each factory takes the shape of an image (channels, height, width) and its own settings, and returns
(generator, discriminator): the generator maps z (batch, z) to images (batch, c, h, w) in [-1, 1],
the discriminator images to logits (batch, 1). All but ``resnet32``, ``resnet64`` and ``unetgan``
are plain ``nn.Sequential``, so that a saved generator loads into the same few lines of anybody's
code.
"""

from __future__ import annotations

from collections.abc import Callable

from peer.gan.models.dcgans import dcgan28, dcgan64, dcgan_diffusion32, dcgan_oasis
from peer.gan.models.mlps import (
    distributed_mlp,
    mdgan_mlp,
    mlp_1m,
    mlp_digits,
    mlpgan,
    pytorch_gan_mlp,
)
from peer.gan.models.resnets import resnet32, resnet64
from peer.gan.models.shapes import Pair, Shape
from peer.gan.models.unet import unetgan
from peer.gan.models.upsampling import dcgan32, lsgan32

__all__ = ["MODELS", "Pair", "Shape"]

MODELS: dict[str, Callable[..., Pair]] = {
    "mlp-digits": mlp_digits,
    "mlp-1m": mlp_1m,
    "mlpgan": mlpgan,
    "distributed-mlp": distributed_mlp,
    "mdgan-mlp": mdgan_mlp,
    "pytorch-gan-mlp": pytorch_gan_mlp,
    "dcgan28": dcgan28,
    "dcgan-diffusion32": dcgan_diffusion32,
    "dcgan-oasis": dcgan_oasis,
    "dcgan64": dcgan64,
    "lsgan32": lsgan32,
    "dcgan32": dcgan32,
    "resnet32": resnet32,
    "resnet64": resnet64,
    "unetgan": unetgan,
}

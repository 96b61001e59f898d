"""What a local step minimises: functions of the two nets, a loss and one mini-batch.

Written once, as functions of two callables: eagerly for one peer, functionally for many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from peer.gan.losses import Loss
from peer.gan.unet_losses import as_pixel_judge, pixel_discriminator_loss, pixel_generator_loss

Net = Callable[[torch.Tensor], torch.Tensor]


class Batch(NamedTuple):
    """One mini-batch; ``real`` is None for an objective that sees no data."""

    real: torch.Tensor | None  # (batch, c, h, w) in [-1, 1]
    z: torch.Tensor  # (batch, z_dim)
    cuts: torch.Tensor | None = None  # (batch, 4) in [0, 1): CutMix's, where pixels are judged


class Objective(NamedTuple):
    """``value(generator, discriminator, loss, batch) -> scalar``; ``sees_data`` draws ``real``."""

    value: Callable[[Net, Net, Loss, Batch], torch.Tensor]
    sees_data: bool


def _discriminator(generator: Net, discriminator: Net, loss: Loss, batch: Batch) -> torch.Tensor:
    """-J_k(w^D, w^G) of the diffusion GAN paper (equation 5), the generator held fixed."""
    assert batch.real is not None
    with torch.no_grad():
        fake = generator(batch.z)  # (batch, c, h, w)
    if (judge := as_pixel_judge(discriminator)) is not None:
        return pixel_discriminator_loss(judge, loss, batch.real, fake, batch.cuts)
    assert batch.cuts is None, "a judge of pixels came as a bare function"
    return loss.discriminator(discriminator(batch.real), discriminator(fake))


def _generator(generator: Net, discriminator: Net, loss: Loss, batch: Batch) -> torch.Tensor:
    """J_k(w^D, w^G) (equation 5) in the form that ``loss`` gives it, discriminator held fixed."""
    fake = generator(batch.z)  # (batch, c, h, w)
    if (judge := as_pixel_judge(discriminator)) is not None:
        return pixel_generator_loss(judge, loss, fake)
    return loss.generator(discriminator(fake))


OBJECTIVES: dict[str, Objective] = {
    "discriminator": Objective(_discriminator, sees_data=True),
    "generator": Objective(_generator, sees_data=False),
}

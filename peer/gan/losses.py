"""The losses of a GAN, on logits.

With phi the discriminator's logit and psi = sigma(phi): the minimax game of Goodfellow et al. 2014
in its non-saturating and saturating forms (equation 3 of the diffusion GAN paper), and least
squares (Mao et al. 2017, with FeGAN's factor of one half).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import softplus


@dataclass(frozen=True)
class Loss:
    """A pair of losses to be minimised.

    Attributes:
        discriminator: (phi(x) (batch, 1), phi(G(z)) (batch, 1)) -> scalar.
        generator: phi(G(z)) (batch, 1) -> scalar.
    """

    discriminator: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    generator: Callable[[torch.Tensor], torch.Tensor]


def _bce_discriminator(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    # -log sigma(phi) = softplus(-phi);  -log(1 - sigma(phi)) = softplus(phi)
    return softplus(-real).mean() + softplus(fake).mean()


def _lsgan_discriminator(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


LOSSES: dict[str, Loss] = {
    # L_G = E[-log psi(G(z))]
    "bce_ns": Loss(_bce_discriminator, lambda fake: softplus(-fake).mean()),
    # L_G = E[log(1 - psi(G(z)))]
    "bce_sat": Loss(_bce_discriminator, lambda fake: -softplus(fake).mean()),
    # L_G = E[(D(G(z)) - 1)^2]
    "lsgan": Loss(_lsgan_discriminator, lambda fake: (fake - 1).square().mean()),
}

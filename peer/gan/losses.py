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
    """A pair of losses to be minimised, by what one logit costs.

    Attributes:
        real: the discriminator's cost of phi(x), element by element, whatever the shape.
        fake: the discriminator's cost of phi(G(z)), element by element.
        generator: phi(G(z)) (batch, 1) -> scalar.
    """

    real: Callable[[torch.Tensor], torch.Tensor]
    fake: Callable[[torch.Tensor], torch.Tensor]
    generator: Callable[[torch.Tensor], torch.Tensor]

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """(phi(x) (batch, 1), phi(G(z)) (batch, 1)) -> scalar."""
        return self.real(real).mean() + self.fake(fake).mean()


def _bce_real(real: torch.Tensor) -> torch.Tensor:
    return softplus(-real)  # -log sigma(phi)


def _bce_fake(fake: torch.Tensor) -> torch.Tensor:
    return softplus(fake)  # -log(1 - sigma(phi))


LOSSES: dict[str, Loss] = {
    # L_G = E[-log psi(G(z))]
    "bce_ns": Loss(_bce_real, _bce_fake, lambda fake: softplus(-fake).mean()),
    # L_G = E[log(1 - psi(G(z)))]
    "bce_sat": Loss(_bce_real, _bce_fake, lambda fake: -softplus(fake).mean()),
    # L_G = E[(D(G(z)) - 1)^2]
    "lsgan": Loss(
        lambda real: 0.5 * (real - 1).square(),
        lambda fake: 0.5 * fake.square(),
        lambda fake: (fake - 1).square().mean(),
    ),
}

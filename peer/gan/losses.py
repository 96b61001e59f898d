"""The losses of a GAN, on logits.

With phi the discriminator's logit and psi = sigma(phi): the minimax game of Goodfellow et al. 2014
(arXiv:1406.2661) in its non-saturating and saturating forms (equation 3 of the diffusion GAN
paper); least squares (Mao et al. 2017, arXiv:1611.04076, with FeGAN's factor of one half); hinge
(Lim, Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, equations 16 and 17); and the
Wasserstein distance (Arjovsky et al. 2017, arXiv:1701.07875), whose D must be 1-Lipschitz: by a
gradient penalty or by spectral normalisation, as nothing in the loss itself sees to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.nn.functional import relu, softplus

from peer.gan.penalties import Penalties

Omega = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Loss:
    """The losses of both nets, as functions of logits; both are minimised.

    Attributes:
        name: as in the experiment file.
        real: the discriminator's cost of phi(x), element by element, whatever the shape.
        fake: the discriminator's cost of phi(G(z)), element by element.
        generator: phi(G(z)) (batch, 1) -> scalar.
        penalty: (phi(x), phi(G(z)), ||grad phi(x)||^2, ||grad phi(G(z))||^2), each (batch, 1), ->
            Omega, a scalar: the regulariser of Roth et al. 2017 (arXiv:1705.09367) for this loss's
            f-divergence; None for a loss that belongs to none.
        penalties: of the discriminator's gradients, which the experiment adds.
    """

    name: str
    real: Callable[[torch.Tensor], torch.Tensor]
    fake: Callable[[torch.Tensor], torch.Tensor]
    generator: Callable[[torch.Tensor], torch.Tensor]
    penalty: Omega | None = None
    penalties: Penalties = field(default_factory=Penalties)

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """(phi(x) (batch, 1), phi(G(z)) (batch, 1)) -> scalar."""
        return self.real(real).mean() + self.fake(fake).mean()


def _bce_real(real: torch.Tensor) -> torch.Tensor:
    return softplus(-real)  # -log sigma(phi)


def _bce_fake(fake: torch.Tensor) -> torch.Tensor:
    return softplus(fake)  # -log(1 - sigma(phi))


def _bce_saturating(fake: torch.Tensor) -> torch.Tensor:
    return -softplus(fake).mean()  # L_G = E[log(1 - psi(G(z)))]


def _bce_non_saturating(fake: torch.Tensor) -> torch.Tensor:
    return softplus(-fake).mean()  # L_G = E[-log psi(G(z))]


def _square_real(real: torch.Tensor) -> torch.Tensor:
    return 0.5 * (real - 1).square()


def _square_fake(fake: torch.Tensor) -> torch.Tensor:
    return 0.5 * fake.square()


def _square_generator(fake: torch.Tensor) -> torch.Tensor:
    return (fake - 1).square().mean()  # L_G = E[(D(G(z)) - 1)^2]


def _hinge_real(real: torch.Tensor) -> torch.Tensor:
    return relu(1 - real)


def _hinge_fake(fake: torch.Tensor) -> torch.Tensor:
    return relu(1 + fake)


def _critic_real(real: torch.Tensor) -> torch.Tensor:
    return -real


def _critic_fake(fake: torch.Tensor) -> torch.Tensor:
    return fake


def _critic_generator(fake: torch.Tensor) -> torch.Tensor:
    return -fake.mean()  # L_G = -E[phi(G(z))]


def _jensen_shannon(
    real: torch.Tensor, fake: torch.Tensor, real_norm: torch.Tensor, fake_norm: torch.Tensor
) -> torch.Tensor:
    # E_P[(1 - psi(x))^2 ||grad phi(x)||^2] + E_Q[psi(x~)^2 ||grad phi(x~)||^2]
    return (torch.sigmoid(-real).square() * real_norm).mean() + (
        torch.sigmoid(fake).square() * fake_norm
    ).mean()


def _pearson(
    real: torch.Tensor, fake: torch.Tensor, real_norm: torch.Tensor, fake_norm: torch.Tensor
) -> torch.Tensor:
    # E_Q[f^c''(psi) ||grad psi||^2], with f^c(t) = t^2/4 + t: the factor is 1/2 everywhere
    return 0.5 * fake_norm.mean()


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("bce_ns", _bce_real, _bce_fake, _bce_non_saturating, _jensen_shannon),
        Loss("bce_sat", _bce_real, _bce_fake, _bce_saturating, _jensen_shannon),
        Loss("lsgan", _square_real, _square_fake, _square_generator, _pearson),
        Loss("hinge", _hinge_real, _hinge_fake, _critic_generator),
        Loss("wgan", _critic_real, _critic_fake, _critic_generator),
    )
}

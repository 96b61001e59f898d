"""Gradient penalties: what a discriminator's objective has beside its loss, whatever the algorithm.

``gradient_penalty`` (Gulrajani et al. 2017, arXiv:1704.00028, equation 3):

    lambda E[(||grad phi(x^)||_2 - 1)^2],  x^ = eps x + (1 - eps) G(z),  eps ~ U(0, 1) one an image

``r1`` (Mescheder, Geiger, Nowozin 2018, arXiv:1801.04406, equation 9), in every k-th step of D
times k (lazily: Karras et al. 2020, arXiv:1912.04958, section 3.1):

    gamma/2 E[||grad phi(x)||_2^2],  x of the data

Gradients are those of the logits with respect to the images; the parameters' gradient goes through
them (double back-propagation). Batch-norm in D couples the images of a batch, so that the gradients
are not an image's own; and every further pass moves its statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from peer.gan.conditional import Told

Net = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Penalties:
    """Which penalties there are, and how much each weighs; 0 leaves one out.

    Attributes:
        gradient_penalty: lambda.
        r1: gamma.
        r1_every: k.
    """

    gradient_penalty: float = 0.0
    r1: float = 0.0
    r1_every: int = 1

    def r1_weight(self, step: int) -> float | None:
        """What E[||grad phi(x)||^2] weighs in D's step of that number, from 0; None for nothing."""
        if not self.r1 or step % self.r1_every:
            return None
        return self.r1 / 2 * self.r1_every


def penalty(
    discriminator: Net,
    penalties: Penalties,
    real: torch.Tensor,
    fake: torch.Tensor,
    eps: torch.Tensor | None,
    r1: float | torch.Tensor | None,
) -> torch.Tensor | None:
    """What is added to the discriminator's loss, a scalar; None where nothing is.

    Args:
        discriminator: images (batch, c, h, w) to logits (batch, 1).
        penalties: has lambda.
        real: (batch, c, h, w).
        fake: (batch, c, h, w), held fixed; where sizes differ, the shortest batch counts.
        eps: (batch,), uniform in [0, 1), drawn with the batch; None leaves that penalty out.
        r1: :meth:`Penalties.r1_weight` of this step.
    """
    terms = []
    if eps is not None:
        count = min(len(real), len(fake), len(eps))
        share = eps[:count, None, None, None]
        between = share * real[:count] + (1 - share) * fake[:count]  # (count, c, h, w)
        gradient = with_gradients(discriminator, between)[1].flatten(1)
        slopes = torch.linalg.vector_norm(gradient, dim=1)  # (count,); at 0 its derivative is 0
        terms.append(penalties.gradient_penalty * (slopes - 1).square().mean())
    if r1 is not None:
        gradient = with_gradients(discriminator, real)[1].flatten(1)
        terms.append(r1 * gradient.square().sum(1).mean())
    return sum(terms[1:], terms[0]) if terms else None


def with_gradients(discriminator: Net, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits phi(x), (batch, 1), and grad phi(x), (batch, c, h, w), both differentiable."""
    net = discriminator.net if isinstance(discriminator, Told) else discriminator
    if isinstance(net, nn.Module):
        # torch.func.grad refuses a module that changes buffers (batch-norm, spectral norm).
        x = images.detach().requires_grad_()
        logits = discriminator(x)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return logits, gradient

    def total(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = discriminator(x)
        return logits.sum(), logits

    gradient, logits = torch.func.grad(total, has_aux=True)(images.detach())
    return logits, gradient


def couples_samples(discriminator: nn.Module) -> bool:
    """Whether batch-norm makes an image's logit depend on the other images of its batch."""
    kind = nn.modules.batchnorm._BatchNorm
    return any(isinstance(part, kind) for part in discriminator.modules())

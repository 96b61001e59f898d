"""What a local step minimises: functions of the two nets, a loss and one mini-batch.

The nets are callables, so that the same functions serve a peer's modules and, under vmap, the nets
of many peers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from peer.gan.augment import Uniforms, augment
from peer.gan.conditional import Labelled, judges
from peer.gan.losses import LOSSES, Loss
from peer.gan.penalties import penalty, with_gradients
from peer.gan.samplewise import of_both
from peer.gan.unet_losses import as_pixel_judge, pixel_discriminator_loss, pixel_generator_loss
from topology.errors import UserError

Net = Callable[[torch.Tensor], torch.Tensor]


class Batch(NamedTuple):
    """One mini-batch, and what else an objective may take."""

    real: torch.Tensor | None = None  # (batch, c, h, w) in [-1, 1]; None: the objective sees none
    z: torch.Tensor | None = None  # (batch, z_dim); None where fakes are given
    fake: torch.Tensor | None = None  # (batch, c, h, w), where they are not to be made from z
    gamma: float = 0.0  # of the regulariser
    cuts: torch.Tensor | None = None  # (batch, 4) in [0, 1): CutMix's, where pixels are judged
    eps: torch.Tensor | None = None  # (batch,) in [0, 1): of the gradient penalty
    r1: float | None = None  # what E[||grad phi(x)||^2] weighs; None in steps without it
    labels_real: torch.Tensor | None = None  # (batch, classes), one-hot; None: D is told no class
    labels_fake: torch.Tensor | None = None  # (batch, classes), as z says it to G
    augment_real: Uniforms | None = None  # of T(real); None: D judges the images as they are
    augment_fake: Uniforms | None = None  # of T(G(z)), or of T(fake)


class Value(NamedTuple):
    """What is minimised; and the loss that is reported: without regularisers and penalties."""

    minimised: torch.Tensor  # ()
    loss: torch.Tensor  # ()


class Objective(NamedTuple):
    """What a net minimises.

    Attributes:
        function: (generator, discriminator, loss, batch) -> :class:`Value`, of images as D is to
            see them; a net that the peer does not hold is None.
        sees_data: whether the batch must have ``real`` images.
    """

    function: Callable[[Net | None, Net | None, Loss, Batch], Value]
    sees_data: bool

    def value(
        self, generator: Net | None, discriminator: Net | None, loss: Loss, batch: Batch
    ) -> Value:
        """The function's value; whatever D judges is augmented, so that no function knows of it."""
        if discriminator is not None and batch.labels_fake is not None:
            discriminator = Labelled(discriminator, batch.labels_real, batch.labels_fake)
        return self.function(_augmented(generator, batch), discriminator, loss, _as_seen(batch))


def _augmented(generator: Net | None, batch: Batch) -> Net | None:
    """T(G(z)) in place of G(z)."""
    if generator is None or batch.augment_fake is None:
        return generator
    return lambda z: augment(generator(z), batch.augment_fake)


def _as_seen(batch: Batch) -> Batch:
    """The batch with T(x) in place of the images that are in it."""
    if batch.real is not None and batch.augment_real is not None:
        batch = batch._replace(real=augment(batch.real, batch.augment_real))
    if batch.fake is not None and batch.augment_fake is not None:
        batch = batch._replace(fake=augment(batch.fake, batch.augment_fake))
    return batch


def _plain(loss: torch.Tensor) -> Value:
    return Value(loss, loss)


def _fakes(generator: Net | None, batch: Batch) -> torch.Tensor:
    """(batch, c, h, w), the generator held fixed."""
    if batch.fake is not None:
        return batch.fake
    assert generator is not None
    assert batch.z is not None
    with torch.no_grad():
        return generator(batch.z)


def _discriminator(
    generator: Net | None, discriminator: Net | None, loss: Loss, batch: Batch
) -> Value:
    """-J_k(w^D, w^G) of the diffusion GAN paper (equation 5), the generator held fixed.

    With the penalties that the experiment's ``loss:`` asks for (:mod:`peer.gan.penalties`).
    """
    assert discriminator is not None
    assert batch.real is not None
    fake = _fakes(generator, batch)  # (batch, c, h, w)
    if (judge := as_pixel_judge(discriminator)) is not None:
        value = pixel_discriminator_loss(judge, loss, batch.real, fake, batch.cuts)
        return _penalised(value, discriminator, loss, batch, fake)
    assert batch.cuts is None, "a judge of pixels came as a bare function"
    value = loss.discriminator(*of_both(discriminator, batch.real, fake))
    return _penalised(value, discriminator, loss, batch, fake)


def _regularised(
    generator: Net | None, discriminator: Net | None, loss: Loss, batch: Batch
) -> Value:
    """The discriminator's loss plus ``gamma/2 Omega`` (Oasis, algorithm 2; Roth et al. 2017).

    Omega is :attr:`Loss.penalty` of the logits and of the squared norms of their gradients with
    respect to the images, per sample; the parameters' gradient goes through both (double
    back-propagation). The reported loss is without Omega, so that losses can be compared. With
    batch-norm in D, which couples samples, per-sample gradients are approximate.

    Raises:
        UserError: the loss has no Omega.
    """
    if loss.penalty is None:
        raise UserError(no_regulariser(loss))
    assert discriminator is not None
    assert batch.real is not None
    fake = _fakes(generator, batch)
    seen = zip(judges(discriminator), (batch.real, fake), strict=True)
    logits, norms = zip(*(_with_norms(D, x) for D, x in seen), strict=True)
    value = loss.discriminator(*logits)
    if (judge := as_pixel_judge(discriminator)) is not None:
        value = pixel_discriminator_loss(judge, loss, batch.real, fake, batch.cuts)
    omega = batch.gamma / 2 * loss.penalty(*logits, *norms)
    return _penalised(value, discriminator, loss, batch, fake, omega)


def no_regulariser(loss: Loss) -> str:
    """What to say where the regulariser is asked for of a loss that has none."""
    having = ", ".join(name for name, each in LOSSES.items() if each.penalty is not None)
    return (
        f"loss: '{loss.name}' has no regulariser (Roth et al. 2017; {having} have one); set "
        "algorithm.regulariser.gamma to 0, or choose one of these losses"
    )


def _with_norms(discriminator: Net, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits phi(x), (batch, 1), and ||grad_x phi(x)||^2, (batch, 1), both differentiable."""
    logits, gradient = with_gradients(discriminator, images)
    return logits, gradient.flatten(1).square().sum(1, keepdim=True)


def _penalised(
    value: torch.Tensor,
    discriminator: Net,
    loss: Loss,
    batch: Batch,
    fake: torch.Tensor,
    omega: torch.Tensor | None = None,
) -> Value:
    """D's loss ``value``, with the regulariser and the penalties in what is minimised."""
    assert batch.real is not None
    minimised = value if omega is None else value + omega
    added = penalty(discriminator, loss.penalties, batch.real, fake, batch.eps, batch.r1)
    return Value(minimised if added is None else minimised + added, value)


def _generator(generator: Net | None, discriminator: Net | None, loss: Loss, batch: Batch) -> Value:
    """J_k(w^D, w^G) (equation 5) in the form that ``loss`` gives it, discriminator held fixed."""
    assert generator is not None
    assert discriminator is not None
    assert batch.z is not None
    fake = generator(batch.z)  # (batch, c, h, w)
    if (judge := as_pixel_judge(discriminator)) is not None:
        return _plain(pixel_generator_loss(judge, loss, fake))
    return _plain(loss.generator(discriminator(fake)))


OBJECTIVES: dict[str, Objective] = {
    "discriminator": Objective(_discriminator, sees_data=True),
    "regularised": Objective(_regularised, sees_data=True),
    "generator": Objective(_generator, sees_data=False),
}

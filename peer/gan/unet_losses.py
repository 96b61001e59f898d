"""The losses of a discriminator that also judges pixels.

Source: Schoenfeld, Schiele, Khoreva, "A U-Net Based Discriminator for Generative Adversarial
Networks" (CVPR 2020, arXiv:2002.12655), section 3. With D_enc the output for the image and D_dec
those for its pixels:

    L_D = L_enc + L_dec, of real and fake images
    CutMix: x~ = mix(x, G(z), M) = M * x + (1 - M) * G(z); D_enc's target is fake, D_dec's is M
    consistency: lambda * || D_dec(x~) - mix(D_dec(x), D_dec(G(z)), M) ||^2
    L_G = the generator's loss under D_enc plus that under D_dec

Here means over pixels replace the paper's sums, so that lambda means the same at every size.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch

from peer.gan.losses import Loss

UNIFORMS = 4
"""How many uniform numbers CutMix needs for an image: share, top, left, which side is real."""


@runtime_checkable
class PixelJudge(Protocol):
    """A discriminator that also judges pixels; any module with these members is trained as one.

    Attributes:
        mix: the share of a batch that CutMix mixes, from 0 to 1.
        consistency: the weight lambda of the consistency loss.
    """

    mix: float
    consistency: float

    def forward_pixels(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (batch, c, h, w) to logits (batch, 1) and pixel logits (batch, 1, h, w)."""
        ...


def as_pixel_judge(discriminator: object) -> PixelJudge | None:
    """The discriminator as one that judges pixels, or None where it judges images alone."""
    if not hasattr(discriminator, "forward_pixels"):
        return None  # called at every step, and isinstance with a protocol takes 20 times as long
    return discriminator if isinstance(discriminator, PixelJudge) else None


def pixel_discriminator_loss(
    judge: PixelJudge,
    loss: Loss,
    real: torch.Tensor,
    fake: torch.Tensor,
    cuts: torch.Tensor | None,
) -> torch.Tensor:
    """What the discriminator minimises, a scalar.

    The first ceil(mix * batch) pairs are mixed, and their terms weighted by ``mix``. In expectation
    that equals mixing the whole batch with probability ``mix``, but its cost does not vary.

    Args:
        judge: the discriminator.
        loss: what a logit costs, for images and pixels alike.
        real: (batch, c, h, w).
        fake: (batch, c, h, w), held fixed.
        cuts: (batch, 4), uniform in [0, 1), drawn with the batch; None leaves CutMix out.
    """
    real_logits, real_pixels = judge.forward_pixels(real)
    fake_logits, fake_pixels = judge.forward_pixels(fake)
    value = loss.discriminator(real_logits, fake_logits)
    value = value + loss.discriminator(real_pixels, fake_pixels)
    count = 0 if cuts is None else math.ceil(judge.mix * min(len(real), len(fake), len(cuts)))
    if cuts is None or count == 0:
        return value
    mask = cut_mask(cuts[:count], real.shape[2], real.shape[3])
    logits, pixels = judge.forward_pixels(mix(real[:count], fake[:count], mask))
    encoder = loss.fake(logits).mean()
    decoder = mix(loss.real(pixels), loss.fake(pixels), mask).mean()
    apart = inconsistency(pixels, real_pixels[:count], fake_pixels[:count], mask)
    return value + judge.mix * (encoder + decoder + judge.consistency * apart)


def pixel_generator_loss(judge: PixelJudge, loss: Loss, fake: torch.Tensor) -> torch.Tensor:
    """What the generator minimises, a scalar: its loss by the image's logit and by the pixels'."""
    logits, pixels = judge.forward_pixels(fake)
    return loss.generator(logits) + loss.generator(pixels)


def inconsistency(
    mixed: torch.Tensor, real: torch.Tensor, fake: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Mean squared difference of D_dec(mixed images) and the mixed D_dec, a scalar.

    All arguments but the mask are pixel logits (n, 1, h, w); their probabilities are compared, as
    the paper's D_dec returns probabilities. The gradient runs through all three.
    """
    wanted = mix(real.sigmoid(), fake.sigmoid(), mask)
    return (mixed.sigmoid() - wanted).square().mean()


def mix(real: torch.Tensor, fake: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``real`` where the mask is one, ``fake`` where it is zero; all (n, ..., h, w)."""
    return mask * real + (1 - mask) * fake


def cut_mask(cuts: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """CutMix's masks (Yun et al. 2019, arXiv:1905.04899), (n, 1, height, width): one means real.

    The real image's share r of the area is uniform; the box has the image's proportions and lies
    anywhere inside it with equal probability. Whether the inside or the outside of the box is real
    is drawn, too: that is ours, so that the box's position does not give the real part away.

    Args:
        cuts: (n, 4), uniform in [0, 1): r, the box's top and left, and its side of the mask.
        height: of the images.
        width: of the images.
    """
    share, top, left, side = cuts[:, :, None].unbind(1)  # each (n, 1)
    around = side >= 0.5
    scale = torch.where(around, 1 - share, share).sqrt()
    inside = [
        _span(scale, start, length, cuts.device) for start, length in ((top, height), (left, width))
    ]
    box = inside[0][:, :, None] & inside[1][:, None, :]  # (n, height, width)
    return (box ^ around[:, :, None]).to(cuts.dtype)[:, None]


def _span(
    scale: torch.Tensor, start: torch.Tensor, length: int, device: torch.device
) -> torch.Tensor:
    """Which of ``length`` pixels lie in spans of ``scale * length``, (n, length)."""
    size = (scale * length).round()
    first = (start * (length - size + 1)).floor()
    pixels = torch.arange(length, device=device)  # (length,)
    return (pixels >= first) & (pixels < first + size)

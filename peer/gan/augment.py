"""Differentiable augmentation: what D judges is T(x), of real and fake images alike.

Source: Zhao, Liu, Lin, Zhu, Han, "Differentiable Augmentation for Data-Efficient GAN Training"
(NeurIPS 2020, arXiv:2006.10738), equations 4 and 5 and section 3.2, with the numbers and the order
(colour, translation, cutout) of its released code:

    L_D = E f_D(-D(T(x))) + E f_D(D(T(G(z)))),    L_G = E f_G(-D(T(G(z))))

with fresh uniform numbers u in [0, 1) for every image and every T, so that G's gradient goes
through T. ``flip`` is an addition of ours.

Every T is a pure function of images and uniforms: an index or a mask is computed from u, and no
shape depends on a value, so that T runs under vmap and in a traced step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

Uniforms = Mapping[str, torch.Tensor]
"""By the name of a transformation, u in [0, 1), (batch, as many as it takes)."""

SHIFT = 0.125
"""The farthest translation, as a share of the image's side."""

HOLE = 0.5
"""The side of the square that is cut out, as a share of the image's."""


def flip(images: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Left and right exchanged, in one image of two; ``images`` (n, c, h, w), ``u`` (n, 1)."""
    return torch.where(_one_an_image(u[:, 0] < 0.5), images.flip(-1), images)


def colour(images: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Brightness, saturation, contrast; ``images`` (n, c, h, w), ``u`` (n, 3).

    x + U(-1/2, 1/2); then about the mean over channels, times U(0, 2), which leaves a grey image as
    it is; then about the mean of the image, times U(1/2, 3/2).
    """
    brightness, saturation, contrast = (_one_an_image(each) for each in u.unbind(1))
    x = images + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def translation(images: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Moved by up to 1/8 of the side either way, zeros coming in; (n, c, h, w), ``u`` (n, 2)."""
    for place, dim in ((0, -2), (1, -1)):
        images = _shifted(images, u[:, place], dim)
    return images


def _shifted(images: torch.Tensor, u: torch.Tensor, dim: int) -> torch.Tensor:
    """Along one dimension, by a whole number of pixels, all from -most to most alike."""
    side = images.shape[dim]
    most = int(SHIFT * side + 0.5)
    shift = (u * (2 * most + 1)).floor().long() - most  # (n,)
    source = torch.arange(side, device=images.device) - shift[:, None]  # (n, side): from where
    shape = (len(images), 1, side, 1) if dim == -2 else (len(images), 1, 1, side)
    inside = ((source >= 0) & (source < side)).view(shape)
    index = source.clamp(0, side - 1).view(shape).expand(images.shape)
    return images.gather(dim, index) * inside


def cutout(images: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Zeros in a square of half the side, anywhere, also across an edge; ``u`` (n, 2)."""
    rows = _span(u[:, 0], images.shape[2], images.device)  # (n, h)
    columns = _span(u[:, 1], images.shape[3], images.device)  # (n, w)
    hole = rows[:, None, :, None] & columns[:, None, None, :]  # (n, 1, h, w)
    return images * ~hole


def _span(u: torch.Tensor, side: int, device: torch.device) -> torch.Tensor:
    """Which of ``side`` pixels lie in the square, whose middle is anywhere; (n, side)."""
    length = int(HOLE * side + 0.5)
    middle = (u * (side + 1 - length % 2)).floor()[:, None]  # (n, 1)
    pixels = torch.arange(side, device=device)  # (side,)
    first = middle - length // 2
    return (pixels >= first) & (pixels < first + length)


def _one_an_image(values: torch.Tensor) -> torch.Tensor:
    """(n,) as (n, 1, 1, 1)."""
    return values[:, None, None, None]


TRANSFORMS: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], int]] = {
    "flip": (flip, 1),
    "colour": (colour, 3),
    "translation": (translation, 2),
    "cutout": (cutout, 2),
}
"""In the order in which they are applied, each with how many uniforms it takes of an image."""


def augment(images: torch.Tensor, uniforms: Uniforms | None) -> torch.Tensor:
    """T(x), in the shape of ``images``; those very images where there are no ``uniforms``."""
    for name, (transform, _) in TRANSFORMS.items():
        if uniforms and name in uniforms:
            images = transform(images, uniforms[name])
    return images


def draw_uniforms(
    names: tuple[str, ...], count: int, rng: np.random.Generator, device: torch.device
) -> Uniforms | None:
    """Uniforms for ``count`` images, in one draw; None where nothing is augmented."""
    if not names:
        return None
    widths = [width for name, (_, width) in TRANSFORMS.items() if name in names]
    drawn = torch.from_numpy(rng.random((count, sum(widths)), dtype=np.float32)).to(device)
    parts = torch.split(drawn, widths, dim=1)
    return dict(zip([name for name in TRANSFORMS if name in names], parts, strict=True))


class View:
    """Images as D sees them, and the way back of a gradient that D's answer is for.

    Attributes:
        images: T(x), (batch, c, h, w).
        seed: of what D draws inside (dropout), which its answer and the gradient have in common;
            None where it draws nothing.
    """

    def __init__(
        self, images: torch.Tensor, uniforms: Uniforms | None, seed: int | None = None
    ) -> None:
        self._before, self._uniforms, self.seed = images, uniforms, seed
        self.images = augment(images, uniforms)

    def error_before(self, error: torch.Tensor) -> torch.Tensor:
        """dL/dx, (batch, c, h, w), from ``error``, which is dL/dT(x)."""
        if not self._uniforms:
            return error
        leaf = self._before.detach().requires_grad_()
        return torch.autograd.grad(augment(leaf, self._uniforms), leaf, error)[0]

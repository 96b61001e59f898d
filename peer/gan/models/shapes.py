"""What the models' factories share: types, a check of the image's size, DCGAN's initial weights."""

from __future__ import annotations

from torch import nn

from topology.errors import UserError

Shape = tuple[int, int, int]
"""An image's channels, height, width."""

Pair = tuple[nn.Module, nn.Module]
"""A generator and a discriminator."""


def require_square(name: str, shape: Shape, *sides: int) -> None:
    """Check that ``name``, which draws squares of the given ``sides``, can draw ``shape``.

    Raises:
        UserError: it cannot.
    """
    height, width = shape[1:]
    if height != width or height not in sides:
        *others, last = (f"{side}x{side}" for side in sides)
        sizes = f"{', '.join(others)} or {last}" if others else last
        raise UserError(
            f"gan: {name} draws {sizes} images, the data are {height}x{width}; "
            "choose mlp-digits or mlpgan, which fit any size"
        )


def start_from_normal(module: nn.Module) -> None:
    """DCGAN's initial weights: convolutions N(0, 0.02), batch-norm scales N(1, 0.02).

    For ``net.apply``; fully connected layers keep torch's own. Source: Radford et al. 2016
    (arXiv:1511.06434).
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)

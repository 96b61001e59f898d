"""Whether a net's output for an image depends on that image alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from peer.gan.conditional import judges

SAMPLEWISE = frozenset(
    {
        nn.Conv2d,
        nn.ConvTranspose2d,
        nn.ELU,
        nn.Flatten,
        nn.GELU,
        nn.Identity,
        nn.LayerNorm,
        nn.LeakyReLU,
        nn.Linear,
        nn.ReLU,
        nn.Sequential,
        nn.SiLU,
        nn.Sigmoid,
        nn.Tanh,
        nn.Unflatten,
    }
)
"""Modules that apply the same function to every sample, without random numbers or state."""


def is_samplewise(net: object) -> bool:
    """Whether ``net`` consists of unmodified :data:`SAMPLEWISE` modules only.

    Batch-norm mixes samples, dropout draws, spectral norm changes its state at every call, and
    nothing is known of a user's own module.
    """
    modules: Callable[[], Iterable[nn.Module]] | None = getattr(net, "modules", None)
    return modules is not None and all(
        type(part) in SAMPLEWISE
        and not part._forward_hooks
        and not part._forward_pre_hooks
        and _first_dimension(part) > 0
        for part in modules()
    )


def _first_dimension(part: nn.Module) -> int:
    """The first dimension that a module reshapes; dimension 0 is that of the samples."""
    match part:
        case nn.Flatten():
            return part.start_dim
        case nn.Unflatten():
            return part.dim if isinstance(part.dim, int) else 0
        case _:
            return 1


def of_both(
    net: Callable[[torch.Tensor], torch.Tensor], first: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """``net(first), net(second)``, of real images and of fakes, (batch, ...) each.

    In one pass if ``net`` is samplewise.
    """
    if not is_samplewise(net):
        of_first, of_second = judges(net)  # where D is told classes, these differ
        return of_first(first), of_second(second)
    both = net(torch.cat((first, second)))
    return both[: len(first)], both[len(first) :]

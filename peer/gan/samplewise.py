"""Whether what a net says of an image depends on that image alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

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
"""Modules that treat every sample alike and alone, and that neither draw nor remember anything."""


def is_samplewise(net: object) -> bool:
    """Whether ``net`` is made of :data:`SAMPLEWISE` modules, as they come, and of nothing else.

    Batch-norm mixes samples, dropout draws, spectral norm moves on at every call, and of a module
    of somebody's own nothing is known.
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
    """The first that it folds or unfolds; 0 is that of the samples."""
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
    """``net(first), net(second)``, (batch, ...) each; in one pass where that is the same."""
    if not is_samplewise(net):
        return net(first), net(second)
    both = net(torch.cat((first, second)))
    return both[: len(first)], both[len(first) :]

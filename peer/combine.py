"""The one way in which peers combine: antisymmetric transfers, summed in id order."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def combine(
    w: torch.Tensor,
    own: torch.Tensor,
    received: Mapping[int, torch.Tensor],
    weights: Mapping[int, float],
    scratch: torch.Tensor | None = None,
) -> None:
    """``w_k += sum over l of a_lk (q_l - q_k)``, in place (diffusion GAN, equation 10b).

    With doubly stochastic weights that are symmetric, what one end of a link gains the other
    loses, whichever links are there: the network's mean cannot drift, and a neighbour that stays
    away leaves its weight on oneself. Every driver calls this function: a second formula would
    round a second way.

    Args:
        w: the arena to move, (P,).
        own: q_k, what this peer sent, (P,).
        received: q_l by neighbour, each (P,), as decoded from what was transmitted.
        weights: a_lk by neighbour.
        scratch: (P,), overwritten; allocated where absent.
    """
    transfer = torch.empty_like(own) if scratch is None else scratch
    for neighbour in sorted(received):
        torch.sub(received[neighbour], own, out=transfer)
        w.add_(transfer, alpha=weights[neighbour])

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


def weighted_mean(
    models: Mapping[int, Mapping[str, torch.Tensor]], weights: Mapping[int, float]
) -> dict[str, torch.Tensor]:
    """``sum over k of omega_k w_k`` for every net, summed in id order (FedAvg; Oasis, equation 2).

    Args:
        models: by sender, arenas by name, each (P,).
        weights: by sender, not negative; normalised over the senders that ``models`` holds, so that
            those who stayed away are left out. Where all are zero, the mean is uniform.
    """
    total = sum(weights[k] for k in models)
    mean: dict[str, torch.Tensor] = {}
    for k in sorted(models):
        share = weights[k] / total if total > 0 else 1 / len(models)
        for name, w in models[k].items():
            if name in mean:
                mean[name].add_(w, alpha=share)
            else:
                mean[name] = w * share
    return mean

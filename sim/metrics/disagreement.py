"""How far apart the peers are: the mean squared distance to their centroid.

Diffusion GAN (Wang, Pavan, Sayed), equations 16 and 17: with the centroid w_c = (1/K) sum_k w_k,
the disagreement is (1/K) sum_k ||w_k - w_c||². In simulation it is exact. Between real peers it is
estimated from the count sketch that each of them logs
(:func:`peer.state.count_sketch.estimate_disagreement`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

BLOCK_BYTES = 2 * 2**20
"""Of a block of columns in float64: it stays in a core's caches from its mean to its sum."""


def disagreement(weights: torch.Tensor) -> float:
    """(1/K) sum_k ||w_k - w_c||² of the rows of ``weights``, exactly (equations 16-17).

    Computed in float64, a block of columns at a time, so that only the first pass over a block goes
    to memory, and a thousand peers need no second copy of their matrix.

    Args:
        weights: (K, P), one peer's parameters a row.

    Returns:
        Squared parameter units, summed over the P parameters and averaged over the K peers.
    """
    peers, length = weights.shape
    columns = min(length, max(64, BLOCK_BYTES // (8 * max(1, peers))))
    scratch = torch.empty(peers * columns, dtype=torch.float64, device=weights.device)
    total = 0.0
    for start in range(0, length, columns):
        part = weights[:, start : start + columns].detach()
        flat = scratch[: part.numel()]
        block = flat.view(part.shape).copy_(part)  # (K, columns)
        block -= block.mean(dim=0)
        total += float(flat @ flat)
    return total / peers


def arena_sums(arenas: Sequence[torch.Tensor], length: int) -> np.ndarray:
    """What the processes of a simulation add up for :func:`disagreement_of_sums`.

    Args:
        arenas: (P,) each, those of one process.
        length: P, where there may be no arena at all.

    Returns:
        (P + 2,), float64: the sum of the arenas, of their squared norms, and their number.
    """
    found = np.zeros(length + 2)
    for arena in arenas:
        w = arena.detach().double()  # by torch, which keeps to this process's threads
        found[:length] += w.cpu().numpy()
        found[length:] += np.array([float(w @ w), 1.0])
    return found


def disagreement_of_sums(sums: np.ndarray) -> float | None:
    """The disagreement as (1/K) sum_k ||w_k||² - ||w_c||², from :func:`arena_sums` of all arenas.

    It equals :func:`disagreement` up to rounding: the difference of two large numbers loses some
    digits that distances to the centroid keep, but no process needs to know all arenas.

    Returns:
        Squared parameter units; None of a single arena, or of none.
    """
    total, (squares, count) = sums[:-2], sums[-2:]
    if count <= 1:
        return None
    centroid = total / count
    return max(0.0, float(squares / count - centroid @ centroid))

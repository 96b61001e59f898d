"""How far apart the peers are: the mean squared distance to their centroid.

Diffusion GAN (Wang, Pavan, Sayed), equations 16 and 17: with the centroid w_c = (1/K) sum_k w_k,
the disagreement is (1/K) sum_k ||w_k - w_c||². In simulation it is exact. Between real peers it is
estimated from the count sketch that each of them logs (:mod:`peer.state.count_sketch`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

_CHUNK_BYTES = 32 * 2**20


def disagreement(weights: torch.Tensor) -> float:
    """(1/K) sum_k ||w_k - w_c||² of the rows of ``weights``, exactly (equations 16-17).

    Computed in float64, a block of columns at a time, so that a thousand peers need no second copy
    of their matrix.

    Args:
        weights: (K, P), one peer's parameters a row.

    Returns:
        Squared parameter units, summed over the P parameters and averaged over the K peers.
    """
    peers, length = weights.shape
    columns = max(1, _CHUNK_BYTES // (8 * max(1, peers)))
    total = 0.0
    for start in range(0, length, columns):
        block = weights[:, start : start + columns].detach().to(torch.float64)
        total += float((block - block.mean(dim=0)).square().sum())
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


def estimate_disagreement(sketches: npt.ArrayLike) -> tuple[float, float]:
    """The disagreement, and its relative standard error, from the peers' count sketches.

    A sketch S is linear and common to all peers, so the sketches' distances to their own mean
    estimate the distances of the parameters, without bias: E||S x||² = ||x||².

    The error is that of the *average*. With x_k = w_k - w_c and m buckets, Var(||S x_k||²) is at
    most (2/m)||x_k||⁴: sqrt(2/256) = 8.8 % for one peer. Averaging over peers need not reduce it,
    because all peers share the same buckets and signs: the variance of the sum is
    (2/m) sum_kl (x_k . x_l)². Where the differences are orthogonal it falls as 1/K; where all of
    them lie along one line (one odd peer out, for instance) every term errs alike and it does not
    fall at all. So the inner products are themselves estimated from the sketches, which errs
    upwards, and the answer is capped at sqrt(2/m). The sketch is the same in every round too:
    a whole curve is shifted up or down together, it does not jitter within its band.

    Args:
        sketches: (K, m), one peer's sketch a row, all of the same net and the same round.

    Returns:
        The estimate, in squared parameter units, and its standard error relative to it (0.05 is
        5 %; 0 where all peers are equal).
    """
    rows = np.asarray(sketches, dtype=np.float64)
    peers, buckets = rows.shape
    differences = rows - rows.mean(axis=0)
    if not np.isfinite(differences).all():
        return float("nan"), float("nan")
    # Of the two Gram matrices with the same non-zero spectrum, the smaller.
    gram = differences @ differences.T if peers <= buckets else differences.T @ differences
    total = float(np.trace(gram))
    if total <= 0.0:
        return 0.0, 0.0
    alignment = min(1.0, float(np.square(gram).sum()) / total**2)
    return total / peers, float(np.sqrt(2 / buckets * alignment))

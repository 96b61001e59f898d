"""What a server has seen of the data, round by round: FeGAN's figures 10 and 14."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Seen(NamedTuple):
    """What the server has seen after each round, (R,) each."""

    divergence: Floats  # KL(seen || real), nats; finite where classes are still unseen
    reverse: Floats  # KL(real || seen), the seen smoothed by one sample a class
    samples: Floats  # per class on average, with repetition
    unique: Floats  # per class on average, each worker's counted once


def seen_by_rounds(
    participants: Iterable[Sequence[int]],
    histograms: Mapping[int, Mapping[int, int]],
    real: Mapping[int, int] | None = None,
) -> Seen:
    """From who took part in each round, and what each of them holds.

    Args:
        participants: of each round, ids.
        histograms: c_k, samples by class, of every worker.
        real: samples by class of the whole data set; if absent, the sum of ``histograms``, which
            differs from it where workers hold the same samples, as in FeGAN's own engine.
    """
    classes = 1 + max(x for of in [*histograms.values(), real or {}] for x in of)
    c = {k: np.array([of.get(x, 0) for x in range(classes)]) for k, of in histograms.items()}
    Q = np.sum(list(c.values()), axis=0).astype(float)
    if real is not None:
        Q = np.array([real.get(x, 0) for x in range(classes)], dtype=float)
    V, once, met = np.zeros(classes), np.zeros(classes), set[int]()
    rows = []
    for ids in participants:
        for k in ids:
            V = V + c[k]
            if k not in met:
                met.add(k)
                once = once + c[k]
        nothing = not V.sum()
        rows.append(
            (
                float("nan") if nothing else divergence(V, Q),
                divergence(Q, V + 1),
                V.mean(),
                once.mean(),
            )
        )
    return Seen(*np.array(rows, dtype=float).reshape(-1, 4).T)


def divergence(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """KL(P || Q) of two histograms, nats; infinite where P has what Q lacks."""
    p, q = (np.asarray(h, dtype=float) / np.sum(h) for h in (one, other))
    held = p > 0
    if (q[held] == 0).any():
        return float("inf")
    return float(np.sum(p[held] * np.log(p[held] / q[held])))

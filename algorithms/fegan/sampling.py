"""FeGAN's scores, weights and balanced sampling: pure functions of the devices' histograms.

What the paper's text does not give is taken from the released code; differences are settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scheme = Literal["exp", "linear", "dirac", "exp_neg", "uniform"]
Histograms = Mapping[int, NDArray[np.int64]]


def scores(histograms: Histograms) -> dict[int, float]:
    """``s_k = (n_k/n) KL(P_k || Q)`` in nats by device, Q and n being of all histograms (3.2).

    A class that a device lacks adds nothing; a device without samples scores zero.
    """
    total = np.sum(list(histograms.values()), axis=0)
    Q = total / total.sum()
    s = {}
    for k, c in histograms.items():
        if not c.sum():
            s[k] = 0.0
            continue
        P = c[c > 0] / c.sum()
        s[k] = float(c.sum() / total.sum() * np.sum(P * np.log(P / Q[c > 0])))
    return s


def kl_weights(s: Mapping[int, float], sampled: Iterable[int], scheme: Scheme) -> dict[int, float]:
    """w_k over the sampled devices, summing to one (3.3): more divergent devices weigh more.

    ``exp``: e^s / sum e^s, as in the released code; ``linear``: s / sum s; ``dirac``: as linear,
    but shares below one half count as zero; ``exp_neg``: e^-s / sum e^-s, by which more divergent
    devices weigh less; ``uniform``. Where all would be zero, the weights are uniform.
    """
    ids = sorted(sampled)
    values = np.array([s[k] for k in ids])
    match scheme:
        case "exp":
            w = np.exp(values)
        case "exp_neg":
            w = np.exp(-values)
        case "linear":
            w = values
        case "dirac":
            share = values / values.sum() if values.sum() > 0 else values
            w = np.where(share < 0.5, 0.0, share)
        case "uniform":
            w = np.ones(len(ids))
    if w.sum() <= 0:
        w = np.ones(len(ids))
    return dict(zip(ids, (w / w.sum()).tolist(), strict=True))


def with_loads(w: Mapping[int, float], loads: Mapping[int, float]) -> dict[int, float]:
    """``omega_k`` proportional to ``w_k l_k``, summing to one (paper, 3.4)."""
    omega = {k: w[k] * loads[k] for k in w}
    total = sum(omega.values())
    return {k: value / total for k, value in omega.items()}


def queues_of(histograms: Histograms) -> list[list[int]]:
    """One queue a class, of every device that has any of it, in descending id (3.3)."""
    classes = len(next(iter(histograms.values())))
    return [
        [k for k in sorted(histograms, reverse=True) if histograms[k][x]] for x in range(classes)
    ]


def sample_balanced(
    queues: Sequence[list[int]], taken: list[float], shows: Mapping[int, Sequence[float]], size: int
) -> list[int]:
    """The devices of a round (3.3): each time, one that has the class least taken so far.

    Args:
        queues: by class, the devices that have it, in the order of their turns; rotated in place.
            An empty one, of a class that no device has, is never chosen.
        taken: by class, samples taken since the first round; grows in place.
        shows: by device, the samples of each class that taking it adds to ``taken``.
        size: how many devices; fewer are returned where a queue has no device left that is new.
    """
    group: list[int] = []
    for _ in range(size):
        present = [x for x, queue in enumerate(queues) if queue]
        x = min(present, key=lambda x: (taken[x], x))
        for _ in range(len(queues[x])):
            device = queues[x].pop(0)
            queues[x].append(device)
            if device not in group:
                group.append(device)
                for y, count in enumerate(shows[device]):
                    taken[y] += count
                break
    return group

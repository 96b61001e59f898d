"""FeGAN's arithmetic: whose classes are far from everybody's, who is sampled, who weighs what.

Pure functions of what the devices tell once: their histograms.

Recovered from the released code where the paper's text lost it; differences are named settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scheme = Literal["exp", "linear", "dirac", "exp_neg", "uniform"]
Histograms = Mapping[int, NDArray[np.int64]]


def scores(histograms: Histograms) -> dict[int, float]:
    """``s_k = (n_k/n) KL(P_k || Q)`` in nats; Q and n come from what the devices told (4.2).

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
    """w_k over the sampled devices, summing to one (4.3): the more divergent weigh more.

    ``exp``: e^s / sum e^s, as in the released code; ``linear``: s / sum s; ``dirac``: linear, with
    what is below one half dropped; ``exp_neg``: e^-s, the other way round; ``uniform``. Where all
    would be zero, the weights are uniform.
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
    """One queue a class, of every device that has any of it, in descending id (4.4)."""
    classes = len(next(iter(histograms.values())))
    return [
        [k for k in sorted(histograms, reverse=True) if histograms[k][x]] for x in range(classes)
    ]


def sample_balanced(
    queues: Sequence[list[int]], taken: list[float], shows: Mapping[int, Sequence[float]], size: int
) -> list[int]:
    """The next group (4.4): each time, a device of the class of which least was taken so far.

    ``queues`` and ``taken`` go on from round to round, and are changed: ``taken`` grows by what a
    device ``shows``, class by class. A class that nobody has is never looked for. A slot for which
    nobody is left stays empty.
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

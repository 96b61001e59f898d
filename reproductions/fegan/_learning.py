"""Devices that learn: the set-up of the paper's section 5, in the small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reproductions.fegan._system import clock
from reproductions.images import digits
from reproductions.measures import final_scores_of, loss_curves, quality_curve

DEVICES, ITERATIONS, ROUNDS = 40, 5, 500
NON_IID = {5: 90, 10: 60}
"""max_class and max_samples of the engine: half and a third of a class, as 3000 and 2000 are."""

SW = {
    "s=0 w=0": {"balanced": False, "kl": False},
    "s=1 w=0": {"kl": False},
    "s=0 w=1": {"balanced": False},
    "s=1 w=1": {},
}
"""Balanced sampling, and KL weights."""

SMALLER = (
    "Forty devices, four of them a round, with five iterations on batches of 50; digits of 8 "
    "pixels, small MLPs with the standard loss and Adam at 0.001, 500 rounds. (The paper: 80 "
    "devices, two a round, 30 iterations at a fifth of the step size, Fashion-MNIST, "
    "convolutional nets with the least-squares loss.) A device has a fortieth of a small set: "
    "where it trained for as long as the paper's before its nets were averaged, all systems "
    "collapsed in trials. What is compared is one system with another on the same devices. "
)
TIME = (
    "Time is virtual: 15 ms an iteration, and one network card a machine, as fast for our nets as "
    "2 Gbit/s are for the paper's. "
)


def fegan(data: Mapping[str, Any], rounds: int = ROUNDS, **algorithm: Any) -> dict[str, Any]:
    """FeGAN with these settings, on these data; scored 25 times."""
    return {
        "peers": DEVICES + 1,
        "graph": "star",
        "algorithm": {
            "name": "fegan",
            "rounds": rounds,
            "fraction": 0.1,
            "local_steps": ITERATIONS,
            **algorithm,
        },
        **_shared(dict(data), rounds),
    }


def _shared(data: dict[str, Any], rounds: int) -> dict[str, Any]:
    return {
        "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
        "gan": "mlp-digits",
        "data": data,
        "batch": 50,
        "metrics": {"every": 25, "quality_every": rounds // 25},
        **clock(),
    }


def central(rounds: int) -> dict[str, Any]:
    """One GAN with all images, by as many iterations."""
    return {
        "peers": 1,
        "graph": "complete",
        "algorithm": {"name": "local", "rounds": rounds},
        **_shared(digits("all"), rounds),
    }


def mdgan(rounds: int) -> dict[str, Any]:
    """MD-GAN on forty devices; discriminators swap every nine iterations (the paper's: seven)."""
    keys = _shared(digits(), rounds)
    del keys["devices"]["seconds"]["draw"]  # the server's own work
    return {
        "peers": DEVICES + 1,
        "graph": "complete",
        "algorithm": {"name": "mdgan", "rounds": rounds, "swap_epochs": 10},
        **keys,
    }


def engine(max_class: int) -> dict[str, Any]:
    """Digits, shared out by the paper's engine."""
    samples = NON_IID[max_class]
    return digits({"name": "fegan", "max_class": max_class, "max_samples": samples})


def learnt(run: Path) -> dict[str, Any]:
    """The curve, its last quarter on average (``late``), and the last losses.

    One score is too noisy: generators of few parameters wander from round to round.
    """
    curve = quality_curve(run)
    losses = loss_curves(run, points=10)
    return final_scores_of(run) | {
        "curve": curve,
        "late": late(curve["distance"]),
        "late covered": late(curve["covered"]),
        "loss of D": (losses.get("discriminator") or [None])[-1],
        "loss of G": (losses.get("generator") or [None])[-1],
    }


def late(values: Sequence[float | None]) -> float | None:
    """The mean of the last quarter of a curve; None where nothing of it is known."""
    tail = [x for x in values[-max(1, len(values) // 4) :] if x is not None]
    return float(np.mean(tail)) if tail else None


def configurations(data: Callable[[], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All four (s, w) on the same data."""
    return {name: fegan(data(), **of) for name, of in SW.items()}

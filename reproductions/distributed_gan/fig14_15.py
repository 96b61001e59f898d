"""Figures 14 and 15: the time that training takes, against a normal GAN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean, spread
from reproductions.distributed_gan._users import FIRST, SECOND, THIRD
from reproductions.drawing import axes, curves, dots
from reproductions.images import digits
from reproductions.measures import final_scores_of, quality_curve

MINI_BATCHES = 4000
NORMAL = "normal GAN"
USERS = 2


def experiments() -> Mapping[str, dict[str, Any]]:
    """Everything by a single GAN, and two users by each approach, with as many mini-batches."""
    shared = {
        "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
        "gan": "mlp-digits",
        "batch": 64,
        "devices": "raspberry-pi-4",
        "network": {"link": "raspberry-pi-4"},
    }
    found = {
        NORMAL: shared
        | {
            "peers": 1,
            "graph": "complete",
            "algorithm": {"name": "local", "rounds": MINI_BATCHES},
            "data": digits("all"),
            "metrics": {"every": 100, "quality_every": MINI_BATCHES // 20},
        }
    }
    rounds = MINI_BATCHES // USERS
    for system, approach in (("approach 1", FIRST), ("approach 2", SECOND), ("approach 3", THIRD)):
        found[system] = shared | {
            "peers": USERS + 1,
            "graph": "star",
            "algorithm": {"name": "distributed_gan", "approach": approach, "rounds": rounds},
            "data": digits("halves"),
            "metrics": {"every": 100, "quality_every": rounds // 20},
        }
    return found


def measure(run: Path) -> Numbers:
    """Virtual hours, and the CFID as they pass."""
    curve = quality_curve(run)
    hours = [None if s is None else s / 3600 for s in curve["seconds"]]
    scores = final_scores_of(run)
    return {
        "hours": max((h for h in hours if h is not None), default=None),
        "distance": scores["distance"],
        "covered": scores["covered"],
        "curve": {"hours": hours, "distance": curve["distance"]},
    }


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    hours = {system: mean(found, system, "hours") for system in found}
    return Verdict.by(
        {system: hours[system] < hours[NORMAL] for system in found if system != NORMAL},
        f"for {MINI_BATCHES:,} mini-batches of images, "
        + ", ".join(
            f"{system} {hours[system]:.1f} h (CFID {spread(found, system, 'distance')})"
            for system in found
        ),
    )


def draw(found: Found) -> Figure:
    """Hours, and CFID as they pass."""
    figure, (left, right) = axes(2)
    dots(left, found, "hours", ylabel="hours of a Raspberry Pi 4")
    left.set_ylim(bottom=0)
    curves(
        right,
        found,
        "hours",
        "distance",
        xlabel="hours of a Raspberry Pi 4",
        ylabel="CFID",
        log=True,
    )
    return figure


REPRODUCTION = Reproduction(
    source="Distributed-GAN, figures 14 and 15",
    claim="Training takes obviously less time than with a normal GAN, on MNIST and on CelebA; all "
    "three approaches reduce it remarkably.",
    smaller="Digits of 8 pixels and an MLP, two users, and a virtual clock: as the paper names no "
    "machine, all are the Raspberry Pis 4 of the Oasis paper (30.38 s a local step, of which each "
    "net is given half; 3.75 s a transfer). Time depends neither on the images nor on the net "
    "then, so one set stands for both figures; faster links would favour the three approaches. "
    "The paper does not say what equal training is: here it is as many mini-batches of images, "
    f"{MINI_BATCHES:,} by a normal GAN and half of that by each of two users.",
    rule="The mean virtual time is less than the normal GAN's by all three approaches. By some: in "
    "part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="Left: virtual time for the same number of mini-batches, a dot a seed. Right: CFID as "
    "virtual time passes; lines are means over seeds, between the least and the greatest.",
    seeds=3,
)

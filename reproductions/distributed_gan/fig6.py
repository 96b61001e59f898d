"""Figure 6: the third approach, 0 to 4 at one user and 5 to 9 at the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, column, mean, spread
from reproductions.distributed_gan._users import SEEDS, SMALLER, THIRD, judged, percent, whole
from reproductions.drawing import pictures

SYSTEM = "approach 3, 0-4 and 5-9"


def experiments() -> Mapping[str, dict[str, Any]]:
    """MNIST divided by label."""
    return {SYSTEM: whole(THIRD)}


def measure(run: Path) -> Numbers:
    """The classes covered, and a hundred samples."""
    return judged(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    halves = [
        [sum(each["shares"][str(x)] >= 0.01 for x in of) for each in found[SYSTEM]]
        for of in (range(5), range(5, 10))
    ]
    least = min(column(found, SYSTEM, "covered"))
    either = min(min(half) for half in halves)
    return Verdict.by(
        {
            "seven classes in the mean": mean(found, SYSTEM, "covered") >= 7 and either >= 3,
            "nine in every seed": least >= 9,
        },
        f"of ten classes the server's generator covers {spread(found, SYSTEM, 'covered')}, and at "
        f"least {either} of each user's five; in the mean {percent(found, SYSTEM, range(10))}",
    )


def draw(found: Found) -> Figure:
    """A hundred samples of every seed."""
    return pictures({f"seed {i}": each["samples"] for i, each in enumerate(found[SYSTEM])})


REPRODUCTION = Reproduction(
    source="Distributed-GAN, figure 6",
    claim="One user has the digits 0 to 4, the other 5 to 9: by the third approach, in which the "
    "generator learns from one user after the other, the whole 0 to 9 are generated.",
    smaller=SMALLER,
    rule="In every seed the server's generator covers nine of ten classes or more (1 % of its "
    "samples at least, each with a confidence of 0.9). Seven or more in the mean, and at least "
    "three of each user's five in every seed: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="The first hundred samples of the server's generator; none are chosen.",
    seeds=SEEDS,
)

"""Figure 2: what the first approach draws of MNIST."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, column, mean, spread
from reproductions.distributed_gan._users import FIRST, SEEDS, SMALLER, judged, whole
from reproductions.drawing import pictures

SYSTEM = "approach 1, two users"


def experiments() -> Mapping[str, dict[str, Any]]:
    """MNIST in two random parts."""
    return {SYSTEM: whole(FIRST)}


def measure(run: Path) -> Numbers:
    """The classes covered, and a hundred samples."""
    return judged(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    covered = column(found, SYSTEM, "covered")
    return Verdict.by(
        {
            "seven classes in the mean": mean(found, SYSTEM, "covered") >= 7,
            "nine in every seed": min(covered) >= 9,
        },
        f"of ten classes the server's generator covers {spread(found, SYSTEM, 'covered')}; "
        f"CFID {spread(found, SYSTEM, 'distance')}",
    )


def draw(found: Found) -> Figure:
    """A hundred samples of every seed."""
    return pictures({f"seed {i}": each["samples"] for i, each in enumerate(found[SYSTEM])})


REPRODUCTION = Reproduction(
    source="Distributed-GAN, figure 2",
    claim="MNIST is divided into two parts, and each user obtains one. By the first approach, "
    "which takes the biggest of the users' changes, the server generates MNIST's digits.",
    smaller=SMALLER + "Of the readings of *the biggest*, the default is taken: coordinate by "
    "coordinate, by magnitude.",
    rule="In every seed the server's generator covers nine of ten classes or more (1 % of its "
    "samples at least, each with a confidence of 0.9). Seven or more in the mean: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="The first hundred samples of the server's generator; none are chosen.",
    seeds=SEEDS,
)

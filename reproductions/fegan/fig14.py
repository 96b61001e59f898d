"""Figure 14: how many samples of a class the server has come across."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict
from reproductions.drawing import axes, curves
from reproductions.fegan._measures import first_reached, median, ratios, seen_of
from reproductions.fegan._system import CLOCK, UNTRAINED
from reproductions.fegan.table1 import selections

SETTINGS = (10, 50)
ROUNDS = 200
TARGET = 500
NAMES = {"random 10 - 50": "random sampling", "balanced 10 - 50": "balanced sampling"}


def experiments() -> Mapping[str, dict[str, Any]]:
    """Fifty samples of a class at most, and any number of classes."""
    return selections(SETTINGS, ROUNDS)


def measure(run: Path) -> Numbers:
    """Samples a class after each round, and when they are 500."""
    seen = seen_of(run)
    return {
        "rounds": seen["rounds"],
        "samples": seen["samples"],
        "unique": seen["unique"],
        "reached": first_reached(seen["samples"], TARGET),
    }


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    random, balanced = list(NAMES)
    ratio = median(ratios(found, random, balanced, "reached"))
    reached = [median([each["reached"] or float("nan") for each in found[name]]) for name in NAMES]
    return Verdict.by(
        {"1.25 times as many rounds": ratio >= 1.25, "five times": ratio >= 5},
        f"{TARGET} samples a class after {reached[1]:.0f} rounds of balanced and {reached[0]:.0f} "
        f"of random sampling: {ratio:.2f} times as many",
    )


def draw(found: Found) -> Figure:
    """Samples a class, with repetition and without."""
    figure, (left, right) = axes(2)
    shared: dict[str, Any] = {"xlabel": "rounds", "ylabel": "samples a class", "names": NAMES}
    curves(left, found, "rounds", "samples", title="with repetition", **shared)
    left.axhline(TARGET, color="#8A8A8A", lw=0.8, ls=":")
    curves(right, found, "rounds", "unique", title="each device's once", **shared)
    return figure


REPRODUCTION = Reproduction(
    source="FeGAN, figure 14",
    claim="With balanced sampling the server comes across 500 samples a class within 10 rounds, "
    "and needs ten times as many rounds with random sampling.",
    smaller="Eighty devices, two a round, 50 samples of a class at most, as there; MNIST's ten "
    "classes instead of ImageNet's 200, so devices hold fewer samples, and the numbers of rounds "
    "are others. Their ratio is compared: it is the median of the seeds' ratios, which is not the "
    "ratio of the medians. " + UNTRAINED + CLOCK,
    rule="The rounds until 500 samples a class, random by balanced, the median over seeds: at "
    "least 5, half of what is claimed. At least 1.25, table 1's gain: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="Samples that the server has come across, of a class on average: counted again in "
    "every round, and each device's once (lines are means over seeds, between the least and the "
    "greatest).",
    seeds=3,
)

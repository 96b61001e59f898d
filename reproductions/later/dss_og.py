"""DSS-OG: both gradients on one sample, and so no need of a large batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Holds, Numbers, Reproduction, Verdict, mean, spread
from reproductions.drawing import axes, curves, dots
from reproductions.later._games import peers
from reproductions.measures import final_scores_of, quality_curve

SMALL, LARGE = 4, 64


def experiments() -> Mapping[str, dict[str, Any]]:
    """The same sample against one sample for each gradient, in small batches and in large ones."""
    same = {"name": "dss_og"}
    other = {"name": "dposg", "mixings": 1}
    return {
        f"{name}, batch {batch}": peers(algorithm, batch=batch)
        for name, algorithm in (("same sample", same), ("other samples", other))
        for batch in (SMALL, LARGE)
    }


def measure(run: Path) -> Numbers:
    """The last CFIDs, and the curve."""
    return final_scores_of(run) | {"curve": quality_curve(run)}


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    small, large, other = (
        mean(found, system, "distance")
        for system in (
            f"same sample, batch {SMALL}",
            f"same sample, batch {LARGE}",
            f"other samples, batch {SMALL}",
        )
    )
    return Verdict(
        Holds.by(small <= 1.25 * large, small < other),
        "CFID " + ", ".join(f"{system} {spread(found, system, 'distance')}" for system in found),
    )


def draw(found: Found) -> Figure:
    """CFID against iterations, and at the end."""
    figure, (left, right) = axes(2)
    curves(left, found, "rounds", "distance", xlabel="iterations", ylabel="CFID", log=True)
    dots(right, found, "distance", ylabel="CFID at the end", log=True)
    return figure


REPRODUCTION = Reproduction(
    source="DSS-OG (Cai, Alghunaim, Sayed 2024), abstract",
    claim="Optimistic gradients with both parts on the same sample resolve the need of the "
    "conventional ones for a large batch.",
    smaller="The paper's text was not to be had: this is its abstract's claim. Five peers on a "
    "ring with two digits each, MLPs, plain SGD with the same step size for all. The conventional "
    "algorithm, which keeps the gradient of the last sample, is DPOSG with one mixing: it combines "
    "before its step, DSS-OG after it.",
    rule=f"In the mean over seeds the same-sample CFID with batches of {SMALL} is at most 1.25 of "
    f"that with batches of {LARGE}, and below the conventional one with batches of {SMALL}. One "
    "of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="CFID, the mean over peers (lines are means over seeds, between the least and the "
    "greatest), and at the end (a dot a seed).",
    seeds=3,
)

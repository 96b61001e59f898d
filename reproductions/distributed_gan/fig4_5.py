"""Figures 4 and 5: the second approach on digits that are alike, and on digits that are not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, column, spread
from reproductions.distributed_gan._users import SEEDS, SMALLER, judged, pair, percent
from reproductions.drawing import pictures

ALIKE, UNLIKE = "6 and 8", "4 and 7"


def experiments() -> Mapping[str, dict[str, Any]]:
    """A digit a user."""
    return {ALIKE: pair(6, 8), UNLIKE: pair(4, 7)}


def measure(run: Path) -> Numbers:
    """The shares of both classes, and of both together."""
    return judged(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    alike, unlike = column(found, ALIKE, "sure"), column(found, UNLIKE, "sure")
    both = [min(column(found, system, "covered")) >= 2 for system in (ALIKE, UNLIKE)]
    better = all(one > other for one, other in zip(alike, unlike, strict=True))
    missing = sum(n < 2 for n in column(found, UNLIKE, "covered")) > len(unlike) / 2
    return Verdict.by(
        {
            "better on 6 and 8": better,
            "both digits of 6 and 8 but not of 4 and 7": both[0] and missing,
        },
        f"samples that are one of both digits: {spread(found, ALIKE, 'sure', '.2f')} with 6 and 8, "
        f"{spread(found, UNLIKE, 'sure', '.2f')} with 4 and 7; "
        f"{percent(found, ALIKE, (6, 8))}; {percent(found, UNLIKE, (4, 7))}; CFID to the users' "
        f"images {spread(found, ALIKE, 'distance')} and {spread(found, UNLIKE, 'distance')}",
    )


def draw(found: Found) -> Figure:
    """A hundred samples each, of the first seed."""
    return pictures({system: found[system][0]["samples"] for system in found}, columns=2)


REPRODUCTION = Reproduction(
    source="Distributed-GAN, figures 4 and 5",
    claim="The second approach is obviously better on 6 and 8, whose domains are related, than on "
    "4 and 7, whose are far away: there no 7 is generated.",
    smaller=SMALLER,
    rule="The share of samples that the judge takes for one of both users' digits, with a "
    "confidence of 0.9, is larger for 6 and 8 in every seed; and 6 and 8 are both covered in every "
    "seed (1 % of the samples), but 4 and 7 are not in most. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="The first hundred samples of the server's generator; seed 0, none are chosen.",
    seeds=SEEDS,
    attempts={"three times the rounds": {"algorithm": {"rounds": 6000}}},
)

"""Figure 7: the third approach, 6 at one user and 9 at the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, column
from reproductions.distributed_gan._users import (
    SEEDS,
    SMALLER,
    THIRD,
    TUTORIAL,
    judged,
    pair,
    percent,
)
from reproductions.drawing import pictures

SYSTEM = "approach 3, 6 and 9"


def experiments() -> Mapping[str, dict[str, Any]]:
    """A digit a user."""
    return {SYSTEM: pair(6, 9, THIRD)}


def measure(run: Path) -> Numbers:
    """The share of both classes, and a hundred samples."""
    return judged(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    both = [n >= 2 for n in column(found, SYSTEM, "covered")]
    poorest = min(min(each["shares"].values()) for each in found[SYSTEM])
    return Verdict.by(
        {
            "both digits in most seeds": sum(both) > len(both) / 2,
            "a tenth of each in all": all(both) and poorest >= 0.1,
        },
        f"both digits are covered in {sum(both)} of {len(both)} seeds; in the mean "
        f"{percent(found, SYSTEM, (6, 9))}; the poorer one of the poorest seed has "
        f"{100 * poorest:.0f} %",
    )


def draw(found: Found) -> Figure:
    """A hundred samples of every seed."""
    return pictures({f"seed {i}": each["samples"] for i, each in enumerate(found[SYSTEM])})


REPRODUCTION = Reproduction(
    source="Distributed-GAN, figure 7",
    claim="One user has only 6, the other only 9: the third approach generates 6 and 9.",
    smaller=SMALLER,
    rule="In every seed each of both digits has a tenth of the server's samples at least, by the "
    "judge with a confidence of 0.9. Both have 1 % in most seeds: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="The first hundred samples of the server's generator; none are chosen.",
    seeds=SEEDS,
    attempts={
        "the step size, the mini-batches and the 200 epochs of that tutorial: 0.0002, 100 and "
        "12,000 rounds": TUTORIAL | {"algorithm": {"rounds": 12_000}},
        "the loss ln(1 - D) of its section 3.2, in place of the -ln D of its algorithm 3": {
            "loss": "bce_sat"
        },
    },
)

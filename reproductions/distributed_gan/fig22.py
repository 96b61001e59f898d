"""Figure 22: five users, by the first and the third approach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, column, spread
from reproductions.distributed_gan._users import FIRST, SMALLEST, THIRD, judged, users
from reproductions.drawing import pictures

PARTS, LABELS = "approach 1, five parts", "approach 3, a label each"


def experiments() -> Mapping[str, dict[str, Any]]:
    """Random parts, and a label a user."""
    return {
        PARTS: users(FIRST, 4000, count=5, small=True),
        LABELS: users(THIRD, 1000, [[x] for x in range(5)], small=True),
    }


def measure(run: Path) -> Numbers:
    """The classes covered, and a hundred samples."""
    return judged(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    parts, labels = (min(column(found, system, "covered")) for system in (PARTS, LABELS))
    return Verdict.by(
        {"approach 1": parts >= 9, "approach 3": labels >= 5},
        f"the server's generator covers {spread(found, PARTS, 'covered')} of ten classes by "
        f"approach 1, and {spread(found, LABELS, 'covered')} of five by approach 3",
    )


def draw(found: Found) -> Figure:
    """A hundred samples each, of the first seed."""
    return pictures({system: found[system][0]["samples"] for system in found}, columns=2)


REPRODUCTION = Reproduction(
    source="Distributed-GAN, figure 22",
    claim="Five users train with MNIST, by the first approach with a part of it each, by the third "
    "with a label each: the generator draws their digits.",
    smaller=SMALLEST + "4,000 rounds by the first approach, 1,000 by the third. The paper "
    "shows one picture, and does not say by which of the two.",
    rule="In every seed the server's generator covers nine of ten classes or more by approach 1 "
    "(1 % of its samples at least, each with a confidence of 0.9), and all five users' labels by "
    "approach 3. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="The first hundred samples of the server's generator; seed 0, none are chosen. By the "
    "third approach the users hold the labels 0 to 4.",
)

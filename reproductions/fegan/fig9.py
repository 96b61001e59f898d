"""Figure 9: which of the two mechanisms helps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, column, spread
from reproductions.drawing import curves_and_dots
from reproductions.fegan._learning import SMALLER, SW, configurations, engine, learnt
from reproductions.fegan._measures import median


def experiments() -> Mapping[str, dict[str, Any]]:
    """The four (s, w), with at most five classes a device: two are runs of figures 6 to 8."""
    return configurations(lambda: engine(5))


def measure(run: Path) -> Numbers:
    """The curve and its end."""
    return learnt(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    vanilla, sampling, weighting, both = (median(column(found, name, "late")) for name in SW)
    return Verdict.by(
        {
            "sampling better than weighting": sampling < weighting,
            "both together best": both < min(vanilla, sampling, weighting),
            "each alone better than none": max(sampling, weighting) < vanilla,
        },
        "CFID in the last quarter: "
        + ", ".join(f"{name} {spread(found, name, 'late')}" for name in SW),
    )


def draw(found: Found) -> Figure:
    """CFID against rounds, and at the end."""
    return curves_and_dots(found, "late", "CFID in the last quarter")


REPRODUCTION = Reproduction(
    source="FeGAN, figure 9",
    claim="With non-iid data each of the two mechanisms is better than none, sampling alone "
    "slightly better than weighting alone, and both together are best.",
    smaller=SMALLER,
    rule="By the medians over seeds of CFID in the last quarter of the rounds: both are the best "
    "of the four, each alone is better than none, and sampling is better than weighting. Some of "
    "it: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="CFID to all digits as rounds go by (lines are means over seeds, between the least "
    "and the greatest), and in the last quarter of them (a dot a seed). s: balanced sampling, w: "
    "KL weights.",
    engine="stacked",
)

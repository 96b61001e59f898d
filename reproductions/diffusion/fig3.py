"""Figure 3: homogeneous data; alone, centralised, and by diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean, spread
from reproductions.diffusion._mnist import SMALLER, alike, centralised
from reproductions.drawing import curves_and_dots
from reproductions.measures import final_scores_of, quality_curve

ROUNDS = 2000


def experiments() -> Mapping[str, dict[str, Any]]:
    """The three of the figure."""
    return {
        "non-cooperative": alike(ROUNDS, "local"),
        "centralised": centralised(ROUNDS),
        "diffusion": alike(ROUNDS, "diffusion"),
    }


def measure(run: Path) -> Numbers:
    """The last CFIDs, and the curve."""
    return final_scores_of(run) | {"curve": quality_curve(run)}


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    alone, central, diffusion = (
        mean(found, system, "distance")
        for system in ("non-cooperative", "centralised", "diffusion")
    )
    return Verdict.by(
        {
            "close to centralised": diffusion <= 1.25 * central,
            "a fifth below non-cooperative": diffusion < 0.8 * alone,
        },
        "CFID " + ", ".join(f"{system} {spread(found, system, 'distance')}" for system in found),
    )


def draw(found: Found) -> Figure:
    """CFID against rounds, and at the end."""
    return curves_and_dots(found, "distance", "CFID at the end")


REPRODUCTION = Reproduction(
    source="Diffusion GAN, figure 3",
    claim="With homogeneous data, diffusion outperforms non-cooperative GANs, and is very close to "
    "centralised training.",
    smaller=SMALLER + "Each has a thousand images instead of 12,000, so that the lack of data is "
    "felt within 2,000 rounds. The centralised GAN takes as many steps as an agent, on batches of "
    "the same size.",
    rule="Means over seeds of the last CFID: diffusion is below 0.8 of non-cooperative, and at "
    "most 1.25 of centralised. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="CFID to all 5,000 images, the mean over agents: as training goes on (lines are means "
    "over seeds, between the least and the greatest), and at the end (a dot a seed).",
    disputed="The paper says that diffusion outperforms non-cooperative GANs, and not by how much, "
    "so that a fifth is stronger than its words: CFID is lower by diffusion in all three seeds.",
    seeds=3,
)

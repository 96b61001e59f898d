"""Figures 4 and 5: what agents draw from homogeneous data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean, spread
from reproductions.diffusion import fig3
from reproductions.diffusion._mnist import SMALLER
from reproductions.drawing import pictures
from reproductions.measures import final_scores_of, samples_png


def experiments() -> Mapping[str, dict[str, Any]]:
    """Those of figure 3."""
    return fig3.experiments()


def measure(run: Path) -> Numbers:
    """The classes that the poorest agent covers, and a hundred samples of agent 0."""
    return final_scores_of(run) | {"samples": samples_png(run, 0)}


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    covered = {system: mean(found, system, "covered") >= 9 for system in found}
    return Verdict.by(
        covered,
        "classes covered by the poorest agent: "
        + ", ".join(f"{system} {spread(found, system, 'covered')}" for system in found),
    )


def draw(found: Found) -> Figure:
    """A hundred samples each, of the first seed."""
    return pictures({system: found[system][0]["samples"] for system in found})


REPRODUCTION = Reproduction(
    source="Diffusion GAN, figures 4 and 5",
    claim="With homogeneous data, the hundred images that an agent draws after each of the three "
    "ways of training have all classes among them (the paper shows them without comment).",
    smaller=SMALLER + "The runs are figure 3's, with a thousand images at an agent instead of "
    "12,000.",
    rule="In the mean over seeds the poorest agent covers nine of ten classes or more (1 % of its "
    "samples at least, each with a confidence of 0.9): for all three ways. For some: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="The first hundred samples of agent 0, seed 0; none are chosen.",
    disputed="An agent alone learns from a twelfth of the paper's images, and so may well miss "
    "classes that the paper's do not.",
    seeds=3,
)

"""Figures 8 to 10: the generator's loss on MNIST, by each of the three approaches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict
from reproductions.distributed_gan._losses import FALLS, draw_losses, losses, losses_fall
from reproductions.distributed_gan._users import FIRST, SEEDS, SMALLER, THIRD, pair, whole


def experiments() -> Mapping[str, dict[str, Any]]:
    """Runs of figures 2, 4 and 6."""
    return {"approach 1": whole(FIRST), "approach 2": pair(6, 8), "approach 3": whole(THIRD)}


def measure(run: Path) -> Numbers:
    """The loss, and by how much it falls."""
    return losses(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    return losses_fall(found)


def draw(found: Found) -> Figure:
    """A plot an approach."""
    return draw_losses(found)


REPRODUCTION = Reproduction(
    source="Distributed-GAN, figures 8 to 10",
    claim="On MNIST, the generator's loss has a downtrend by all three approaches, although there "
    "is some instability.",
    smaller=SMALLER + "The runs are those of figure 2, figure 4 and figure 6.",
    rule=FALLS,
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="The generator's loss at the server, as means over a sixtieth of the run; lines are "
    "means over seeds, between the least and the greatest.",
    disputed="The first quarter has the start in it, when the discriminators know nothing and the "
    "loss is low. From the second quarter to the last, it falls by the second approach, too, in "
    "all three seeds; by the third it does not.",
    seeds=SEEDS,
)

"""Figures 11 to 13: the generator's loss of convolutional nets on pictures in colour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict
from reproductions.distributed_gan._losses import FALLS, draw_losses, losses, losses_fall
from reproductions.distributed_gan._users import FIRST, SECOND, SEEDS, THIRD, users
from reproductions.images import cifar


def experiments() -> Mapping[str, dict[str, Any]]:
    """Two users with random halves."""
    small = {
        "gan": {"name": "dcgan28", "width": 8},
        "data": cifar("halves", size=28, limit=10_000),
        "batch": 32,
    }
    return {
        "approach 1": users(FIRST, 800) | small,
        "approach 2": users(SECOND, 800) | small,
        "approach 3": users(THIRD, 400) | small,
    }


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
    source="Distributed-GAN, figures 11 to 13",
    claim="On CelebA, with convolutional nets, the generator's loss is shown for all three "
    "approaches; that it has a downtrend the paper says just before, of MNIST.",
    smaller="Ten thousand pictures of CIFAR-10 at 28 pixels in place of CelebA's faces, as what "
    "counts here is convolutional nets with batch normalisation on pictures in colour. A DCGAN of "
    "an eighth of the usual width, two users with random halves, Adam with step size 0.001, and "
    "800 steps of G. CIFAR-10 is more diverse than faces, and so harder for G.",
    rule=FALLS,
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="The generator's loss at the server, as means over a sixtieth of the run; lines are "
    "means over seeds, between the least and the greatest.",
    disputed="The first quarter has the start in it, when the discriminators know nothing and the "
    "loss is low: by the third approach it rises, and is lower in the last quarter than in the "
    "second in all three seeds.",
    seeds=SEEDS,
)

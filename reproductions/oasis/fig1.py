"""Figure 1: the loss discrepancy of iid data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean, spread
from reproductions.drawing import axes, dots
from reproductions.images import digits
from reproductions.oasis._measures import losses
from reproductions.oasis._plots import draw_deltas
from reproductions.oasis._systems import DIRICHLET, SMALLER, federated, regularised, stand_alone

ALONE, PLAIN, REGULARISED = "stand-alone GAN", "FedAvg GAN", "regularised FedAvg GAN"


def experiments() -> Mapping[str, dict[str, Any]]:
    """The three of the figure."""
    return {
        ALONE: stand_alone(),
        PLAIN: federated({"name": "fedavg"}, digits("iid")),
        REGULARISED: regularised(digits("iid")),
    }


def measure(run: Path) -> Numbers:
    """Delta against rounds, and over the last fifth of them."""
    return losses(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    alone, plain, regular = (mean(found, s, "delta_end") for s in (ALONE, PLAIN, REGULARISED))
    return Verdict.by(
        {
            "the shift": plain < alone - 0.1,
            "the regulariser": abs(regular - alone) < 0.5 * abs(plain - alone),
        },
        "Delta over the last 100 rounds: "
        + ", ".join(f"{system} {spread(found, system, 'delta_end', '.2f')}" for system in found),
    )


def draw(found: Found) -> Figure:
    """Delta against rounds, and at the end."""
    figure, (left, right) = axes(2)
    draw_deltas(left, found, list(found))
    names = {ALONE: "stand-alone", PLAIN: "FedAvg", REGULARISED: "regularised"}
    dots(right, found, "delta_end", ylabel="Delta, last 100 rounds (nats)", names=names)
    return figure


REPRODUCTION = Reproduction(
    source="Oasis, figure 1",
    claim="With iid data the equilibrium of a federated GAN is shifted, by its loss discrepancy, "
    "from that of a stand-alone GAN; the regulariser addresses the shift.",
    smaller=SMALLER.replace(DIRICHLET, "Data are iid. ")
    + "The stand-alone GAN holds all images, and takes five steps where the others take a round.",
    rule="By means over seeds of the discrepancy over the last fifth of rounds: FedAvg is at least "
    "0.1 nats below the stand-alone GAN; regularised FedAvg is less than half as far from the "
    "stand-alone GAN as FedAvg. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="Delta = L_D - L_G, the mean over clients that trained, in stretches of ten rounds; "
    "lines are means over seeds, between the least and the greatest. At the game's equilibrium it "
    "is ln 2 = 0.69.",
)

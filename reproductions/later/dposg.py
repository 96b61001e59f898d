"""DPOSG: as good as the centralised algorithm, and sooner where the network is slow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean, spread
from reproductions.drawing import axes, curves
from reproductions.later._games import peers
from reproductions.measures import final_scores_of, quality_curve

PEERS = 10
SLOW = {"uplink": 10.0, "delay": 0.005, "step": 0.01}
"""10 Mbit/s from every worker, 5 ms a message, 10 ms a gradient."""


def experiments() -> Mapping[str, dict[str, Any]]:
    """On a ring, and with everybody's exact mean in every iteration."""
    ring = peers({"name": "dposg", "mixings": 1}, PEERS, network=SLOW)
    everybody = {"graph": "complete", "weights": "uniform"}
    return {"decentralised": ring, "centralised": ring | everybody}


def measure(run: Path) -> Numbers:
    """The last CFIDs, and the curve in virtual minutes."""
    curve = quality_curve(run)
    seconds = [x or 0.0 for x in curve["seconds"]]
    minutes = [x / 60 for x in seconds]
    return final_scores_of(run) | {
        "minutes": max(minutes, default=None),
        "curve": curve | {"minutes": minutes},
    }


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    ours, theirs = (mean(found, s, "distance") for s in ("decentralised", "centralised"))
    soon, late = (mean(found, s, "minutes") for s in ("decentralised", "centralised"))
    return Verdict.by(
        {
            "sooner": soon <= 0.75 * late,
            "as good": ours <= 1.25 * theirs,
        },
        "CFID and virtual minutes of 3,000 iterations: "
        + ", ".join(
            f"{s} {spread(found, s, 'distance')} and {spread(found, s, 'minutes')}" for s in found
        ),
    )


def draw(found: Found) -> Figure:
    """CFID against iterations, and against time."""
    figure, (left, right) = axes(2)
    curves(left, found, "rounds", "distance", xlabel="iterations", ylabel="CFID", log=True)
    curves(right, found, "minutes", "distance", xlabel="virtual minutes", ylabel="CFID", log=True)
    return figure


REPRODUCTION = Reproduction(
    source="DPOSG (Liu et al. 2020), abstract",
    claim="A decentralised algorithm, which steps both nets at once and may mix several times an "
    "iteration, trains GANs effectively. In a centralised topology, performance is significantly "
    "degraded where bandwidth is low or latency high.",
    smaller="The paper's text was not to be had: this is its abstract's claim. Ten workers with "
    "two digits each, MLPs, plain SGD. The decentralised workers are on a ring and mix once an "
    "iteration; the centralised ones take everybody's exact mean, each from each, over the same "
    "links of 10 Mbit/s and 5 ms, on a virtual clock.",
    rule="In the mean over seeds the decentralised CFID at the end is at most 1.25 of the "
    "centralised, and its iterations take at most 0.75 of the time. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="CFID, the mean over workers (lines are means over seeds, between the least and the "
    "greatest).",
    disputed="That it trains as well as the centralised one the abstract does not say. In two of "
    "three seeds its CFID is 1.3 times the centralised one's; in the third it has collapsed.",
    seeds=3,
)

"""Figure 10: how far what the server sees is from the real data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean, spread
from reproductions.drawing import axes, curves
from reproductions.fegan._measures import seen_of
from reproductions.fegan._system import CLOCK, RANDOM, UNTRAINED, untrained
from reproductions.fegan.table1 import SETTINGS, selections
from reproductions.images import mnist

NON_IID = (5, 3000)
RANDOM_NAME, BALANCED_NAME, IID_NAME = "random 5 - 3000", "balanced 5 - 3000", "random, iid"
NAMES = {
    RANDOM_NAME: "random, non-iid",
    BALANCED_NAME: "balanced, non-iid",
    IID_NAME: "iid",
}
AFTER = 100


def experiments() -> Mapping[str, dict[str, Any]]:
    """Those of table 1 with the fewest classes a device, and identical devices."""
    rounds = SETTINGS[NON_IID]
    alike = untrained(80, rounds, mnist("iid"), images="mnist", **RANDOM)
    return {**selections(NON_IID, rounds), IID_NAME: alike}


def measure(run: Path) -> Numbers:
    """The divergence after each round, and after a hundred."""
    seen = seen_of(run)
    divergence = seen["divergence"]
    return {
        "rounds": seen["rounds"],
        "divergence": divergence,
        "after": divergence[min(AFTER, len(divergence)) - 1],
    }


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    random, balanced = mean(found, RANDOM_NAME, "after"), mean(found, BALANCED_NAME, "after")
    return Verdict.by(
        {
            "balanced sampling within 0.01 nats": balanced <= 0.01,
            "random sampling three times as far away": random >= 3 * balanced,
        },
        f"KL divergence after {AFTER} rounds, nats: "
        + ", ".join(f"{NAMES[name]} {spread(found, name, 'after', '.2g')}" for name in NAMES),
    )


def draw(found: Found) -> Figure:
    """The divergence against rounds."""
    figure, (ax,) = axes(1, width=5.6, height=3.6)
    curves(
        ax,
        found,
        "rounds",
        "divergence",
        xlabel="rounds",
        ylabel="KL divergence (nats)",
        log=True,
        only=list(NAMES),
        names=NAMES,
    )
    return figure


REPRODUCTION = Reproduction(
    source="FeGAN, figure 10",
    claim="With random sampling the server sees a distribution that diverges from the real one; "
    "with balanced sampling it sees almost the exact one, as with iid data.",
    smaller="Eighty devices, two a round, as there; MNIST in place of Fashion-MNIST, which has as "
    "many images and classes, by the paper's engine with at most 5 classes and 3000 samples of "
    "each (the paper does not say which of its settings it shows). The divergence is that of all "
    "samples that chosen devices hold, since the first round. " + UNTRAINED + CLOCK,
    rule=f"After {AFTER} rounds, in the mean over seeds, balanced sampling is within 0.01 nats of "
    "the real distribution (the iid case starts near zero and stays there), and random sampling "
    "at least three times as far away as balanced. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    disputed="It holds by a hair: two of three seeds are above the threshold of 0.01 nats, and iid "
    "data are 400 times nearer than balanced sampling.",
    caption="KL divergence of the classes that the server has seen from those of MNIST, as rounds "
    "go by, on a logarithmic scale (lines are means over seeds, between the least and the "
    "greatest).",
    seeds=3,
)

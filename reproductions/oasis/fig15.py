"""Figure 15: losses of four systems with three nets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean, spread
from reproductions.drawing import axes
from reproductions.oasis import table3_4
from reproductions.oasis._measures import losses
from reproductions.oasis._plots import draw_losses
from reproductions.oasis._systems import PUBLISHED, SMALLER
from reproductions.oasis.table3_4 import SETS, TWO_SETS


def experiments() -> Mapping[str, dict[str, Any]]:
    """Those of tables 3 and 4."""
    return table3_4.experiments()


def measure(run: Path) -> Numbers:
    """Losses against rounds, and over the last fifth of them."""
    return losses(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    deltas = {system: mean(found, system, "delta_end") for system in found}
    highest = {
        name: all(
            deltas[f"{name}, Oasis"] > deltas[f"{name}, {system}"]
            for system in PUBLISHED
            if system != "Oasis"
        )
        for name in SETS
    }
    return Verdict.by(
        highest,
        "Delta over the last 100 rounds: "
        + "; ".join(
            f"{name} "
            + ", ".join(
                f"{s} {spread(found, f'{name}, {s}', 'delta_end', '.2f')}" for s in PUBLISHED
            )
            for name in SETS
        ),
    )


def draw(found: Found) -> Figure:
    """A row a set, a column a system; a row has one scale."""
    figure, made = axes(12, width=3.2, height=2.6, columns=4)
    for row, name in enumerate(SETS):
        plots = made[4 * row : 4 * row + 4]
        for ax, system in zip(plots, PUBLISHED, strict=True):
            draw_losses(ax, found, f"{name}, {system}", legend=False)
        top = max(ax.get_ylim()[1] for ax in plots)
        for ax in plots:
            ax.set_ylim(0, top)
    figure.legend(*made[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


REPRODUCTION = Reproduction(
    source="Oasis, figure 15",
    claim="With three sets and nets, FedAvg and FedProx fail to resolve the shift of the "
    "equilibrium; Oasis converges, and approaches it more closely than Ditto, by 42.27 % on "
    "average.",
    smaller=SMALLER
    + TWO_SETS
    + "No CelebA, and no U-NetGAN. The runs are those of tables 3 and 4.",
    rule="By means over seeds of Delta over the last fifth of rounds, Oasis is above the other "
    "three on all three sets. On some: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="Lines are means over clients that trained, bands a standard deviation over clients on "
    "either side; means over seeds, in stretches of ten rounds. At the game's equilibrium the "
    "discriminator's loss, a sum over real and generated images, is 2 ln 2 = 1.39, and the "
    "generator's ln 2 = 0.69.",
    seeds=2,
)

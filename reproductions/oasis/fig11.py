"""Figure 11: how far four systems are from the equilibrium, by their loss discrepancy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean, spread
from reproductions.drawing import axes, dots
from reproductions.oasis._measures import losses
from reproductions.oasis._plots import draw_deltas
from reproductions.oasis._systems import PUBLISHED, SMALLER, four


def experiments() -> Mapping[str, dict[str, Any]]:
    """The four systems."""
    return four()


def measure(run: Path) -> Numbers:
    """Delta against rounds, and over the last fifth of them."""
    return losses(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    last = {system: mean(found, system, "delta_end") for system in PUBLISHED}
    lowest = {system: mean(found, system, "lowest_delta") for system in PUBLISHED}
    oasis, ditto = last["Oasis"], last["Ditto"]
    below = max(last["FedAvg"], last["FedProx"])
    return Verdict.by(
        {
            "Ditto above FedAvg and FedProx": ditto > below,
            "a rise after the fall": lowest["Oasis"] < oasis and lowest["Ditto"] < ditto,
            "Oasis closest": oasis > max(ditto, below),
        },
        "Delta over the last 100 rounds (at its lowest) "
        + ", ".join(
            f"{system} {spread(found, system, 'delta_end', '.2f')} ({lowest[system]:.2f})"
            for system in PUBLISHED
        ),
    )


def draw(found: Found) -> Figure:
    """Delta against rounds, and at the end."""
    figure, (left, right) = axes(2)
    draw_deltas(left, found, PUBLISHED)
    dots(right, found, "delta_end", ylabel="Delta, last 100 rounds (nats)")
    return figure


REPRODUCTION = Reproduction(
    source="Oasis, figure 11",
    claim="By the loss discrepancy Oasis ends closest to the equilibrium, Ditto follows; FedAvg "
    "and FedProx fail to converge. That of Oasis and Ditto first falls, and then rises.",
    smaller=SMALLER,
    rule="By means over seeds of the discrepancy over the last fifth of rounds: Oasis is above the "
    "other three; Ditto is above FedAvg and FedProx; both end above their lowest stretch of ten "
    "rounds. Some of the three: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    disputed="That Delta ends above its own minimum can hardly fail, so the rule could hardly say "
    "that the claim does not hold.",
    caption="Delta = L_D - L_G, the mean over clients that trained, in stretches of ten rounds; "
    "lines are means over seeds, between the least and the greatest. Higher is better; at the "
    "game's equilibrium it is ln 2 = 0.69.",
)

"""Equation 17: how far discriminators are from their mean, the generators held fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from peer.experiment import Experiment
from reproductions.claims import Found, Numbers, Reproduction, Verdict, column, spread
from reproductions.drawing import MARKERS, axes, finish
from reproductions.images import digits
from sim.reporting.plots.style import INK, PALETTE
from sim.studies.disagreement_sweep import sweep_disagreement, write_sweep

ROUNDS = 100
STRETCH = 1.5
MUS = tuple(float(mu) for mu in np.geomspace(0.0005, 0.005, 4))
GRAPHS = ("ring", "path", "star")


def experiments() -> Mapping[str, dict[str, Any]]:
    """What trains the generators, on each graph."""
    return {
        graph: {
            "peers": 5,
            "graph": graph,
            "algorithm": {"name": "diffusion", "rounds": ROUNDS, "n_d": 1, "n_g": 1},
            "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
            "gan": "mlp-digits",
            "data": digits("pairs"),
            "batch": 64,
        }
        for graph in GRAPHS
    }


def carry_out(experiment: Experiment, folder: Path) -> None:
    """The sweep over step sizes; over a shorter stretch where generators train for less, too."""
    stretch = STRETCH * int(experiment.algorithm.settings["rounds"]) / ROUNDS
    graphs = (str(experiment.graph),)
    write_sweep(sweep_disagreement(experiment, MUS, graphs, stretch), folder)


def measure(run: Path) -> Numbers:
    """The slope on log-log axes, and the points that it is of."""
    record = json.loads((run / "theory.json").read_text())
    points = record["points"]
    return {
        "slope": next(iter(record["slopes"].values())),
        "lambda_2": points[0]["lambda_2"],
        "mu": [point["mu"] for point in points],
        "disagreement": [point["disagreement"] for point in points],
        "bound": [point["bound"] for point in points],
        "room": min(point["bound"] / point["disagreement"] for point in points),
    }


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    slopes = [slope for graph in found for slope in column(found, graph, "slope")]
    rooms = [room for graph in found for room in column(found, graph, "room")]
    return Verdict.by(
        {
            "a slope of 1.8 to 2.2": all(1.8 <= slope <= 2.2 for slope in slopes),
            "the bound": all(room >= 1 for room in rooms),
        },
        "slope of log disagreement against log step size: "
        + ", ".join(f"{graph} {spread(found, graph, 'slope')}" for graph in found)
        + "; the bound is above it by a factor of at least "
        + ", ".join(f"{min(column(found, graph, 'room')):.0f} on {graph}" for graph in found),
    )


def draw(found: Found) -> Figure:
    """Disagreement and bound against the step size; a dot a seed."""
    figure, (ax,) = axes(1, width=6.4, height=4.0)
    lines = []
    for graph, colour, marker in zip(found, PALETTE, MARKERS, strict=False):
        mu = found[graph][0]["mu"]
        measured = np.array([each["disagreement"] for each in found[graph]])  # (seeds, steps)
        bounds = np.array([each["bound"] for each in found[graph]])
        for row in measured:
            ax.plot(mu, row, marker, color=colour, markersize=3.5)
        label = f"{graph}, $λ_2$ = {found[graph][0]['lambda_2']:.3f}"
        ax.plot(mu, measured.mean(axis=0), color=colour)
        ax.plot(mu, bounds.mean(axis=0), "--", color=colour, lw=1.2)
        lines.append(Line2D([], [], color=colour, marker=marker, markersize=4, label=label))
    ax.set_xscale("log")
    ax.set_yscale("log")
    finish(ax, "step size μ of the discriminators' SGD", "(1/K) Σ ‖$w_k - w_c$‖²")
    ax.set_xticks(mu, [f"{x:.2g}" for x in mu])
    ax.xaxis.set_minor_formatter(NullFormatter())
    lines.append(Line2D([], [], color=INK, linestyle="--", lw=1.2, label="equation 17"))
    figure.legend(handles=lines, loc="outside upper left", ncols=4, columnspacing=1, fontsize=9)
    return figure


REPRODUCTION = Reproduction(
    source="Diffusion GAN, equation 17 (theorem 1)",
    claim="With the generators fixed, the discriminators' disagreement, once the transient is "
    "over, is below a bound that grows as the square of the step size, up to a term of the order "
    "of its cube.",
    smaller="Five peers with two digits each, an MLP, and four step sizes from 0.0005 to 0.005; "
    "the generators are trained for 100 rounds first, and held at their mean. (The paper trains "
    "with a step size of 0.05; the theorem is of small ones.)",
    rule="On ring, path and star, in every seed: the slope of log disagreement against log "
    "step size is 1.8 to 2.2; and every disagreement, averaged over rounds after the transient, "
    "is below the bound. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    disputed="A slope between 1.8 and 2.2 is stronger than the theorem, which is an upper bound.",
    caption="Disagreement of the discriminators after the transient: a dot a seed, lines are "
    "means. Dashed: the right-hand side of equation 17, with the largest full gradient seen, and "
    "the mean squared noise of mini-batch gradients.",
    seeds=3,
    carry_out=carry_out,
)

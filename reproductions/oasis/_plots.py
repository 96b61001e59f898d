"""The paper's two kinds of figures: losses with their deviation over clients, and Delta."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from reproductions.claims import Found
from reproductions.drawing import DASHES, finish
from sim.reporting.plots.style import PALETTE

COLOURS = {"discriminator": PALETTE[5], "generator": PALETTE[0], "delta": PALETTE[2]}


def draw_losses(
    ax: Axes, found: Found, system: str, title: str = "", *, legend: bool = True
) -> None:
    """D's and G's loss against rounds: means over clients, and a deviation on either side."""
    for kind, dashes in (("discriminator", "-"), ("generator", "--")):
        _band(ax, found[system], kind, COLOURS[kind], dashes, kind)
    finish(ax, "rounds", "loss (nats)", title or system)
    if legend:
        _legend(ax)


def draw_deltas(ax: Axes, found: Found, systems: Sequence[str], title: str = "") -> None:
    """Delta against rounds, a line a system: means over clients and seeds, seeds between edges."""
    for i, system in enumerate(systems):
        colour, dashes = PALETTE[i % len(PALETTE)], DASHES[i % len(DASHES)]
        at, rows = _rows(found[system], "delta", "mean")
        if not len(rows):
            continue
        ax.plot(at, rows.mean(axis=0), color=colour, linestyle=dashes, label=system)
        ax.fill_between(at, rows.min(axis=0), rows.max(axis=0), color=colour, alpha=0.15, lw=0)
    ax.axhline(0, color="#8A8A8A", lw=0.8)
    finish(ax, "rounds", "Delta = L_D - L_G (nats)", title)
    _legend(ax)


def _legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")


def _band(
    ax: Axes,
    runs: Sequence[Mapping[str, Any]],
    kind: str,
    colour: str,
    dashes: str,
    label: str,
) -> None:
    at, means = _rows(runs, kind, "mean")
    _, stds = _rows(runs, kind, "std")
    if not len(means):
        return
    mean, std = means.mean(axis=0), stds.mean(axis=0)
    ax.plot(at, mean, color=colour, linestyle=dashes, label=label)
    ax.fill_between(at, mean - std, mean + std, color=colour, alpha=0.2, lw=0)


def _rows(runs: Sequence[Mapping[str, Any]], kind: str, of: str) -> tuple[np.ndarray, np.ndarray]:
    """The rounds (R,) of the first run, and all runs' values at them (runs, R)."""
    known = [run for run in runs if run["rounds"]]
    if not known:
        return np.empty(0), np.empty((0, 0))
    at = _floats(known[0]["rounds"])
    return at, np.array(
        [np.interp(at, _floats(run["rounds"]), _floats(run[kind][of])) for run in known]
    )


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if v is None else v for v in values], dtype=float)

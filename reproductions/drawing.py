"""The kinds of figures that reproductions have; colours that colour-blind readers tell apart."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from PIL import Image

from reproductions.claims import Found, column
from sim.reporting.plots.style import FAINT, INK, PALETTE, STYLE

MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)), (0, (8, 2)))


def axes(
    count: int = 1, *, width: float = 4.6, height: float = 3.2, columns: int = 3
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` plots side by side, in rows of at most ``columns``."""
    across = min(count, columns)
    rows = math.ceil(count / across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width * across, height * rows), layout="constrained")
        FigureCanvasAgg(figure)
        made = [figure.add_subplot(rows, across, i + 1) for i in range(count)]
    return figure, made


def curves(
    ax: Axes,
    found: Found,
    x: str,
    y: str,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log: bool = False,
    only: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """A line a system: the mean over seeds, and all seeds between its edges.

    ``x`` and ``y`` name lists in the numbers of a run, or in its ``curve``. Seeds are brought to
    the first one's x.
    """
    systems = list(found) if only is None else list(only)
    for i, system in enumerate(systems):
        runs = [each.get("curve", each) for each in found[system]]
        runs = [each for each in runs if each.get(x) and each.get(y)]
        if not runs:
            continue
        at = _floats(runs[0][x])
        rows = np.array([np.interp(at, _floats(each[x]), _floats(each[y])) for each in runs])
        colour = PALETTE[i % len(PALETTE)]
        name = (names or {}).get(system, system)
        ax.plot(at, rows.mean(axis=0), color=colour, linestyle=DASHES[i % len(DASHES)], label=name)
        if len(rows) > 1:
            ax.fill_between(at, rows.min(axis=0), rows.max(axis=0), color=colour, alpha=0.15, lw=0)
    if log:
        _logarithmic(ax)
    finish(ax, xlabel, ylabel, title)
    ax.legend(loc="best")


def dots(
    ax: Axes,
    found: Found,
    key: str,
    *,
    ylabel: str,
    title: str = "",
    only: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    log: bool = False,
) -> None:
    """A column a system: a dot a seed, and a bar at their mean."""
    systems = list(found) if only is None else list(only)
    shown = [(names or {}).get(system, system) for system in systems]
    for i, system in enumerate(systems):
        values = [v for v in column(found, system, key) if math.isfinite(v)]
        if not values:
            continue
        shifts = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else [0.0]
        colour = PALETTE[i % len(PALETTE)]
        ax.scatter(
            [i + s for s in shifts], values, color=colour, marker=MARKERS[i % len(MARKERS)], s=22
        )
        ax.hlines(float(np.mean(values)), i - 0.25, i + 0.25, color=colour, lw=2)
    ax.set_xticks(range(len(systems)), shown)
    if sum(map(len, shown)) > 45:
        ax.tick_params(axis="x", rotation=25)
        for label in ax.get_xticklabels():
            label.set_horizontalalignment("right")
    if log:
        _logarithmic(ax)
    finish(ax, "", ylabel, title)


def curves_and_dots(
    found: Found,
    key: str,
    ylabel: str,
    *,
    xlabel: str = "rounds",
    names: Mapping[str, str] | None = None,
) -> Figure:
    """CFID against rounds, and a number ``key`` of the end beside it."""
    figure, (left, right) = axes(2)
    curves(left, found, "rounds", "distance", xlabel=xlabel, ylabel="CFID", log=True)
    dots(right, found, key, ylabel=ylabel, log=True, names=names)
    return figure


def pictures(panels: Mapping[str, str], *, columns: int = 3, size: float = 3.2) -> Figure:
    """Pictures (PNG in base64) side by side, each under its title."""
    figure, made = axes(len(panels), width=size, height=size + 0.25, columns=columns)
    for ax, (title, text) in zip(made, panels.items(), strict=True):
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            grey = picture.mode == "L"
            ax.imshow(np.asarray(picture), cmap="gray" if grey else None, interpolation="nearest")
        ax.set_title(title, fontsize=10, loc="left", color=INK)
        ax.axis("off")
    return figure


def finish(ax: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    """Labels, and a faint grid."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(title, loc="left", fontsize=10.5)
    ax.grid(visible=True, axis="y", color="#E4E4E4", linewidth=0.8)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(FAINT)


def _logarithmic(ax: Axes) -> None:
    """Numbers as they are, not as powers of ten, and more of them where there are few."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.4)))


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if v is None else v for v in values], dtype=float)

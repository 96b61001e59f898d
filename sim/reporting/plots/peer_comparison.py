"""Peers compared with each other, and runs with each other: coverage, CFID, disagreement."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from sim.records.reader import Curve
from sim.reporting.plots.curves import label_rounds, plot_curve, scale_log
from sim.reporting.plots.style import FAINT, INK, PALETTE, styled
from sim.reporting.tables import format_distance

THIS_RUN = PALETTE[0]
BESIDE = ("#9A9A9A", PALETTE[1], PALETTE[3], PALETTE[2])
MANY_BARS = 24

Form = Callable[[float], str]
Groups = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class RunSeries:
    """What is compared of one run: its curves by net, and its peers' coverage and CFID."""

    curves: Mapping[str, Curve]
    coverage: Mapping[int, int]
    cfid: Mapping[int, float]


def draw_coverage(
    groups: Mapping[str, Mapping[int, int]],
    classes: int,
    own: Mapping[int, Sequence[int]] | None = None,
) -> Figure:
    """Classes that each peer's generator covers, one colour for each of ``groups``.

    The first group is the run itself, the others are what it is compared with. ``own`` are the
    classes of each peer's data, drawn as a tick across its bars.
    """
    with styled(7.6, 3.8) as figure:
        axes = figure.add_subplot()
        peers = sorted(next(iter(groups.values())))
        if len(peers) <= MANY_BARS:
            _plot_bars(axes, groups, peers, "{:.0f}".format)
            if own:
                marks = [i for i, k in enumerate(peers) if k in own]
                axes.hlines(
                    [len(own[peers[i]]) for i in marks],
                    [i - 0.45 for i in marks],
                    [i + 0.45 for i in marks],
                    color=INK,
                    linewidth=1.6,
                    label="classes in its own data",
                )
            axes.set_ylabel("classes covered")
            axes.set_ylim(0, classes * 1.08)
            axes.axhline(classes, color=FAINT, linewidth=1.0, linestyle=":")
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        else:
            _plot_counts(axes, groups, classes)
        axes.set_title(f"Classes that each peer draws, of {classes}")
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def draw_cfid(groups: Mapping[str, Mapping[int, float]]) -> Figure:
    """CFID of each peer's samples, lower is better; a log scale where values are far apart."""
    with styled(7.6, 3.8) as figure:
        axes = figure.add_subplot()
        peers = sorted(next(iter(groups.values())))
        values = [x for group in groups.values() for x in group.values() if math.isfinite(x)]
        log = bool(values) and min(values) > 0 and max(values) > 20 * min(values)
        label = "CFID (squared feature units" + (", log scale)" if log else ")")
        if len(peers) > MANY_BARS:
            _plot_boxes(axes, groups)
            axes.set_xlabel(label)
        else:
            (_plot_dots if log else _plot_bars)(axes, groups, peers, format_distance)
            axes.set_ylabel(label.replace(" (", "\n("))
            figure.legend(loc="outside lower center", ncols=4)
        if log:
            set_log(axes, "x" if len(peers) > MANY_BARS else "y")
        axes.set_title("Distance of each peer's samples from real images  (lower is better)")
    return figure


def draw_comparison(runs: Mapping[str, RunSeries], classes: int | None) -> Figure:
    """Several runs side by side: disagreement of both nets, every peer's coverage and CFID."""
    judged = any(run.coverage for run in runs.values())
    nets = sorted({net for run in runs.values() for net in run.curves}, reverse=True)
    with styled(9.6, (3.4 if nets else 0.6) + (0.9 + 0.42 * len(runs)) * judged + 0.5) as figure:
        heights = [3.4] * bool(nets) + [0.9 + 0.42 * len(runs)] * judged
        rows = iter(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
        if nets:
            for axes, net in zip(
                next(rows).subplots(1, len(nets), squeeze=False)[0], nets, strict=True
            ):
                for i, (name, run) in enumerate(runs.items()):
                    if net in run.curves:
                        plot_curve(axes, run.curves[net], _run_colour(i), name)
                scale_log(axes)
                label_rounds(axes)
                axes.set_ylabel("disagreement\n(squared parameter units)")
                axes.set_title(f"disagreement of the {net}s")
        if judged:
            left, right = next(rows).subplots(1, 2, sharey=True)
            _plot_strips(left, {name: list(run.coverage.values()) for name, run in runs.items()})
            left.set_xlim(-0.5, None if classes is None else classes + 0.5)
            left.set_xlabel("classes covered" + (f", of {classes}" if classes else ""))
            left.set_title("coverage of every peer, and the median")
            _plot_strips(right, {name: list(run.cfid.values()) for name, run in runs.items()})
            found = [x for run in runs.values() for x in run.cfid.values() if math.isfinite(x)]
            if found and min(found) > 0 and max(found) > 20 * min(found):
                set_log(right, "x")
            else:
                right.set_xlim(0, None)
            right.set_xlabel("CFID (squared feature units)")
            right.set_title("CFID of every peer, and the median")
        else:
            figure.legend(loc="outside lower center", ncols=4)
    return figure


def _plot_bars(
    axes: Axes,
    groups: Mapping[str, Mapping[int, float]],
    peers: Sequence[int],
    form: Callable[[float], str],
) -> None:
    width = 0.84 / len(groups)
    for i, (name, values) in enumerate(groups.items()):
        places = np.arange(len(peers)) - 0.42 + width * (i + 0.5)
        heights = [values.get(k, math.nan) for k in peers]
        bars = axes.bar(places, heights, width * 0.94, color=_group_colour(i), label=name)
        if len(peers) * len(groups) <= 24:
            texts = [form(x) if math.isfinite(x) else "?" for x in heights]
            axes.bar_label(bars, labels=texts, padding=1.5, fontsize=8.5, color=INK)
    _label_peers(axes, peers)


def _plot_dots(
    axes: Axes,
    groups: Mapping[str, Mapping[int, float]],
    peers: Sequence[int],
    form: Callable[[float], str],
) -> None:
    """For log scales, where a bar's length would mean nothing."""
    places = np.arange(len(peers))
    for i, (name, values) in enumerate(groups.items()):
        heights = [values.get(k, math.nan) for k in peers]
        axes.plot(places, heights, "oDs^v"[i % 5], color=_group_colour(i), ms=7, label=name)
        if len(peers) <= 12:
            for place, x in zip(places, heights, strict=True):
                if math.isfinite(x):
                    axes.annotate(
                        form(x), (place, x), (7, 0), textcoords="offset points",
                        fontsize=8.5, va="center", color=INK,
                    )  # fmt: skip
    axes.set_xlim(-0.5, len(peers) - 0.4)
    axes.margins(y=0.1)
    _label_peers(axes, peers)


def _plot_counts(axes: Axes, groups: Mapping[str, Mapping[int, int]], classes: int) -> None:
    """Share of the peers that cover so many classes, for too many peers to have a bar each."""
    edges = np.unique(np.linspace(0, classes + 1, min(classes + 2, 32)).round()) - 0.5
    width = 0.84 / len(groups)
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    for i, (name, values) in enumerate(groups.items()):
        counts, _ = np.histogram(list(values.values()), edges)
        places = centres + widths * (width * (i + 0.5) - 0.42)
        heights = 100 * counts / max(1, len(values))
        axes.bar(places, heights, widths * width * 0.94, color=_group_colour(i), label=name)
    axes.set_xlabel("classes covered")
    axes.set_ylabel("share of the peers (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))


def _plot_boxes(axes: Axes, groups: Groups) -> None:
    finite = [[x for x in values.values() if math.isfinite(x)] for values in groups.values()]
    boxes = axes.boxplot(
        finite, orientation="horizontal", widths=0.55, whis=(5, 95), patch_artist=True,
        medianprops={"color": INK}, flierprops={"marker": ".", "alpha": 0.4},
    )  # fmt: skip
    for i, box in enumerate(boxes["boxes"]):
        box.set(facecolor=_group_colour(i), edgecolor=INK, alpha=0.8)
    names = [f"{name}\n({len(of)} peers)" for name, of in zip(groups, finite, strict=True)]
    axes.set_yticks(range(1, len(groups) + 1), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def _plot_strips(axes: Axes, groups: Mapping[str, Sequence[float]]) -> None:
    """Every value as a dot on its group's line; equal ones spread a little, evenly."""
    for i, values in enumerate(groups.values()):
        shown = np.sort([x for x in values if math.isfinite(x)])
        if not len(shown):
            continue
        spread = 0.22 * (2 * ((np.arange(len(shown)) * 0.618034) % 1.0) - 1)
        size = 6.0 if len(shown) <= 20 else 3.0
        axes.plot(shown, i + spread, "o", color=_run_colour(i), alpha=0.6, ms=size, mew=0)
        axes.plot([np.median(shown)] * 2, [i - 0.34, i + 0.34], color=INK, linewidth=2)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def set_log(axes: Axes, which: Literal["x", "y"]) -> None:
    """A log scale whose ticks are 1, 2 and 5 times powers of ten, written out."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _label_peers(axes: Axes, peers: Sequence[int]) -> None:
    word = "peer " if len(peers) <= 8 else ""
    axes.set_xticks(range(len(peers)), [f"{word}{k}" for k in peers])
    axes.tick_params(axis="x", length=0)
    if not word:
        axes.set_xlabel("peer")


def _group_colour(i: int) -> str:
    return THIS_RUN if i == 0 else BESIDE[(i - 1) % len(BESIDE)]


def _run_colour(i: int) -> str:
    return PALETTE[i % len(PALETTE)]

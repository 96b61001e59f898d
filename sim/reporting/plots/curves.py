"""Measures against rounds: disagreement under its bound, and losses.

Up to eight peers get a line each; of more, the median is drawn, with the bands that hold half and
nine tenths of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sim.metrics.theorem1_bound import Bound
from sim.records.reader import Curve, Floats, Ints
from sim.reporting.plots.style import FAINT, MANY_LINES, NET_COLOURS, PALETTE, peer_colour, styled


def draw_disagreement(
    curves: Mapping[str, Curve], bounds: Mapping[str, Bound], lambda_2: float | None
) -> Figure:
    """Disagreement of each net against rounds (log scale), with the bound of Theorem 1.

    An estimate carries a band of two standard errors either side. A surrogate of the bound is
    dashed, and called that. ``lambda_2`` is named where it is given.
    """
    with styled(7.6, 4.2) as figure:
        axes = figure.add_subplot()
        kinds: dict[str, Line2D] = {}
        for net, curve in curves.items():
            colour = NET_COLOURS.get(net, PALETTE[2])
            plot_curve(axes, curve, colour, net)
            bound = bounds.get(net)
            if bound is not None and math.isfinite(bound.value) and bound.value > 0:
                style: Any = (0, (5, 3)) if bound.surrogate else "-"
                axes.axhline(bound.value, color=colour, linewidth=1.2, linestyle=style)
                kinds[bound.name] = Line2D([], [], color=FAINT, linewidth=1.2, linestyle=style)
        scale_log(axes)
        label_rounds(axes)
        axes.set_ylabel("disagreement  (1/K) Σ ‖$w_k - w_c$‖²\n(squared parameter units)")
        estimated = any(curve.errors is not None for curve in curves.values())
        how = "estimated from count sketches (band: ± 2 standard errors)" if estimated else "exact"
        spectrum = "" if lambda_2 is None else f";  $λ_2$ = {lambda_2:.4g}"
        axes.set_title(f"How far the peers are apart\n{how}{spectrum}")
        handles, names = axes.get_legend_handles_labels()
        figure.legend(
            [*handles, *kinds.values()],
            [*names, *(f"{kind}, in the net's colour" for kind in kinds)],
            loc="outside lower center",
            ncols=2 + len(kinds) if len(kinds) < 2 else 2,
        )
    return figure


def draw_losses(rounds: Ints, losses: Mapping[str, Floats], unit: str) -> Figure:
    """Each net's loss against rounds, one panel a net, (R, K) values a panel.

    A line is a running mean over a twenty-fifth of the rounds, drawn over every record in faint.
    ``unit`` is that of the losses; empty if they have none.
    """
    with styled(7.6, 3.6) as figure:
        panels = figure.subplots(1, len(losses), squeeze=False)[0]
        for axes, (net, values) in zip(panels, losses.items(), strict=True):
            window = max(1, len(rounds) // 25)
            smooth = _running_mean(values, window)
            peers = values.shape[1]
            if peers <= MANY_LINES:
                for k in range(peers):
                    colour = peer_colour(k, peers)
                    axes.plot(rounds, values[:, k], color=colour, alpha=0.18, linewidth=0.6)
                    axes.plot(rounds, smooth[:, k], color=colour, label=f"peer {k}")
            else:
                _plot_bands(axes, rounds, smooth, PALETTE[0])
            _limit_to_bulk(axes, values if peers <= MANY_LINES else smooth)
            label_rounds(axes)
            axes.set_ylabel(f"loss ({unit})" if unit else "loss")
            axes.set_title(net)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=MANY_LINES,
            handlelength=1.2, columnspacing=1.4,
        )  # fmt: skip
    return figure


def draw_delta_loss(rounds: Ints, mean: Floats, std: Floats) -> Figure:
    """L_D - L_G against rounds (R,): running mean over the peers, with a standard deviation."""
    with styled(7.6, 3.6) as figure:
        axes = figure.add_subplot()
        window = max(1, len(rounds) // 25)
        middle, spread = (_running_mean(of[:, None], window)[:, 0] for of in (mean, std))
        low, high = middle - spread, middle + spread
        axes.fill_between(
            rounds, low, high, color=PALETTE[0], alpha=0.22, lw=0, label="± 1 deviation over peers"
        )
        axes.plot(rounds, middle, color=PALETTE[0], label="mean over peers")
        axes.axhline(math.log(2), color=FAINT, lw=1.2, ls=":", label="equilibrium: ln 2")
        _limit_to_bulk(axes, np.concatenate([low, high, [math.log(2)]]))
        label_rounds(axes)
        axes.set_ylabel("$L_D - L_G$ (nats)")
        axes.set_title("Balance of discriminator and generator  (far below zero, D has won)")
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def plot_curve(axes: Axes, curve: Curve, colour: str, name: str) -> None:
    """One curve of disagreement, with a band of two standard errors if it is an estimate."""
    shown = np.where(curve.values > 0, curve.values, np.nan)
    if curve.errors is not None:
        low, high = 1 - 2 * curve.errors, 1 + 2 * curve.errors
        axes.fill_between(
            curve.rounds, shown * low, shown * high, color=colour, alpha=0.22, linewidth=0
        )
    axes.plot(curve.rounds, shown, color=colour, label=name)


def _plot_bands(axes: Axes, rounds: Ints, values: Floats, colour: str) -> None:
    """Median of (R, K) values over the K peers, with the central half and nine tenths of them."""
    quantiles = np.full((5, len(rounds)), np.nan)
    measured = np.isfinite(values).any(axis=1)
    finite = np.where(np.isfinite(values), values, np.nan)
    quantiles[:, measured] = np.nanquantile(finite[measured], [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
    names = ("9 of 10 peers", "half of the peers")
    for (low, high), alpha, name in zip(((0, 4), (1, 3)), (0.16, 0.3), names, strict=True):
        axes.fill_between(
            rounds, quantiles[low], quantiles[high], color=colour, alpha=alpha, lw=0, label=name
        )
    axes.plot(rounds, quantiles[2], color=colour, label="median peer")


def _running_mean(values: Floats, window: int) -> Floats:
    """Mean over ``window`` records along the first axis, of those that are finite."""
    finite = np.isfinite(values)
    sums = np.cumsum(np.pad(np.where(finite, values, 0.0), ((1, 0), (0, 0))), axis=0)
    counts = np.cumsum(np.pad(finite.astype(np.float64), ((1, 0), (0, 0))), axis=0)
    here = np.arange(len(values))
    low = np.clip(here - (window - 1) // 2, 0, None)
    high = np.clip(here + window // 2 + 1, None, len(values))
    counted = counts[high] - counts[low]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = (sums[high] - sums[low]) / counted
    return np.where(finite, mean, np.nan)


def _limit_to_bulk(axes: Axes, values: Floats) -> None:
    """A few spikes must not flatten the rest: show the central 99 %, and a margin."""
    finite = values[np.isfinite(values)]
    if len(finite):
        low, high = np.quantile(finite, [0.005, 0.995])
        margin = 0.08 * (high - low) or 0.05
        axes.set_ylim(low - margin, high + margin)


def scale_log(axes: Axes) -> None:
    """A log scale of at most eight decades: agreement up to rounding needs no more."""
    axes.set_yscale("log")
    tops = [np.nanmax(y) for y in map(_heights, axes.get_lines()) if np.isfinite(y).any()]
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, max(tops, default=high) * 1e-8), high)


def _heights(line: Line2D) -> Floats:
    return np.asarray(line.get_ydata(), dtype=np.float64)


def label_rounds(axes: Axes) -> None:
    """The horizontal axis that all curves share."""
    axes.set_xlabel("rounds completed")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axes.margins(x=0.01)

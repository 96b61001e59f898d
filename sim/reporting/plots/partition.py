"""Who holds which classes: the heat map of a partition (as figure 16 of the Oasis paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sim.reporting.plots.style import INK, styled

_MOST_NUMBERS = 400


def draw_partition(counts: Mapping[int, Mapping[int, int]], classes: int) -> Figure:
    """Images of each class (columns) at each peer that holds data (rows), darker for more.

    Args:
        counts: by peer, by class.
        classes: how many there are.
    """
    peers = sorted(counts)
    table = np.array([[counts[k].get(x, 0) for x in range(classes)] for k in peers])
    with styled(max(4.6, 1.8 + 0.42 * classes), min(12.0, 1.4 + 0.26 * len(peers))) as figure:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        drawn = axes.imshow(table, cmap="Blues", aspect="auto", interpolation="nearest")
        axes.set_xticks(range(classes) if classes <= 20 else [])
        rows = range(0, len(peers), max(1, len(peers) // 25))
        axes.set_yticks(list(rows), [str(peers[i]) for i in rows])
        axes.set_xlabel("class")
        axes.set_ylabel("peer")
        if table.size <= _MOST_NUMBERS:
            _write_numbers(axes, table)
        figure.colorbar(drawn, ax=axes, label="images")
    return figure


def _write_numbers(axes: Any, table: np.ndarray) -> None:
    half = table.max() / 2
    for (row, column), count in np.ndenumerate(table):
        if count:
            colour = "white" if count > half else INK
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=7)

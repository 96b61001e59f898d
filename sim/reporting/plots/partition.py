"""Who holds which classes: the heat map of a partition (as figure 16 of the Oasis paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sim.reporting.plots.style import INK, plain, styled

_MOST_NUMBERS = 400


def draw_partition(
    counts: Mapping[int, Mapping[int, int]], classes: int, names: Sequence[str] = ()
) -> Figure:
    """Images of each class (columns) at each peer that holds data (rows), darker for more.

    Args:
        counts: by peer, by class.
        classes: how many there are.
        names: of the classes; their numbers if absent.
    """
    peers = sorted(counts)
    table = np.array([[counts[k].get(x, 0) for x in range(classes)] for k in peers])
    with styled(max(4.6, 1.8 + 0.42 * classes), min(12.0, 1.4 + 0.26 * len(peers))) as figure:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        drawn = axes.imshow(table, cmap="Blues", aspect="auto", interpolation="nearest")
        if classes <= 20:
            called = [plain(names[x]) if x < len(names) else str(x) for x in range(classes)]
            turned = 0 if all(len(name) <= 2 for name in called) else 60
            axes.set_xticks(range(classes), called, rotation=turned)
        else:
            axes.set_xticks([])
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

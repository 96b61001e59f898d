"""Quality against rounds, of one run or of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sim.reporting.plots.peer_comparison import set_log
from sim.reporting.plots.style import PALETTE, plain, styled

Series = tuple[np.ndarray, np.ndarray, np.ndarray]
"""How far the run is (any unit), classes covered, distance: (R,) each."""


def draw_quality(series: Mapping[str, Series], x_label: str, measure: str = "cfid") -> Figure:
    """Classes covered and distance as training goes on, a line for each name.

    Where nobody could tell which classes are covered, distances alone are drawn.
    """
    judged = any(np.isfinite(covered).any() for _, covered, _ in series.values())
    with styled(9.0 if judged else 5.6, 4.2) as figure:
        panels = figure.subplots(1, 2 if judged else 1, squeeze=False)[0]
        left, right = (panels[0] if judged else None), panels[-1]
        for i, (name, (x, covered, distance)) in enumerate(series.items()):
            colour = PALETTE[i % len(PALETTE)]
            dashes = "-" if i < len(PALETTE) else (0, (4, 2))
            style: Any = {"color": colour, "linestyle": dashes, "marker": "o", "ms": 3}
            if left is not None and np.isfinite(covered).any():
                left.plot(x, covered, **style)
            right.plot(x, distance, label=plain(name), **style)
        if left is not None:
            left.set_ylabel("classes covered")
            left.set_ylim(0, None)
        right.set_ylabel(f"{measure.upper()} (lower is better)")
        known = np.concatenate([distance for _, _, distance in series.values()])
        known = known[np.isfinite(known)]
        if len(known) and 0 < 20 * known.min() < known.max():
            set_log(right, "y")
        else:
            right.set_ylim(0, None)
        for axes in panels:
            axes.set_xlabel(x_label)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=4)
    return figure

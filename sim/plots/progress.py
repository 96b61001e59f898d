"""Quality against rounds, of one run or of several."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from sim.plots.style import PALETTE, styled

Series = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Share of the run that is done, classes covered, CFID: (R,) each."""


def draw_progress(series: Mapping[str, Series], x_label: str) -> Figure:
    """Classes covered and CFID as training goes on, a line for each name."""
    with styled(9.0, 4.2) as figure:
        left, right = figure.subplots(1, 2)
        for i, (name, (x, covered, cfid)) in enumerate(series.items()):
            colour = PALETTE[i % len(PALETTE)]
            dashes = "-" if i < len(PALETTE) else (0, (4, 2))
            left.plot(x, covered, color=colour, linestyle=dashes, label=name)
            right.plot(x, cfid, color=colour, linestyle=dashes)
        left.set_ylabel("classes covered")
        right.set_ylabel("CFID (lower is better)")
        right.set_yscale("log")
        for axes in (left, right):
            axes.set_xlabel(x_label)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=4)
    return figure

"""Quality against rounds, of one run or of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sim.reporting.plots.peer_comparison import set_log
from sim.reporting.plots.style import PALETTE, plain, styled

Series = tuple[np.ndarray, np.ndarray, np.ndarray]
"""How far the run is (any unit), classes covered, CFID: (R,) each."""


def draw_quality(series: Mapping[str, Series], x_label: str) -> Figure:
    """Classes covered and CFID as training goes on, a line for each name."""
    with styled(9.0, 4.2) as figure:
        left, right = figure.subplots(1, 2)
        for i, (name, (x, covered, cfid)) in enumerate(series.items()):
            colour = PALETTE[i % len(PALETTE)]
            dashes = "-" if i < len(PALETTE) else (0, (4, 2))
            style: Any = {"color": colour, "linestyle": dashes, "marker": "o", "ms": 3}
            left.plot(x, covered, label=plain(name), **style)
            right.plot(x, cfid, **style)
        left.set_ylabel("classes covered")
        right.set_ylabel("CFID (lower is better)")
        left.set_ylim(0, None)
        known = np.concatenate([cfid for _, _, cfid in series.values()])
        known = known[np.isfinite(known)]
        if len(known) and 0 < 20 * known.min() < known.max():
            set_log(right, "y")
        else:
            right.set_ylim(0, None)
        for axes in (left, right):
            axes.set_xlabel(x_label)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=4)
    return figure

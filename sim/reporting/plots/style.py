"""How hearsay's figures look, and how they are made and written.

Figures use matplotlib's object interface and an Agg canvas: nothing global is touched and no
display is needed. Up to eight peers get a colour each, from a palette that colour-blind readers
can tell apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's colours, the pale yellow left out, ordered so that neighbours differ in lightness.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#332288",
    "#6B6B6B",
)
INK, FAINT = "#222222", "#8A8A8A"
NET_COLOURS = {"generator": PALETTE[0], "discriminator": PALETTE[5]}
CLASS_COLOURS = (*PALETTE, "#F0E442", "#000000")
MANY_LINES = len(PALETTE)
DPI = 150

STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.6,
}


def plain(text: str) -> str:
    """A user's text, none of which is a formula: two dollar signs would make one."""
    return text.replace("$", r"\$")


def peer_colour(peer: int, peers: int) -> str:
    """The colour of one peer in every figure; one grey for all where they are too many."""
    return PALETTE[peer % len(PALETTE)] if peers <= MANY_LINES else PALETTE[7]


@contextmanager
def styled(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of ``width`` by ``height`` inches, to be drawn on inside the block."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` as a PNG without a date in it: equal figures are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not figure.savefig, which lays everything out twice and takes twice as long.
    Image.fromarray(pixels(figure)).save(path, format="png", dpi=(DPI, DPI))
    return path


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """The figure as RGB (height, width, 3), as :func:`save` writes it."""
    with mpl.rc_context(STYLE):
        canvas: Any = FigureCanvasAgg(figure)
        with warnings.catch_warnings():  # a sign that the font lacks is drawn as a box
            warnings.filterwarnings("ignore", "Glyph .* missing")
            canvas.draw()
        rgba = np.asarray(canvas.buffer_rgba())
    return np.ascontiguousarray(rgba[..., :3])

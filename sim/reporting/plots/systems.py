"""Several systems side by side: what each covers, how far its samples are, what it sent."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Protocol

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from sim.reporting.plots.style import FAINT, INK, PALETTE, styled


class Judged(Protocol):
    """What is drawn of one system with one seed."""

    @property
    def system(self) -> str:
        """Its name."""
        ...

    @property
    def covered(self) -> int | None:
        """Classes that the poorest of its generators covers."""
        ...

    @property
    def measure(self) -> str:
        """What the distance is: cfid, fid or rfd."""
        ...

    @property
    def distance(self) -> float | None:
        """The mean over its generators."""
        ...

    @property
    def bytes_out(self) -> int:
        """Bytes that all its peers sent."""
        ...


def draw_systems(outcomes: Sequence[Judged]) -> Figure:
    """A row a system; a dot a seed, a bar to the mean over seeds."""
    measure = outcomes[0].measure.upper() if outcomes else ""
    names = list(dict.fromkeys(outcome.system for outcome in outcomes))
    with styled(9.0, 1.2 + 0.36 * len(names)) as figure:
        left, middle, right = figure.subplots(1, 3, sharey=True)
        panels = (
            (left, "classes that the poorest\ngenerator covers", lambda o: o.covered, "linear"),
            (middle, f"{measure}\n(lower is better)", lambda o: o.distance, "linear"),
            (right, "sent by all peers\n(MB)", lambda o: o.bytes_out / 1e6, "log"),
        )
        for colour, (axes, title, value, scale) in zip(PALETTE, panels, strict=False):
            _draw_panel(axes, names, outcomes, value, scale, colour)
            axes.set_xlabel(title)
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.xaxis.set_major_formatter("{x:g}")
        right.xaxis.set_minor_formatter(NullFormatter())
        left.set_yticks(range(len(names)), names)
        left.invert_yaxis()
    return figure


def _draw_panel(
    axes: Any, names: Sequence[str], outcomes: Sequence[Judged], value: Any, scale: str, colour: str
) -> None:
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xscale(scale)
    drawn: list[float] = []
    for row, name in enumerate(names):
        known = [x for o in outcomes if o.system == name and (x := value(o)) is not None]
        known = [x for x in known if x > 0 or scale == "linear"]
        if not known:
            axes.text(
                0.02, row, "none", color=FAINT, va="center", transform=axes.get_yaxis_transform()
            )
            continue
        mean = statistics.fmean(known)
        drawn += [mean, *known]
        axes.hlines(row, 0 if scale == "linear" else min(known), mean, color=colour, linewidth=5)
        axes.plot(mean, row, "|", color=INK, markersize=11, markeredgewidth=1.6)
        axes.plot(known, [row] * len(known), "o", color=colour, markersize=4.5)
        text = f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}"
        place: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(text, (mean, row), color=INK, **place)
    if drawn and scale == "linear":
        axes.set_xlim(0, 1.18 * max(drawn) or 1)
    elif drawn:
        axes.set_xlim(0.7 * min(drawn), 4 * max(drawn))

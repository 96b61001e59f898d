"""Pictures of the peers themselves: what each of them draws, and who talks to whom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import networkx as nx
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from peer.live.layout import Place, lay_out
from sim.reporting.plots.style import (
    CLASS_COLOURS,
    DPI,
    FAINT,
    INK,
    PALETTE,
    peer_colour,
    plain,
    styled,
)
from sim.reporting.tables import name_classes

Images = npt.NDArray[np.float32]

FRAME = PALETTE[5]
_PAPER = 1.0
_GAP = 3
_FEW_PEERS = 12
_FEW_NODES = 24
_FEW_NAMES = 3
_HEADING, _LEGEND = 260, 366
"""Pixels in width that the samples' heading and their legend need."""


def draw_samples(
    samples: Mapping[int, Images],
    own: Mapping[int, Images] | None = None,
    marked: Mapping[int, npt.NDArray[np.bool_]] | None = None,
    labels: Mapping[int, Sequence[int]] | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """A grid of samples for every peer.

    Up to twelve peers get a row each, with images of their own data on the left; more peers get
    shorter rows, in several columns.

    Args:
        samples: by peer, (n, c, h, w) in [-1, 1]; c is 1 or 3, of others the first channel counts.
        own: by peer, real images of its own data, (m, c, h, w).
        marked: by peer, (n,) which samples get a coloured frame: those of classes that the peer's
            own data do not hold.
        labels: by peer, the classes of its own data.
        names: of the classes; their numbers if absent.
    """
    peers = sorted(samples)
    few = len(peers) <= _FEW_PEERS
    shown = 16 if few else 8
    columns = 1 if few else math.ceil(math.sqrt(len(peers) / 8))
    cell = 44 if few else 24 if len(peers) <= 200 else 16
    scale = max(1, cell // samples[peers[0]].shape[-1])
    strips = [
        _strip(samples[k][:shown], marked[k][:shown] if marked else None, scale) for k in peers
    ]
    ours = {k: _strip(own[k][:4], None, scale) for k in peers if k in own} if own and few else {}
    margin, gutter = (132, 16) if few else (44, 12)
    margin_own = next(iter(ours.values())).shape[1] + 22 if ours else 0
    high, wide = strips[0].shape[:2]
    wide += margin + margin_own + gutter
    rows = math.ceil(len(peers) / columns)
    whole = max(columns * wide, 480)
    heading = margin + margin_own
    beside = few and whole - heading >= _HEADING + _LEGEND  # the legend, on the heading's line
    header = 34 if beside or not marked else 62
    size = (header + rows * (high + 2) + 8, whole)
    canvas = np.full((*size, 3), _PAPER, dtype=np.float32)
    with styled(canvas.shape[1] / DPI, canvas.shape[0] / DPI) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for i, k in enumerate(peers):
            y, x = header + (i % rows) * (high + 2), (i // rows) * wide
            if k in ours:  # a server has none
                canvas[y : y + high, x + margin : x + margin + ours[k].shape[1]] = ours[k]
            left = x + margin + margin_own
            canvas[y : y + high, left : left + strips[i].shape[1]] = strips[i]
            middle = y + high / 2
            if few:
                held = f"\n{_name_classes(labels[k], names)}" if labels and k in labels else ""
                name = f"peer {k}{held}"
                colour = peer_colour(k, len(peers))
                axes.plot([x + 9, x + 9], [y + 6, y + high - 6], color=colour, linewidth=4)
                axes.text(
                    x + 20, middle, name, va="center", fontsize=8 if high >= 40 else 6.5, color=INK
                )
            else:
                axes.text(
                    x + margin - 6, middle, str(k), va="center", ha="right", fontsize=6, color=INK
                )
        axes.imshow(canvas, interpolation="nearest", aspect="auto", extent=_extent(canvas))
        axes.set_xlim(0, canvas.shape[1])
        axes.set_ylim(canvas.shape[0], 0)
        if ours:
            axes.text(margin, 22, "its own data", fontsize=9, color=INK)
        axes.text(heading, 22, "what its generator draws", fontsize=9, color=INK)
        if marked:
            frame = Line2D([], [], ls="", marker="s", mfc="none", mec=FRAME, mew=1.6, ms=6)
            axes.legend(
                [frame], ["of a class that it has never seen"],
                loc="upper right" if beside else "upper left",
                bbox_to_anchor=(whole, 0) if beside else (min(heading - 14, whole - _LEGEND), 26),
                bbox_transform=axes.transData, borderaxespad=0.15, handletextpad=0.2,
            )  # fmt: skip
    return figure


def draw_graph(
    graph: nx.Graph[int],
    labels: Mapping[int, Sequence[int]] | None = None,
    absent: Sequence[int] = (),
    names: Sequence[str] = (),
) -> Figure:
    """The network of peers, with the classes that each holds.

    Up to 24 peers are drawn with their ids and classes; of more, the colour says which class
    comes first in a peer's data.

    Args:
        graph: on nodes 0 .. K - 1.
        labels: by peer, the classes of its own data.
        absent: peers that left no result; drawn hollow.
        names: of the classes; their numbers if absent.
    """
    peers = graph.number_of_nodes()
    few = peers <= _FEW_NODES
    places = lay_out(graph)
    with styled(5.4 if peers <= 12 else 7.0, 4.4 if peers <= 12 else 6.0) as figure:
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_aspect("equal")
        ends = [(places[a], places[b]) for a, b in graph.edges]
        axes.add_collection(
            LineCollection(ends, colors=FAINT, linewidths=1.4 if few else 0.4, zorder=1)
        )
        count = 1 + max((c for of in (labels or {}).values() for c in of), default=0)
        size = 21.0 if peers <= 12 else 15.0 if few else max(2.5, 140 / math.sqrt(peers))
        for k, (x, y) in sorted(places.items()):
            colour = (
                peer_colour(k, peers) if few or not labels else _class_colour(labels.get(k), count)
            )
            hollow = k in absent
            axes.plot(
                [x], [y], "o", ms=size, mec=colour, mew=1.5, zorder=2,
                mfc="white" if hollow else colour, ls="",
            )  # fmt: skip
            if few:
                axes.text(
                    x, y, str(k), ha="center", va="center", zorder=3, fontweight="bold",
                    fontsize=10 if peers <= 12 else 7.5, color=INK if hollow else "white",
                )  # fmt: skip
                if labels and k in labels:
                    text = _name_classes(labels[k], names)
                    text = text if peers <= 12 else text.removeprefix("classes ")
                    _write_beside(axes, places, k, graph[k], size / 2 + 5, text)
        axes.margins(0.24 if peers <= 12 else 0.1 if few else 0.04)
        links = graph.number_of_edges()
        beside = "; beside each, the classes of its data" if labels and peers > 12 and few else ""
        axes.set_title(f"{peers} peers, {links} link{'s' * (links != 1)}{beside}")
        handles = []
        if labels and not few:
            first = sorted({of[0] for of in labels.values() if len(of)})[:20]
            handles += [_dot(_class_colour([c], count), _name_classes([c], names)) for c in first]
        if absent:
            handles.append(_dot("white", "left no result", FAINT))
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def _strip(images: Images, marked: npt.NDArray[np.bool_] | None, scale: int) -> Images:
    """Images side by side as RGB in [0, 1]: each magnified, with a margin that may be coloured."""
    n, channels, height, width = images.shape
    rgb = images[:, :3] if channels == 3 else np.repeat(images[:, :1], 3, axis=1)
    rgb = np.nan_to_num((rgb + 1) / 2, nan=0.5).clip(0, 1).transpose(0, 2, 3, 1)
    rgb = rgb.repeat(scale, axis=1).repeat(scale, axis=2)
    cell = (height * scale + 2 * _GAP, width * scale + 2 * _GAP)
    strip = np.full((n, *cell, 3), _PAPER, dtype=np.float32)
    if marked is not None:
        frame = np.array([int(FRAME[i : i + 2], 16) / 255 for i in (1, 3, 5)], dtype=np.float32)
        strip[marked] = frame
        strip[:, :, [0, -1]] = _PAPER  # neighbouring frames stay apart
    strip[:, _GAP:-_GAP, _GAP:-_GAP] = rgb
    return np.concatenate(list(strip), axis=1)


def _extent(canvas: Images) -> tuple[float, float, float, float]:
    return 0.0, float(canvas.shape[1]), float(canvas.shape[0]), 0.0


def _name_classes(classes: Sequence[int], names: Sequence[str] = ()) -> str:
    """``class 3``, ``classes 2, 3``, ``classes 0 to 9``, ``20 classes``; or ``cat, dog``."""
    found = sorted(classes)
    if not found:
        return "no data"
    if names and found[-1] < len(names):
        called = [names[x] for x in found]
        if not all(name.isdecimal() for name in called):
            few = len(called) <= _FEW_NAMES
            return plain(name_classes(found, names)) if few else f"{len(called)} classes"
        found = [int(name) for name in called]
    if len(found) == 1:
        return f"class {found[0]}"
    if len(found) > 2 and found == list(range(found[0], found[-1] + 1)):
        return f"classes {found[0]} to {found[-1]}"
    return "classes " + ", ".join(map(str, found)) if len(found) <= 5 else f"{len(found)} classes"


def _write_beside(
    axes: Axes,
    places: Mapping[int, Place],
    k: int,
    neighbours: Iterable[int],
    away: float,
    text: str,
) -> None:
    """Write ``text`` ``away`` points from node k, where its links leave most room.

    Of equally free directions, the one that leads furthest from the middle of the picture.
    """
    x, y = places[k]
    links = [math.atan2(places[n][1] - y, places[n][0] - x) for n in neighbours]
    outward = math.atan2(y, x) if math.hypot(x, y) > 0.05 else 0.0

    def room(angle: float) -> float:
        return min((_turn(angle, link) for link in links), default=math.pi)

    angles = [outward, *(step * math.pi / 4 for step in range(8))]
    best = max(angles, key=lambda angle: min(room(angle), 1.2) - 0.2 * _turn(angle, outward))
    right, up = math.cos(best), math.sin(best)
    written = axes.annotate(
        text, (x, y), (right * away, up * (away + 3)), textcoords="offset points", fontsize=8,
        color=INK, va="center", ha="left" if right > 0.3 else "right" if right < -0.3 else "center",
    )  # fmt: skip
    written.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _turn(a: float, b: float) -> float:
    """The angle between two directions, 0 to pi."""
    return abs((a - b + math.pi) % (2 * math.pi) - math.pi)


def _class_colour(classes: Sequence[int] | None, count: int) -> str:
    if not classes:
        return FAINT
    if count <= len(CLASS_COLOURS):
        return CLASS_COLOURS[classes[0]]
    return to_hex(colormaps["turbo"](classes[0] / (count - 1)))


def _dot(colour: str, name: str, edge: str | None = None) -> Line2D:
    return Line2D([], [], marker="o", linestyle="", mfc=colour, mec=edge or colour, label=name)

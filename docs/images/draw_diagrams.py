"""Draws the two diagrams of the explanation pages as SVG.

    python docs/images/draw_diagrams.py

Which sub-package imports which is read off the code; only the places of the boxes are written here.
"""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import networkx as nx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

FONT = "font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\""
INK, SOFT, LINE = "#1d2733", "#5a6877", "#8794a3"
FILLS = {
    "sim": ("#eef4fb", "#b9d0ea"),
    "algorithms": ("#f1f8ee", "#bcdcae"),
    "peer": ("#fdf5e9", "#ecd0a0"),
    "topology": ("#f7f0fa", "#d6bfe2"),
}


class Box(NamedTuple):
    """A rectangle with a name and a few words."""

    x: float
    y: float
    width: float
    height: float

    def towards(self, other: Box) -> tuple[float, float]:
        """Where a line to ``other`` leaves this box."""
        if abs(other.y - self.y) < 1:  # side by side
            right = other.x > self.x
            return (self.x + self.width if right else self.x), self.y + self.height / 2
        below = other.y > self.y
        shift = max(-0.3, min(0.3, (other.x - self.x) / 1000))
        x = self.x + self.width * (0.5 + shift)
        return x, self.y + self.height if below else self.y


def text(
    x: float,
    y: float,
    words: str,
    size: float,
    *,
    colour: str = INK,
    bold: bool = False,
    middle: bool = True,
    mono: bool = False,
) -> str:
    """A line of words at a place."""
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    anchor = ' text-anchor="middle"' if middle else ""
    weight = ' font-weight="600"' if bold else ""
    font = " font-family=\"ui-monospace, 'DejaVu Sans Mono', monospace\"" if mono else ""
    place = f'x="{x:g}" y="{y:g}" font-size="{size:g}"'
    return f'<text {place} fill="{colour}"{anchor}{weight}{font}>{words}</text>'


def rectangle(box: Box, fill: str, stroke: str, radius: float = 8) -> str:
    """A box with round corners."""
    x, y, width, height = box
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="1.2"/>'
    )


def arrow(start: tuple[float, float], end: tuple[float, float], colour: str = LINE) -> str:
    """A straight arrow."""
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" '
        f'stroke-width="1.5" marker-end="url(#head)"/>'
    )


def picture(width: float, height: float, title: str, parts: list[str]) -> str:
    """The whole SVG."""
    head = (
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto-start-reverse"><path d="M0,1 L10,5 L0,9 z" fill="{LINE}"/>'
        "</marker></defs>"
    )
    ground = rectangle(Box(0.6, 0.6, width - 1.2, height - 1.2), "#ffffff", "#e3e8ee", 12)
    body = "\n".join([head, ground, *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" {FONT}>\n<title>{title}</title>\n{body}\n</svg>\n'
    )


# --- the house ------------------------------------------------------------------------------------

ROOMS: dict[str, dict[str, tuple[int, int, str]]] = {
    "sim": {
        "commands": (0, 0, "sim plot, evaluate, compare..."),
        "studies": (0, 1, "several runs side by side"),
        "api": (0, 2, "sim.run, for notebooks"),
        "runs": (1, 1, "from a file to a run folder"),
        "reporting": (1, 2, "figures, tables, the report"),
        "events": (2, 0, "effects in virtual time"),
        "sharding": (2, 1, "one run, several processes"),
        "engines": (3, 0, "one at a time, or all at once"),
        "environment": (3, 1, "delays, losses, devices"),
        "records": (3, 2, "what a run wrote, read back"),
        "machine": (4, 0, "processors, memory"),
        "simulated_peer": (4, 1, "a coroutine and its exchange"),
        "metrics": (4, 2, "CFID, coverage, disagreement"),
    },
    "peer": {
        "runtime": (0, 0, "processes, checks"),
        "net": (0, 1, "links, sockets, keys"),
        "program": (0, 2, "what a peer runs"),
        "training": (0, 3, "a GAN's local steps"),
        "compute": (1, 1, "steps, combine"),
        "peer": (1, 2, "the verbs"),
        "state": (2, 1, "all that lasts"),
        "effects": (2, 2, "what is awaited"),
        "experiment": (3, 1, "the YAML file"),
        "gan": (3, 2, "nets, losses, arena"),
        "data": (4, 0, "images, partitions"),
        "codecs": (4, 1, "fewer bytes"),
        "streams": (4, 2, "random numbers"),
    },
}
CHIPS = {
    "algorithms": [
        "diffusion", "dposg", "dss_og", "local", "gossip", "fedavg", "ditto", "fegan", "oasis",
        "mdgan", "distributed_gan",
    ],
    "topology": ["schedule", "graph", "families", "weights", "spectral"],
}  # fmt: skip
SAYS = {
    "sim": "many peers in one process: drivers, engines, measures, reports",
    "algorithms": "what peers agree to do: one file or folder a published system",
    "peer": "what one peer is and does: its GAN, its data, its links, its disk",
    "topology": "what the network is",
}


def imports_of(package: str) -> nx.DiGraph[str]:
    """Which of a package's rooms imports which, without what follows from the rest."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for path in sorted((ROOT / package).rglob("*.py")):
        here = path.relative_to(ROOT / package).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = node.module.split(".")[1:] if node.module.startswith(package) else []
                if inner and inner[0] != here and {inner[0], here} <= ROOMS[package].keys():
                    graph.add_edge(here, inner[0])
    return nx.transitive_reduction(graph)


def house() -> str:
    """The packages, their sub-packages, and who imports whom."""
    width, margin, row = 760.0, 16.0, 66.0
    parts: list[str] = []
    y = margin
    bands: list[tuple[float, float]] = []
    for package in ("sim", "algorithms", "peer", "topology"):
        rooms = ROOMS.get(package)
        height = 46 + (52 if rooms is None else row * (1 + max(r for r, _, _ in rooms.values())))
        fill, stroke = FILLS[package]
        parts.append(rectangle(Box(margin, y, width - 2 * margin, height), fill, stroke, 12))
        parts.append(text(margin + 16, y + 26, f"{package}/", 17, bold=True, middle=False))
        parts.append(text(margin + 140, y + 26, SAYS[package], 13, colour=SOFT, middle=False))
        if rooms is None:
            chips = CHIPS[package]
            weights = [len(name) + 3 for name in chips]
            room = width - 2 * margin - 24 - 8 * (len(chips) - 1)
            x = margin + 12
            for name, weight in zip(chips, weights, strict=True):
                chip = Box(x, y + 46, room * weight / sum(weights), 34)
                parts.append(rectangle(chip, "#ffffff", stroke))
                parts.append(text(chip.x + chip.width / 2, chip.y + 22, name, 12.5))
                x += chip.width + 8
        else:
            columns = 1 + max(c for _, c, _ in rooms.values())
            pitch = (width - 2 * margin - 24) / columns
            boxes = {
                name: Box(margin + 12 + c * pitch + 10, y + 44 + r * row, pitch - 20, 44)
                for name, (r, c, _) in rooms.items()
            }
            for one, other in imports_of(package).edges:
                start, end = boxes[one].towards(boxes[other]), boxes[other].towards(boxes[one])
                parts.append(arrow(start, end))
            for name, box in boxes.items():
                parts.append(rectangle(box, "#ffffff", stroke))
                shown = "peer.py" if name == "peer" else name
                parts.append(text(box.x + box.width / 2, box.y + 19, shown, 14, bold=True))
                words = rooms[name][2]
                parts.append(text(box.x + box.width / 2, box.y + 35, words, 11.5, colour=SOFT))
        bands.append((y, y + height))
        y += height + 26
    for (_, above), (below, _) in pairwise(bands):
        parts.append(arrow((width / 2, above), (width / 2, below)))
    return picture(width, y - 26 + margin, "Packages of hearsay and what they import", parts)


# --- a value's way --------------------------------------------------------------------------------

DOWN = [
    ("ring.yaml", "graph: ring, algorithm: {name: diffusion}", "file"),
    ("peer/experiment", "checked; the same digest at all peers", "compute"),
    ("topology", "this round's neighbours, and a_lk", "compute"),
    ("algorithms/diffusion.py", 'await peer.combine("generator")', "compute"),
    ("peer/effects.py", "Combine(net, moments, weights)", "compute"),
    ("peer/net/zmq_driver.py", "the arena to a send buffer; begin", "compute"),
    ("peer/net/endpoint.py", "which links are in the exchange", "net"),
    ("peer/net/link.py", "OFFER, then chunks as credit allows", "net"),
    ("peer/net/wire.py", "header by msgpack, body as it lies", "net"),
    ("peer/net/sockets.py", "DEALER to the neighbour, CURVE", "net"),
]
UP = [
    ("algorithms/diffusion.py", "goes on after the await", "compute"),
    ("peer/state", "the arena now holds the new w_k", "compute"),
    ("peer/compute/combine.py", "w_k += a_lk (q_l - q_k), in id order", "compute"),
    ("peer/net/zmq_driver.py", "all neighbours are settled", "compute"),
    ("peer/net/endpoint.py", "a value is whole, or not waited for", "net"),
    ("peer/net/transfer", "into place; size, NaN and Inf looked at", "net"),
    ("peer/net/link.py", "is it t, or early, late, twice? ACK", "net"),
    ("peer/net/wire.py", "a message, or a WireError", "net"),
    ("peer/net/sockets.py", "ROUTER; whose key was it?", "net"),
]
STRIPES = {
    "file": ("#ffffff", "#c3ccd6"),
    "compute": ("#fdf5e9", "#ecd0a0"),
    "net": ("#eef4fb", "#b9d0ea"),
}


def way() -> str:
    """What becomes of a value on its way out, and of a neighbour's on its way in."""
    width, height, pitch = 760.0, 700.0, 60.0
    bottom = 70 + 9 * pitch
    parts = [
        text(200, 34, "peer k sends", 16, bold=True),
        text(560, 34, "and takes what its neighbour sent", 16, bold=True),
    ]
    left = [Box(50, 52 + i * pitch, 300, 44) for i in range(len(DOWN))]
    right = [Box(410, 52 + (i + 1) * pitch, 300, 44) for i in range(len(UP))]
    for boxes, steps, down in ((left, DOWN, True), (right, UP, False)):
        for one, other in pairwise(boxes):
            a, b = (one, other) if down else (other, one)
            parts.append(arrow(a.towards(b), b.towards(a)))
        for box, (name, words, kind) in zip(boxes, steps, strict=True):
            fill, stroke = STRIPES[kind]
            parts.append(rectangle(box, fill, stroke))
            parts.append(text(box.x + box.width / 2, box.y + 18, name, 13, bold=True, mono=True))
            parts.append(text(box.x + box.width / 2, box.y + 35, words, 12, colour=SOFT))
    wire = bottom + 22
    parts.append(arrow((200, left[-1].y + 44), (200, wire + 24)))
    parts.append(arrow((560, wire + 24), (560, right[-1].y + 44)))
    parts.append(rectangle(Box(50, wire + 24, 660, 30), "#f3f5f7", "#c3ccd6"))
    parts.append(
        text(380, wire + 43, "TCP, or a file between processes of one machine", 12.5, colour=SOFT)
    )
    parts.append(rectangle(Box(410, 60, 14, 14), *STRIPES["compute"], 3))
    parts.append(text(432, 72, "the compute thread", 12.5, colour=SOFT, middle=False))
    parts.append(rectangle(Box(570, 60, 14, 14), *STRIPES["net"], 3))
    parts.append(text(592, 72, "the I/O thread", 12.5, colour=SOFT, middle=False))
    return picture(width, height, "A value's way from the experiment file to the socket", parts)


if __name__ == "__main__":
    (HERE / "house.svg").write_text(house(), encoding="utf-8")
    (HERE / "way-of-a-value.svg").write_text(way(), encoding="utf-8")

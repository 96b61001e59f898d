"""Figure 16: weak devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, column, spread
from reproductions.drawing import curves_and_dots
from reproductions.fegan._learning import DEVICES, SMALLER, engine, fegan, learnt
from reproductions.fegan._measures import median

SHARES = (0, 10, 30, 50, 70, 90)
NAMES = {f"{share} % weak": share for share in SHARES}


def _weak(share: int) -> list[int]:
    """As many of the devices, spread evenly over their ids."""
    return [k for k in range(1, DEVICES + 1) if k * share // 100 > (k - 1) * share // 100]


def experiments() -> Mapping[str, dict[str, Any]]:
    """FeGAN, with none to most of its devices at about half of the load."""
    found = {}
    for name, share in NAMES.items():
        capabilities = {k: {"score": 0.5} for k in _weak(share)}
        weak: dict[str, Any] = (
            {"capabilities": capabilities, "loads": {"by": "linear"}} if share else {}
        )
        found[name] = fegan(engine(5), **weak)
    return found


def measure(run: Path) -> Numbers:
    """The curve and its end."""
    return learnt(run)


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    scores = {name: median(column(found, name, "late")) for name in NAMES}
    none, *some = NAMES
    return Verdict.by(
        {name: scores[name] <= 1.25 * scores[none] for name in some},
        "CFID in the last quarter: "
        + ", ".join(f"{name} {spread(found, name, 'late')}" for name in NAMES),
    )


def draw(found: Found) -> Figure:
    """CFID against rounds, and at the end."""
    names = {name: f"{share} %" for name, share in NAMES.items()}
    figure = curves_and_dots(found, "late", "CFID in the last quarter", names=names)
    figure.axes[1].set_xlabel("weak devices")
    return figure


REPRODUCTION = Reproduction(
    source="FeGAN, figure 16",
    claim="Weak devices, given up to half of the batch and half of the iterations, almost do not "
    "affect convergence, be they 10 or 90 % of all.",
    smaller=SMALLER + "Digits by the paper's engine (at most 5 classes), where the paper has "
    "ImageNet on 60 devices. A weak device does 3 iterations on batches of 26, about half of both.",
    rule="For each share of weak devices, CFID in the last quarter, the median over seeds, is at "
    "most 1.25 of that without any. For some shares: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="CFID to all digits as rounds go by (lines are means over seeds, between the least "
    "and the greatest), and in the last quarter of them (a dot a seed), with so many weak devices.",
    seeds=3,
    engine="stacked",
)

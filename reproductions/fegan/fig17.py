"""Figure 17: the server dies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Holds, Numbers, Reproduction, Verdict, column, spread
from reproductions.drawing import axes, curves, dots
from reproductions.fegan._learning import engine, fegan, learnt
from reproductions.fegan._measures import median
from reproductions.measures import plain
from sim.records.reader import read_run

CALM, CRASH = "nobody dies", "the server dies"
ROUNDS = 250
DOWN = 75.0
"""Virtual seconds until the server dies: about half of the run."""

STALL = 10.0
"""Seconds without a server, at most."""

SLOWER = 6
"""Five iterations of ours take the time of the paper's thirty."""


def experiments() -> Mapping[str, dict[str, Any]]:
    """FeGAN with two backups, without and with the server's death."""

    def keys(**more: Any) -> dict[str, Any]:
        made = fegan(engine(5), ROUNDS) | more
        seconds = {name: SLOWER * cost for name, cost in made["devices"]["seconds"].items()}
        return made | {
            "devices": {"seconds": seconds},
            "metrics": made["metrics"] | {"every": 1, "sketch": False},
        }

    dies = [{"peer": 0, "down": DOWN}]
    return {CALM: keys(backups=2), CRASH: keys(backups=2, faults=dies)}


def measure(run: Path) -> Numbers:
    """The curve and its end; of the server, its rounds, its longest pause, and its terms."""
    server = read_run(run).records[0]
    ends = [0.0, *(record.seconds for record in server)]
    rounds = [record.round for record in server]
    return learnt(run) | {
        "server rounds": len(set(rounds)),
        "in order": rounds == list(range(1, len(rounds) + 1)),
        "at": ends[-1],
        "pause": max((later - earlier for earlier, later in pairwise(ends)), default=None),
        "round": plain([(ends[-1] - ends[0]) / max(1, len(rounds))])[0],
    }


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    is_whole = all(
        each["in order"] and each["server rounds"] == found[CALM][0]["server rounds"]
        for each in found[CRASH]
    )
    pause = max(column(found, CRASH, "pause"), default=math.nan)
    calm, crash = (median(column(found, name, "late")) for name in (CALM, CRASH))
    return Verdict(
        Holds.by(is_whole, pause <= STALL, crash <= 1.25 * calm),
        f"the longest time between two rounds is {spread(found, CRASH, 'pause')} s where the "
        f"server dies ({spread(found, CALM, 'pause')} s else), "
        f"{'no round is lost' if is_whole else 'rounds are lost'}; CFID in the last quarter: "
        + ", ".join(f"{name} {spread(found, name, 'late')}" for name in (CALM, CRASH)),
    )


def draw(found: Found) -> Figure:
    """CFID against time, and at the end."""
    figure, (left, right) = axes(2)
    curves(left, found, "seconds", "distance", xlabel="virtual seconds", ylabel="CFID", log=True)
    left.axvline(DOWN, color="black", lw=0.8, linestyle=":")
    dots(right, found, "late", ylabel="CFID in the last quarter", log=True)
    return figure


REPRODUCTION = Reproduction(
    source="FeGAN, figure 17",
    claim="After the crash of the server a backup loads its latest state, and training goes on: no "
    "big stall, and the score goes on falling as it would have.",
    smaller="Forty devices, four of them a round, with five iterations on batches of 50 that take "
    f"the time of the paper's thirty; digits of 8 pixels, small MLPs, {ROUNDS} rounds. (The paper: "
    "80 devices, two a round.) The server dies after 75 virtual seconds, about half of the run; "
    "in the paper after 500. The paper's backups read a database that does not fail; here a round "
    "counts once a backup holds its state and a majority knows, and who follows is elected. ",
    rule="With the server's death: every round is made, once and in order; the longest time "
    "between two rounds is at most 10 s, in every seed; CFID in the last quarter, the median over "
    "seeds, is at most 1.25 of that without a death. One or two of the three: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="CFID to all digits as virtual time goes by (lines are means over seeds, between the "
    "least and the greatest), and in the last quarter of it (a dot a seed). The dotted line is the "
    "server's death.",
    seeds=3,
)

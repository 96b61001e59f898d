"""Figure 15: bytes at a device, against MD-GAN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean
from reproductions.drawing import DASHES, axes, finish
from reproductions.fegan._system import CLOCK, COMPARED, UNTRAINED, mdgan, untrained
from reproductions.images import digits
from reproductions.measures import plain
from sim.records.reader import read_run
from sim.reporting.plots.style import PALETTE

DEVICE, WINDOW = 40, 200.0


def experiments() -> Mapping[str, dict[str, Any]]:
    """Eighty devices with identical data; some more than 200 seconds of FeGAN."""
    fegan = untrained(80, 400, digits()) | {"metrics": {"every": 1}}
    return {
        "MD-GAN": mdgan(80, 40, digits(), metrics={"every": 1}),
        "FeGAN": fegan,
    }


def measure(run: Path) -> Numbers:
    """Bytes at a device as time goes by, and how often devices are picked in 200 seconds."""
    recorded = read_run(run)
    rows = recorded.records[DEVICE]
    seconds = np.maximum.accumulate([row.seconds for row in rows])
    total = np.array([row.bytes_in + row.bytes_out for row in rows], dtype=float)
    all_bytes = [of.bytes_in + of.bytes_out for k, of in recorded.results.items() if k > 0]
    last = max(of[-1].seconds for of in recorded.records.values())
    chosen = [ids for record in recorded.records[0] for ids in record.participants]
    picks = sum(map(len, chosen)) / (recorded.experiment.peers - 1)
    return {
        "seconds": plain(seconds),
        "megabytes": plain(total / 1e6),
        "rate": float(np.mean(all_bytes)) / last,
        "picked": picks * WINDOW / last,
        "last": last,
    }


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    ours, other = mean(found, "FeGAN", "rate"), mean(found, "MD-GAN", "rate")
    picked = mean(found, "FeGAN", "picked")
    return Verdict.by(
        {"1.5 times less": other >= 1.5 * ours, "picked less than ten times": picked < 10},
        f"bytes a second at a device: MD-GAN {other / 1e3:.0f} kB, FeGAN {ours / 1e3:.1f} kB, "
        f"{other / ours:.1f} times less; a device is picked {picked:.1f} times in 200 seconds",
    )


def draw(found: Found) -> Figure:
    """What went through one device since the start; MD-GAN's is continued at its rate."""
    figure, (ax,) = axes(1, width=5.6, height=3.6)
    for i, system in enumerate(("MD-GAN", "FeGAN")):
        of = found[system][0]
        if not of["seconds"]:
            continue
        x, y = list(of["seconds"]), list(of["megabytes"])
        colour = PALETTE[i]
        ax.step(x, y, where="post", color=colour, linestyle=DASHES[0], label=system)
        if system == "MD-GAN" and x[-1]:
            more = [x[-1], WINDOW]
            ax.plot(
                more,
                [y[-1], y[-1] * WINDOW / x[-1]],
                color=colour,
                ls=":",
                label="MD-GAN, continued at its rate",
            )
    ax.set_xlim(0, WINDOW)
    ax.set_ylim(bottom=0)
    finish(ax, "virtual seconds", "MB in and out since the start")
    ax.legend()
    return figure


REPRODUCTION = Reproduction(
    source="FeGAN, figure 15",
    claim="A device of FeGAN takes less bandwidth than one of MD-GAN, 1.5 times less by the "
    "paper's summary, as it is picked less than ten times in 200 seconds while MD-GAN's devices "
    "train in every round.",
    smaller="Eighty devices with identical data, E = 30, C = 0.025; small nets on digits. "
    + UNTRAINED
    + CLOCK
    + COMPARED
    + "MD-GAN runs for 40 iterations, each of which moves as many bytes. How often a device is "
    "picked in 200 seconds follows from the 15 ms that are assumed.",
    rule="Bytes a second, of devices on average, are at least 1.5 times as many in MD-GAN, and a "
    "device is picked less than ten times in 200 seconds. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    disputed="That a device is picked less than ten times follows from the assumed 15 ms an "
    "iteration.",
    caption="Bytes in and out at device 40 since the start, against virtual time; they are of "
    "small nets and images, so that the two lines compare, and their heights mean nothing.",
    seeds=1,
)

"""Figure 12: throughput against the number of devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reproductions.claims import Found, Numbers, Reproduction, Verdict, mean
from reproductions.drawing import DASHES, MARKERS, axes, finish
from reproductions.fegan._measures import throughput_of
from reproductions.fegan._system import CLOCK, COMPARED, UNTRAINED, mdgan, untrained
from reproductions.images import digits
from sim.records.reader import read_run
from sim.reporting.plots.style import PALETTE

DEVICES = (8, 16, 32, 80, 176)
LINES = {"FeGAN": 0.025, "FeGAN, C = 0.1": 0.1}
E, MDGAN_ROUNDS, FEGAN_ROUNDS = 30, 5, 5


def experiments() -> Mapping[str, dict[str, Any]]:
    """Both systems on so many devices, and FeGAN with more of them a round."""
    found = {f"MD-GAN, {n}": mdgan(n, MDGAN_ROUNDS, digits()) for n in DEVICES}
    for line, fraction in LINES.items():
        found |= {
            f"{line}, {n}": untrained(n, FEGAN_ROUNDS, digits(), fraction=fraction, iterations=E)
            for n in DEVICES
        }
    return found


def measure(run: Path) -> Numbers:
    """Images a second: of FeGAN a round is E iterations, of MD-GAN one."""
    return throughput_of(run, E if read_run(run).experiment.algorithm.name == "fegan" else 1)


def _images(found: Found, line: str) -> list[float]:
    return [mean(found, f"{line}, {n}", "images") for n in DEVICES]


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    other, ours = _images(found, "MD-GAN"), _images(found, "FeGAN")
    flat = other[-1] <= 1.5 * other[DEVICES.index(32)]
    growth = ours[-1] / ours[DEVICES.index(80)]
    return Verdict.by(
        {
            "MD-GAN's stays the same": flat,
            "FeGAN's grows": growth >= 0.8 * 2,
            "2.5 times MD-GAN's at 176 devices": ours[-1] >= 2.5 * other[-1],
        },
        f"images a second with 8, 80 and 176 devices: MD-GAN {other[0]:.0f}, {other[3]:.0f}, "
        f"{other[4]:.0f}; FeGAN {ours[0]:.0f}, {ours[3]:.0f}, {ours[4]:.0f}; at 176 devices FeGAN "
        f"has {ours[-1] / other[-1]:.2f} times MD-GAN's, and with C = 0.1 "
        f"{_images(found, 'FeGAN, C = 0.1')[-1] / other[-1]:.2f} times",
    )


def draw(found: Found) -> Figure:
    """A line a system."""
    figure, (ax,) = axes(1, width=5.6, height=3.6)
    for i, line in enumerate(("MD-GAN", *LINES)):
        name = "FeGAN, C = 0.025" if line == "FeGAN" else line
        ax.plot(
            DEVICES,
            _images(found, line),
            color=PALETTE[i],
            marker=MARKERS[i],
            linestyle=DASHES[i],
            label=name,
        )
    ax.set_ylim(bottom=0)
    finish(ax, "devices", "images a (virtual) second")
    ax.legend()
    return figure


REPRODUCTION = Reproduction(
    source="FeGAN, figure 12",
    claim="FeGAN's throughput grows linearly with the number of devices and is five times "
    "MD-GAN's at 176, while MD-GAN's stays the same; MD-GAN is faster up to about 32 devices.",
    smaller="Up to 176 devices and E = 30, C = 0.025, as there; small nets on digits. The MD-GAN "
    "is the published one, which sends images and their errors; here both systems' letters take "
    "the same path, while the paper's FeGAN copies its models to the CPU first, and its MD-GAN "
    "does not. Throughput is images processed a second, which is epochs a second but for a "
    "constant. " + UNTRAINED + CLOCK + COMPARED,
    rule="MD-GAN's throughput at 176 devices is at most 1.5 times that at 32; FeGAN's grows from "
    "80 to 176 devices (from 2 to 4 a round) by 1.6 at least, 0.8 of linear; and at 176 devices "
    "FeGAN has at least 2.5 times MD-GAN's, half of what is claimed. Some of it: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    caption="Images that all devices together process in a second of virtual time. Up to 32 "
    "devices, FeGAN with C = 0.025 trains one of them a round.",
    seeds=1,
)

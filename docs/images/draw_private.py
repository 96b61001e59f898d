"""What generators of private pictures draw: docs/images/private-cifar.png.

    python docs/images/draw_private.py docs/images/private-cifar.png RUN...

A row a run, of its peer 0: the first images of seed 0. docs/results/private-pictures.md has the
commands of the runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from peer.quality.samples import draw_samples
from sim.records.generators import load_run
from sim.records.reader import read_run

COLUMNS = 16


def draw(out: Path, runs: list[Path]) -> None:
    """The figure of several runs of examples/cifar-private.yaml."""
    figure, axes = plt.subplots(len(runs), 1, figsize=(9.6, 0.85 * len(runs)))
    for ax, folder in zip(axes, runs, strict=True):
        run = read_run(folder)
        shape = run.results[0].shape
        assert shape is not None
        gan = run.experiment.build_gan(shape)
        images = draw_samples(load_run(run, gan)[0], gan.z_dim, COLUMNS, seed=0)
        n, c, h, w = images.shape
        row = (images + 1) / 2  # (n, c, h, w) -> (h, n * w, c)
        ax.imshow(row.permute(2, 0, 3, 1).reshape(h, n * w, c).numpy(), interpolation="nearest")
        ax.set_title(folder.name, fontsize=9, loc="left", pad=2)
        ax.axis("off")
    figure.tight_layout(h_pad=0.4)
    figure.savefig(out, dpi=100, facecolor="white", bbox_inches="tight")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]])

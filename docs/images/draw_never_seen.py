"""What a peer holds beside what it draws: docs/images/never-seen.png.

    sim examples/mnist-pairs.yaml --set data.path=FOLDER --set algorithm.rounds=1000 --run-dir RUN
    python docs/images/draw_never_seen.py RUN docs/images/never-seen.png

Neither panel is chosen by hand: both are the first images of seed 0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray

from peer.experiment import load
from peer.quality.samples import draw_samples, load_generators
from sim.runs.simulate import shards

ROWS = 5
PEER = 0


def mosaic(images: torch.Tensor, columns: int) -> NDArray[np.float32]:
    """(rows * columns, 1, h, w) in [-1, 1] -> one picture (rows * h, columns * w) in [0, 1]."""
    grey = (images[:, 0].numpy() + 1) / 2
    n, h, w = grey.shape
    rows = grey.reshape(n // columns, columns, h, w)
    picture: NDArray[np.float32] = rows.transpose(0, 2, 1, 3).reshape(-1, columns * w)
    return picture


def draw(run: Path, out: Path) -> None:
    """The figure of one run of examples/mnist-pairs.yaml."""
    experiment = load(run / "experiment.yaml")
    images, indices = shards(experiment)[PEER]
    gan = experiment.build_gan(images.shape)
    file = run / f"peer-{PEER}" / "generator.safetensors"
    generator = load_generators({PEER: file}, gan)[PEER]
    chosen = np.random.default_rng(0).choice(np.asarray(indices), 6 * ROWS, replace=False)
    rounds = experiment.algorithm.settings["rounds"]
    panels = {
        f"peer {PEER} holds": mosaic(images.take(chosen), 6),
        f"peer {PEER} draws after {rounds:,} rounds": mosaic(
            draw_samples(generator, gan.z_dim, 14 * ROWS, seed=0), 14
        ),
    }
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 2.6), width_ratios=[6, 14])
    for ax, (title, picture) in zip(axes, panels.items(), strict=True):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=11, loc="left")
        ax.axis("off")
    figure.tight_layout(w_pad=1.5)
    figure.savefig(out, dpi=100, facecolor="white", bbox_inches="tight")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))

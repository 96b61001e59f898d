"""Extracting the moments of images' features, against a plain loop over the same features.

    python -m benchmarks.moments [--images 10000] [--size 28] [--channels 1] [--repeats 5]

What a peer does once, before its first round, with `metrics.quality_every`: features of its own
images by the fixed random net, a block at a time, and their count, sum and outer products in
float64. The plain loop extracts all features into one array and takes NumPy's mean and covariance
of it. One thread; the two in turn, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from peer.quality.random_features import random_features
from peer.quality.together.moments import Moments


def plain(images: torch.Tensor, net: Callable[[torch.Tensor], np.ndarray]) -> np.ndarray:
    features = np.concatenate([net(images[i : i + 512]) for i in range(0, len(images), 512)])
    return np.cov(features, rowvar=False)


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()  # of the processor: others may be busy on it, too
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    shape = (chosen.images, chosen.channels, chosen.size, chosen.size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    net = random_features(chosen.channels)
    ours, loop = [], []
    for _ in range(chosen.repeats):
        ours.append(seconds(lambda: Moments.of(net, images, net.dimension).gaussian()))
        loop.append(seconds(lambda: plain(images, net)))
    ratio = statistics.median(loop) / statistics.median(ours)
    print(f"moments {statistics.median(ours):.2f} s, plain loop {statistics.median(loop):.2f} s")
    print(f"speed of the plain loop's: {ratio:.2f}")


if __name__ == "__main__":
    main()

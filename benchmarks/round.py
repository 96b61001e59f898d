"""Seconds a round: `peer up` against the same work in one plain torch loop.

    python -m benchmarks.round [--rounds 300] [--repeats 3]

The loop holds five ordinary pairs of modules with five Adams, draws batches with torch, and
averages with Metropolis weights by list comprehension: what one would write in an afternoon, in one
process on one thread. `peer up` is five processes over ZeroMQ. Round times are medians over the
rounds of the slowest peer, start-up excluded; the ratio is the median over repeats taken in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import softplus

from benchmarks.record import write
from benchmarks.up import seconds_a_round

PEERS, BATCH = 5, 128
RING = {k: ((k - 1) % PEERS, (k + 1) % PEERS) for k in range(PEERS)}


def plain_loop(rounds: int) -> float:
    """Median seconds a round of the loop."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 8 - 1, dtype=torch.float32)
    shards = [images[torch.tensor(np.isin(labels, [2 * k, 2 * k + 1]))] for k in range(PEERS)]
    gs, ds = [], []
    for _ in range(PEERS):
        gs.append(
            nn.Sequential(
                nn.Linear(32, 128),
                nn.LeakyReLU(0.2),
                nn.Linear(128, 128),
                nn.LeakyReLU(0.2),
                nn.Linear(128, 64),
                nn.Tanh(),
            )
        )
        ds.append(
            nn.Sequential(
                nn.Linear(64, 128),
                nn.LeakyReLU(0.2),
                nn.Linear(128, 128),
                nn.LeakyReLU(0.2),
                nn.Linear(128, 1),
            )
        )
    settings = {"lr": 0.001, "betas": (0.5, 0.999)}
    optimizers = {
        "g": [torch.optim.Adam(g.parameters(), **settings) for g in gs],  # type: ignore[arg-type]
        "d": [torch.optim.Adam(d.parameters(), **settings) for d in ds],  # type: ignore[arg-type]
    }

    def average(nets: list[nn.Sequential]) -> None:
        with torch.no_grad():
            old = [[p.clone() for p in net.parameters()] for net in nets]
            for k, net in enumerate(nets):
                for i, p in enumerate(net.parameters()):
                    p.copy_((old[k][i] + sum(old[one][i] for one in RING[k])) / 3)

    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for k in range(PEERS):
            real = shards[k][torch.randint(len(shards[k]), (BATCH,))]
            with torch.no_grad():
                fake = gs[k](torch.randn(BATCH, 32))
            loss = softplus(-ds[k](real)).mean() + softplus(ds[k](fake)).mean()
            optimizers["d"][k].zero_grad()
            torch.autograd.backward(loss)
            optimizers["d"][k].step()
        average(ds)
        for k in range(PEERS):
            loss = softplus(-ds[k](gs[k](torch.randn(BATCH, 32)))).mean()
            optimizers["g"][k].zero_grad()
            torch.autograd.backward(loss)
            optimizers["g"][k].step()
        average(gs)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def peers_up(rounds: int) -> float:
    """Median seconds a round of the slowest peer."""
    return seconds_a_round(Path("examples/ring.yaml"), PEERS, [f"algorithm.rounds={rounds}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/round.json"))
    arguments = parser.parse_args()
    pairs = []
    for _ in range(arguments.repeats):
        pairs.append((plain_loop(arguments.rounds), peers_up(arguments.rounds)))
        print(
            f"plain loop {1e3 * pairs[-1][0]:.2f} ms, peer up {1e3 * pairs[-1][1]:.2f} ms a round"
        )
    ratio = statistics.median(real / loop for loop, real in pairs)
    print(f"peer up takes {ratio:.2f} times the plain loop's time (median of {len(pairs)})")
    write(arguments.record, {"loop_s": [p[0] for p in pairs], "up_s": [p[1] for p in pairs],
                             "ratio": ratio, "rounds": arguments.rounds})  # fmt: skip


if __name__ == "__main__":
    main()

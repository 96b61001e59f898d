"""Peer-rounds a second: the stacked and the event engine, and a plain loop, side by side.

    python -m benchmarks.peers [--peers 5 20 100 1000] [--nets mlp-digits mlp-1m dcgan28]

A peer-round is a step of D and one of G, and a combine of each with two neighbours on a ring. The
plain loop does the same work with ordinary torch: parameters are views of one flat matrix, one Adam
a net, batches drawn with torch, averaging by Metropolis weights on the matrix's rows. Every side
runs with one thread and with as many as there are cores, and the better counts; medians over
repetitions, taken in turn. ``sharded`` is two processes of one thread each, set against one process
of one thread and against the better of one process.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch

import algorithms
from benchmarks.loop import flat_loop, one_gan
from benchmarks.record import write
from peer.compute.execute import prepare_compute_thread
from peer.experiment import Experiment, from_mapping
from sim.engines.autotune import TRIALS
from sim.engines.eager import Engine, OneByOne
from sim.engines.stacked import Stacked
from sim.machine.cpu_affinity import cores
from sim.runs.simulate import drive, make_states
from sim.runs.simulate_sharded import run_in_processes

NETS: dict[str, dict[str, Any]] = {
    "mlp-digits": {"gan": "mlp-digits", "size": 8},
    "mlp-1m": {"gan": "mlp-1m", "size": 28},
    "dcgan28": {"gan": "dcgan28", "size": 28},
}
"""By name: the model, and the side of its images."""

SIDES = ("stacked", "auto", "event", "loop", "sharded")

RATIOS = (
    ("stacked", "event"),
    ("auto", "stacked"),
    ("auto", "event"),
    ("stacked", "limit"),
    ("sharded", "limit"),
    ("event", "loop"),
    ("sharded", "one thread"),
    ("sharded", "stacked"),
)


def experiment_of(net: str, peers: int, rounds: int, device: str = "cpu") -> Experiment:
    """A ring of peers with synthetic images of their own, batch 50, Adam."""
    spec = NETS[net]
    return from_mapping(
        {
            "peers": peers,
            "graph": "ring",
            "algorithm": {"name": "diffusion", "rounds": rounds},
            "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
            "gan": spec["gan"],
            "data": {
                "source": "synthetic",
                "images": 64,
                "size": spec["size"],
                "partition": "own",
            },
            "batch": 50,
            "checkpoint": 0,
            "device": device,
        }
    )


def of_engine(
    experiment: Experiment, make: Callable[[], Engine], threads: int, first: int = 3
) -> Callable[[int], float]:
    """Seconds a round of the simulator, peers made and the ``first`` rounds apart."""
    prepare_compute_thread(threads)
    states = make_states(experiment)
    engine = make()

    def seconds(rounds: int) -> float:
        torch.set_num_threads(threads)
        until = rounds + states[0].round
        varied = experiment.varied(algorithm={"name": "diffusion", "rounds": until})
        program = algorithms.find(varied)
        began = time.perf_counter()
        drive(varied, states, program, engine=engine)
        if experiment.device != "cpu":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / rounds

    seconds(first)
    return seconds


def sharded(experiment: Experiment, rounds: int, processes: int = 2) -> float:
    """Seconds a round of ``processes`` processes, starting them and the first rounds apart."""
    took = []
    for count in (3, rounds + 3):  # the second is recorded
        varied = experiment.varied(
            algorithm={"name": "diffusion", "rounds": count}, metrics={"every": 1000000}
        )
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            run_in_processes(varied, processes, run_dir=run, engine="stacked")
            summary = json.loads((run / "peer-0" / "summary.json").read_text())
            took.append(float(summary["seconds"]))
    return (took[1] - took[0]) / rounds


def compare(
    net: str, peers: int, repeats: int, device: str, names: Collection[str] = SIDES
) -> dict[str, float]:
    """Median seconds a round, by side, of the best number of threads."""
    experiment = experiment_of(net, peers, 0, device)
    sides: dict[tuple[str, int], Callable[[int], float]] = {}
    for threads in sorted({1, cores()}):
        if "stacked" in names:
            sides["stacked", threads] = of_engine(experiment, lambda t=threads: Stacked(t), 1)  # type: ignore[misc]
        if "auto" in names:
            sides["auto", threads] = of_engine(
                experiment,
                lambda t=threads: Stacked(t, auto=True),  # type: ignore[misc]
                1,
                first=2 * (TRIALS + 1),  # then it has chosen
            )
        if "event" in names:
            sides["event", threads] = of_engine(experiment, OneByOne, threads)
        if "loop" in names:
            sides["loop", threads] = flat_loop(experiment, threads)
        if "limit" in names:
            sides["limit", threads] = one_gan(experiment, threads)
        if device != "cpu":
            break
    rounds = {side: max(1, min(20, int(1.0 / of(1)))) for side, of in sides.items()}
    if "sharded" in names:
        sides["sharded", 1] = partial(sharded, experiment)
        rounds["sharded", 1] = max(5, 8 * rounds["stacked", 1])  # that starting them counts less
    times: dict[tuple[str, int], list[float]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, of in sides.items():
            times[side].append(of(rounds[side]))
    best: dict[str, float] = {}
    for (name, threads), of_side in times.items():
        took = statistics.median(of_side)
        best[name] = min(best.get(name, math.inf), took)
        if name == "stacked" and threads == 1:
            best["one thread"] = took
    return best


def show(title: str, peers: int, best: dict[str, float]) -> None:
    """Print rates and ratios."""
    rates = ", ".join(f"{name} {peers / s:,.0f}" for name, s in best.items())
    print(f"{title}: peer-rounds a second: {rates}")
    for over, under in RATIOS:
        if over in best and under in best:
            print(f"    {over} / {under}: {best[under] / best[over]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[5, 20, 100, 1000])
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/peers.json"))
    arguments = parser.parse_args()
    if "sharded" in arguments.sides and "stacked" not in arguments.sides:
        parser.error("--sides: sharded is set against stacked; name both")
    found = {}
    for net in arguments.nets:
        for peers in arguments.peers:
            best = compare(net, peers, arguments.repeats, arguments.device, arguments.sides)
            found[f"{net}, K = {peers}"] = best
            show(f"{net}, K = {peers}", peers, best)
    write(arguments.record, {"seconds_a_round": found})


if __name__ == "__main__":
    main()

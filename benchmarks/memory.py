"""Bytes that a peer of the stacked engine costs, beyond its data, as a multiple of its parameters.

    python -m benchmarks.memory [--net mlp-digits] [--peers 500 1500]

Two runs of different numbers of peers, each in a process of its own; the difference of their
largest resident memory, less the peers' images, divided by the peers between them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import algorithms
from benchmarks.peers import NETS, experiment_of
from benchmarks.record import write
from peer.compute.execute import prepare_compute_thread
from sim.engines.stacked import Stacked
from sim.runs.simulate import drive, make_states

OPTIMIZERS = {"adam": {"name": "adam", "lr": 0.001}, "sgd": {"name": "sgd", "lr": 0.01}}


def measure(net: str, peers: int, optimizer: str) -> dict[str, int]:
    """Largest resident bytes of this process after three rounds, and what the data take of them."""
    prepare_compute_thread(1)
    experiment = experiment_of(net, peers, 3).varied(optimizer=OPTIMIZERS[optimizer])
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment), engine=Stacked(1))
    shards = [state.shard.pixels for state in states.values() if state.shard]
    nets = states[0].nets.values()
    return {
        "resident": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "data": sum(pixels.nbytes for pixels in shards),
        "parameters": 4 * sum(each.arena.layout.parameter_count for each in nets),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="mlp-digits", choices=list(NETS))
    parser.add_argument("--peers", type=int, nargs=2, default=[500, 1500])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # peers, optimizer: a child's
    parser.add_argument("--record", type=Path, default=Path("benchmarks/memory.json"))
    arguments = parser.parse_args()
    if arguments.one:
        peers, optimizer = arguments.one
        print(json.dumps(measure(arguments.net, int(peers), optimizer)))
        return
    found = {}
    for optimizer in OPTIMIZERS:
        sides = []
        for peers in arguments.peers:
            command = [sys.executable, "-m", "benchmarks.memory", "--net", arguments.net]
            command += ["--one", str(peers), optimizer]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            sides.append(json.loads(out.splitlines()[-1]))
        few, many = sides
        more = arguments.peers[1] - arguments.peers[0]
        cost = (many["resident"] - few["resident"] - many["data"] + few["data"]) / more
        found[optimizer] = cost / few["parameters"]
        print(f"{arguments.net}, {optimizer}: {cost:,.0f} bytes a peer beyond its data, "
              f"{found[optimizer]:.2f} x its parameters' {few['parameters']:,}")  # fmt: skip
    write(arguments.record, {"net": arguments.net, "of_parameters": found})


if __name__ == "__main__":
    main()

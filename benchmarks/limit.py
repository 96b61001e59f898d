"""How far the stacked engine is from what the machine can do at all.

    python -m benchmarks.limit [--peers 100] [--nets mlp-digits] [--ring 20 100 1000]

The arithmetic limit: one GAN on mini-batches as large as all peers' together, which it draws from
one stream; it neither combines nor records. ``stacked`` is one process on all cores, ``sharded``
two of one thread. The limit of combining: copying the matrix of all peers' parameters once, on all
cores; what is timed is all that the engine does between the last peer's arrival and the first one's
going on. Medians over turns, both sides in every turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

import algorithms
from benchmarks.peers import NETS, compare, experiment_of, show
from benchmarks.record import write
from peer.effects import Combine
from peer.peer import Peer
from sim.engines.stacked import Stacked
from sim.engines.stacked_arenas import matrix_of
from sim.machine.cpu_affinity import cores
from sim.runs.simulate import make_states
from sim.simulated_peer.simulated_peer import SimulatedPeer


def combining(net: str, peers: int, repeats: int) -> dict[str, float]:
    """Median seconds of combining one net of all peers on a ring, and of copying its matrix."""
    experiment = experiment_of(net, peers, 0)
    program = algorithms.find(experiment)
    engine, name = Stacked(cores()), "generator"
    simulated = {}
    for k, state in make_states(experiment).items():
        peer = Peer(state, experiment.schedule, experiment.weights)
        simulated[k] = SimulatedPeer(peer, program.start(peer))
    W, _ = matrix_of([p.state.nets[name].arena.vector for p in simulated.values()])
    copied = torch.empty_like(W)
    times: dict[str, list[float]] = {"combine": [], "copy": []}
    for _ in range(repeats):
        values = {k: each.snapshot(name) for k, each in simulated.items()}
        for k, each in simulated.items():
            received = {j: values[j] for j in sorted({(k - 1) % peers, (k + 1) % peers})}
            effect = Combine(name, {}, dict.fromkeys(received, 1 / 3))
            engine.combine(each, effect, values[k], received)
        del values, received
        began = time.perf_counter()
        engine.flush(simulated[0])
        times["combine"].append(time.perf_counter() - began)
        torch.set_num_threads(cores())
        began = time.perf_counter()
        copied.copy_(W)
        times["copy"].append(time.perf_counter() - began)
        torch.set_num_threads(1)
    for each in simulated.values():
        each.running.close()  # no coroutine was meant to begin
    return {side: statistics.median(of) for side, of in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[100])
    parser.add_argument("--nets", nargs="+", default=["mlp-digits"], choices=list(NETS))
    parser.add_argument("--ring", type=int, nargs="+", default=[20, 100, 1000])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--record", type=Path, default=Path("benchmarks/limit.json"))
    arguments = parser.parse_args()
    rounds, combines = {}, {}
    for net in arguments.nets:
        for peers in arguments.peers:
            title = f"{net}, K = {peers}"
            sides = {"stacked", "limit"} | ({"sharded"} if arguments.device == "cpu" else set())
            best = compare(net, peers, arguments.repeats, arguments.device, sides)
            rounds[title] = best
            show(title, peers, best)
        for peers in arguments.ring:
            title = f"{net}, K = {peers}"
            combines[title] = found = combining(net, peers, 3 * arguments.repeats)
            took, least = found["combine"], found["copy"]
            print(f"{title}: combine {1e3 * took:.2f} ms, copy {1e3 * least:.2f} ms")
            print(f"    combine / copy: {took / least:.2f}")
    write(arguments.record, {"seconds_a_round": rounds, "seconds": combines})


if __name__ == "__main__":
    main()

"""One small work, simulated by hearsay, by loops, and by another simulator.

    python -m benchmarks.rivals [--peers 5 20 100] [--repeats 9]

Every peer of a ring holds 64 images (28x28) in ten classes. In a round it takes one step of SGD, on
50 of them, with an MLP 784-50-10 and cross-entropy, and the mean with its two neighbours. All sides
compute on one thread, and take turns; what is measured is processor time, which other jobs on the
machine disturb less, and ratios are medians over turns. The sides are:

- *bare loop*: a module and an optimizer a peer, averaged parameter by parameter;
- *flat loop*: modules that are views of one matrix's rows, one step and one mean of the matrix;
- *hearsay*, its two engines: the coroutine of :mod:`benchmarks.classifier`;
- *gossipy* (pip install gossipy-dfl, and the torchvision of this torch), if it is installed. There,
  a peer gets the model of one neighbour a round, not of two: less work.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import torch
from torch.nn.functional import cross_entropy

from benchmarks.classifier import CLASSES, classify, layers
from benchmarks.record import write
from peer.compute.execute import prepare_compute_thread
from peer.experiment import from_mapping
from peer.gan import Layout
from peer.program import Program
from sim.engines.eager import Engine, OneByOne
from sim.engines.stacked import Stacked
from sim.runs.simulate import drive, make_states

Rounds = Callable[[int], None]
"""Computes so many rounds."""

IMAGES, BATCH, RATE = 64, 50, 0.1


def data(peers: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Every peer's images (n, 1, 28, 28) and classes (n,)."""
    draw = torch.Generator().manual_seed(0)
    return [
        (
            torch.rand(IMAGES, 1, 28, 28, generator=draw),
            torch.randint(CLASSES, (IMAGES,), generator=draw),
        )
        for _ in range(peers)
    ]


def bare_loop(peers: int) -> Rounds:
    """What one would write first."""
    nets = [layers() for _ in range(peers)]
    optimizers = [torch.optim.SGD(net.parameters(), lr=RATE) for net in nets]
    owned = data(peers)

    def rounds(count: int) -> None:
        for _ in range(count):
            for net, optimizer, (x, y) in zip(nets, optimizers, owned, strict=True):
                i = torch.randint(IMAGES, (BATCH,))
                loss = cross_entropy(net(x[i]), y[i])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
            with torch.no_grad():
                old = [[p.clone() for p in net.parameters()] for net in nets]
                for k, net in enumerate(nets):
                    left, right = old[k - 1], old[(k + 1) % peers]
                    for p, a, b in zip(net.parameters(), left, right, strict=True):
                        p.add_(a).add_(b).div_(3)

    return rounds


def flat_loop(peers: int) -> Rounds:
    """What one would write next."""
    template = layers()
    layout = Layout.of(template)
    W = torch.zeros(peers, layout.length)
    G = torch.zeros(peers, layout.length)
    nets = [copy.deepcopy(template) for _ in range(peers)]
    for net, w, g in zip(nets, W, G, strict=True):
        slots = {slot.name: slot for slot in layout.slots}
        for name, parameter in net.named_parameters():
            view = layout.view(w, slots[name]).copy_(parameter.detach())
            parameter.data, parameter.grad = view, layout.view(g, slots[name])
    owned = data(peers)
    around = torch.arange(peers)

    def rounds(count: int) -> None:
        for _ in range(count):
            G.zero_()
            for net, (x, y) in zip(nets, owned, strict=True):
                i = torch.randint(IMAGES, (BATCH,))
                torch.autograd.backward(cross_entropy(net(x[i]), y[i]))
            W.sub_(G, alpha=RATE)
            W.copy_((W + W[around - 1] + W[(around + 1) % peers]) / 3)

    return rounds


def hearsay(peers: int, engine: Callable[[], Engine]) -> Rounds:
    """The simulator, without records."""
    experiment = from_mapping(
        {
            "peers": peers,
            "graph": "ring",
            "algorithm": {"name": "classify"},
            "gan": "benchmarks.classifier:nets",
            "optimizer": {"name": "sgd", "lr": RATE},
            "data": {"source": "synthetic", "images": IMAGES, "size": 28, "partition": "own"},
            "batch": BATCH,
            "checkpoint": 0,
        }
    )

    def program(until: int) -> Program:
        return Program(
            "classify", partial(classify, rounds=until), until, nets=lambda k: ("discriminator",)
        )

    states = make_states(experiment, program=program(0))
    computing = engine()

    def rounds(count: int) -> None:
        drive(experiment, states, program(states[0].round + count), engine=computing)

    return rounds


def gossipy(peers: int) -> Rounds | None:
    """Gossip learning as gossipy simulates it; None where it is not installed."""
    try:
        core, node, simul, model, handler = (
            importlib.import_module(f"gossipy.{name}")
            for name in ("core", "node", "simul", "model", "model.handler")
        )
    except ImportError as problem:
        print(f"gossipy is left out: {problem}")
        return None

    class Net(model.TorchModel):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layers(x)
            return y

        def init_weights(self) -> None:
            """They are torch's."""

    class NoTest:
        def has_test(self) -> bool:
            return False

    ring = nx.to_scipy_sparse_array(nx.cycle_graph(peers)).toarray()
    network = core.StaticP2PNetwork(peers, ring)
    settings: dict[str, Any] = {"local_epochs": 0, "batch_size": BATCH}  # one mini-batch
    nodes = {}
    for k, owned in enumerate(data(peers)):
        learner = handler.TorchModelHandler(
            Net(), torch.optim.SGD, {"lr": RATE}, cross_entropy, **settings
        )
        nodes[k] = node.GossipNode(k, (owned, None), 1, learner, network)
    simulator = simul.GossipSimulator(nodes, NoTest(), 1, core.AntiEntropyProtocol.PUSH)
    simulator.init_nodes()
    rounds: Rounds = simulator.start
    return rounds


SIDES: dict[str, Callable[[int], Rounds | None]] = {
    "bare loop": bare_loop,
    "flat loop": flat_loop,
    "gossipy": gossipy,
    "hearsay, event": partial(hearsay, engine=OneByOne),
    "hearsay, stacked": partial(hearsay, engine=lambda: Stacked(1)),
}


def compare(peers: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of processor a round in every turn, by side."""
    sides = {name: rounds for name, make in SIDES.items() if (rounds := make(peers)) is not None}
    counts = {}
    for name, rounds in sides.items():
        rounds(4)  # the stacked engine records its steps in the second round
        began = time.process_time()
        rounds(2)
        counts[name] = max(2, min(100, int(0.6 / (time.process_time() - began))))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, rounds in sides.items():
            began = time.process_time()
            rounds(counts[name])
            times[name].append((time.process_time() - began) / counts[name])
    return times


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    """How many times as fast ``over`` is as ``under``: the median over turns."""
    pairs = zip(times[under], times[over], strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/rivals.json"))
    arguments = parser.parse_args()
    prepare_compute_thread(1)
    found = {}
    for peers in arguments.peers:
        found[f"K = {peers}"] = times = compare(peers, arguments.repeats)
        print(f"K = {peers}")
        for name, of_side in times.items():
            took = f"{1e3 * statistics.median(of_side):9.2f} ms a round"
            print(f"    {name:17}{took}, stacked {ratio(times, 'hearsay, stacked', name):6.2f} x")
    write(arguments.record, {"seconds_a_round": found})


if __name__ == "__main__":
    main()

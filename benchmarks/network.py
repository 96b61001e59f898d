"""Rounds of `peer up` against the same rounds written by hand on torch.distributed's gloo.

    python -m benchmarks.network [--net mlp-1m] [--rounds 60] [--repeats 3] [--sides NAME...]

Five processes on a ring either way, peers with and without checksums, with and without agreement
at both ends of a link, and with a journal beside (gloo has none of it). By hand:
ordinary modules and Adam, parameters flattened, sent to both neighbours and received from them with
isend and irecv, averaged by Metropolis weights. Seconds a round are medians over the rounds of the
slowest process, start-up apart; the ratios are medians over repeats taken in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from operator import truediv
from pathlib import Path

import torch
import torch.distributed as dist
import yaml
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from benchmarks.peers import NETS, experiment_of
from benchmarks.record import write
from benchmarks.up import seconds_a_round
from peer.compute.execute import prepare_compute_thread
from sim.runs.simulate import shards
from sim.sharding.collectives import Communicator, launch

PEERS = 5


def by_hand(communicator: Communicator, net: str, rounds: int, record: str) -> None:
    """One process's part; it leaves the seconds of its rounds."""
    prepare_compute_thread(1)
    k, experiment = communicator.rank, experiment_of(net, PEERS, rounds)
    images, part = shards(experiment)[k]
    assert part is not None
    data = images.take(part)
    gan = experiment.build_gan(images.shape)
    loss = experiment.loss_functions()
    nets = {"g": gan.generator, "d": gan.discriminator}
    optimizers = {
        name: torch.optim.Adam(module.parameters(), lr=0.001, betas=(0.5, 0.999), fused=True)
        for name, module in nets.items()
    }
    neighbours = ((k - 1) % PEERS, (k + 1) % PEERS)

    def average(name: str) -> None:
        own = parameters_to_vector(nets[name].parameters()).detach()
        received = [torch.empty_like(own) for _ in neighbours]
        waiting = [dist.isend(own, other) for other in neighbours]
        waiting += [
            dist.irecv(into, other) for into, other in zip(received, neighbours, strict=True)
        ]
        for each in waiting:
            assert each is not None
            each.wait()
        vector_to_parameters((own + sum(received)) / 3, nets[name].parameters())

    def step(name: str, value: torch.Tensor) -> None:
        optimizers[name].zero_grad()
        torch.autograd.backward(value, inputs=list(nets[name].parameters()))
        optimizers[name].step()

    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        real = data[torch.randint(len(data), (experiment.batch,))]
        with torch.no_grad():
            fake = nets["g"](torch.randn(experiment.batch, gan.z_dim))
        step("d", loss.discriminator(nets["d"](real), nets["d"](fake)))
        average("d")
        z = torch.randn(experiment.batch, gan.z_dim)
        step("g", loss.generator(nets["d"](nets["g"](z))))
        average("g")
        times.append(time.perf_counter() - began)
    Path(f"{record}-{k}.json").write_text(json.dumps(statistics.median(times)))


def of_gloo(net: str, rounds: int) -> float:
    """Median seconds a round of the slowest process."""
    with tempfile.TemporaryDirectory() as folder:
        launch(by_hand, PEERS, net, rounds, f"{folder}/times")
        return max(float(json.loads(path.read_text())) for path in Path(folder).iterdir())


def of_peers(net: str, rounds: int, checksum: bool, durability: str = "none") -> float:
    """The same of `peer up`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ring.yaml"
        experiment = experiment_of(net, PEERS, rounds).varied(
            checksum=checksum, durability=durability
        )
        file.write_text(yaml.safe_dump(experiment.resolved()))
        return seconds_a_round(file, PEERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="mlp-1m", choices=list(NETS))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", nargs="*", help="Those alone.")
    parser.add_argument("--record", type=Path, default=Path("benchmarks/network.json"))
    arguments = parser.parse_args()
    sides: dict[str, Callable[[], float]] = {
        "by hand": lambda: of_gloo(arguments.net, arguments.rounds),
        "peer up": lambda: of_peers(arguments.net, arguments.rounds, checksum=False),
        "peer up, checksums": lambda: of_peers(arguments.net, arguments.rounds, checksum=True),
        "peer up, agreement": lambda: of_peers(arguments.net, arguments.rounds, True, "interval"),
        "peer up, journal": lambda: of_peers(arguments.net, arguments.rounds, True, "exact"),
    }
    for side in set(arguments.sides or ()) - sides.keys():
        parser.error(f"--sides: {side!r} is none of {', '.join(map(repr, sides))}")
    sides = {side: of for side, of in sides.items() if side in (arguments.sides or sides)}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(arguments.repeats):
        for side, of in sides.items():
            seconds[side].append(of())
        print(
            ", ".join(f"{side} {1e3 * took[-1]:.1f} ms a round" for side, took in seconds.items())
        )
    ratios = {}
    for side, took in seconds.items() if "by hand" in seconds else ():
        ratios[side] = statistics.median(map(truediv, seconds["by hand"], took))
        print(f"{side}: {ratios[side]:.2f} times as fast as by hand (median of {len(took)})")
    for what in ("agreement", "journal"):
        pair = [seconds.get(f"peer up, {side}", []) for side in (what, "checksums")]
        if all(pair):
            ratios[f"{what} / none"] = statistics.median(map(truediv, *pair))
            print(f"a round with {what}: {ratios[f'{what} / none']:.3f} times as long as without")
    found = {"net": arguments.net, "seconds_a_round": seconds, "ratios": ratios}
    write(arguments.record, found)


if __name__ == "__main__":
    main()

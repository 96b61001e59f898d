"""The same file and seed give the same bits over ZeroMQ and in the event driver."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sim
import sim.__main__
from peer.console import run_app
from peer.experiment import Experiment
from tests.real.conftest import SMALL, free_addresses
from tests.support.processes import Processes
from tests.support.systems import keys_of

Experiments = Callable[..., Experiment]
Threads = Callable[[Experiment], dict[int, str]]

CASES: dict[str, dict[str, Any]] = {
    "combine-then-adapt": {
        "algorithm": {"name": "diffusion", "rounds": 4, "order": "combine-then-adapt", "n_d": 2}
    },
    "consensus": {"algorithm": {"name": "diffusion", "rounds": 4, "order": "consensus"}},
    "local steps": {"algorithm": {"name": "diffusion", "rounds": 3, "local_steps": 3}},
    "overlap": {"algorithm": {"name": "diffusion", "rounds": 4, "overlap": True, "n_d": 2}},
    "overlap, several steps, int8": {
        "algorithm": {"name": "diffusion", "rounds": 4, "overlap": True, "local_steps": 2},
        "compression": "int8",
    },
    "overlap, matchings": {
        "algorithm": {"name": "diffusion", "rounds": 4, "overlap": True},
        "graph": {"schedule": "random-matching", "of": "ring"},
    },
    "nobody talks": {"algorithm": {"name": "local", "rounds": 4}},
    "uniform weights on a star": {"graph": "star", "weights": "uniform"},
    "own beginnings, least squares, momentum": {
        "init": "own",
        "loss": "lsgan",
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
    },
    "penalties of both kinds": {
        "loss": {"name": "wgan", "gradient_penalty": 10, "r1": 1.0, "r1_every": 3}
    },
    "hinge": {"loss": "hinge"},
    "wgan": {"loss": "wgan"},
    "cosine, warm-up": {
        "optimizer": {"name": "adam", "lr": 0.01, "schedule": "cosine", "warmup": 2}
    },
    "steps that overflow and are skipped": {
        "loss": "lsgan",
        "optimizer": {"name": "sgd", "lr": 1e12},
    },
    "residual nets, spectral norm": {
        "gan": {"name": "resnet32", "width": 2, "z": 8},
        "data": {
            "source": "synthetic",
            "images": 12,
            "size": 32,
            "channels": 3,
            "partition": "own",
        },
        "loss": {"name": "hinge", "r1": 1.0, "r1_every": 2},
        "batch": 4,
    },
    "two peers": {"peers": 2, "graph": "path"},
    "one peer, centralised": {"peers": 1, "data": {"source": "digits", "partition": "all"}},
}


@pytest.mark.parametrize("name", CASES)
def test_threads_over_zeromq_equal_the_event_driver(
    name: str, experiment_of: Experiments, run_in_threads: Threads, tmp_path: Path
) -> None:
    experiment = experiment_of(**CASES[name])
    simulated = sim.run(experiment, run_dir=tmp_path / "sim", report=False)
    assert run_in_threads(experiment) == simulated.arena_blake2b
    assert len(set(simulated.arena_blake2b.values())) == experiment.peers  # they did train


def test_the_order_of_arrival_does_not_matter(
    experiment_of: Experiments, run_in_threads: Threads, tmp_path: Path
) -> None:
    calm = sim.run(experiment_of(), run_dir=tmp_path / "calm", report=False)
    stormy = sim.run(
        experiment_of(network={"delay": 0.01, "jitter": 5.0}), run_dir=tmp_path / "s", report=False
    )
    assert calm.arena_blake2b == stormy.arena_blake2b


def digests_of(run: Path, peers: int) -> dict[int, str]:
    summaries = [json.loads((run / f"peer-{k}" / "summary.json").read_text()) for k in range(peers)]
    return {summary["peer"]: summary["arena_blake2b"] for summary in summaries}


AS_PROCESSES = (
    "fedprox",
    "ditto",
    "gossip, sum-weight",
    "fegan",
    "oasis",
    "mdgan",
    "selective update",
    "average output",
    "sequential, serverless",
)
"""One set-up of every system; all of them run in threads in ``test_published_systems``."""


def simulate(file: Path, folder: Path) -> dict[int, str]:
    """What the command ``sim`` leaves of an experiment of five, by peer."""
    words = ["run", str(file), "--engine", "event", "--run-dir", str(folder), "--no-report"]
    with pytest.raises(SystemExit) as ended:
        run_app(sim.__main__.app, words)
    assert ended.value.code == 0
    return digests_of(folder, 5)


@pytest.mark.parametrize(
    "system",
    ["diffusion", *(pytest.param(system, marks=pytest.mark.slow) for system in AS_PROCESSES)],
)
def test_peer_up_equals_sim(system: str, processes: Processes) -> None:
    """As processes of their own, through the two commands."""
    keys = SMALL if system == "diffusion" else keys_of(system, rounds=2)
    file = processes.write(keys | {"addresses": free_addresses(5)})
    up = ["peer", "up", "--topology", file, "--run-dir", "real", "--no-report"]
    real = processes.start("-m", *up)
    assert real.wait(timeout=240) == 0, real.communicate()[0]
    simulation = ["sim", file, "--engine", "event", "--run-dir", "sim", "--no-report"]
    simulated = processes.start("-m", *simulation)
    assert simulated.wait(timeout=120) == 0, simulated.communicate()[0]
    digests = digests_of(processes.folder / "real", 5)
    assert digests == digests_of(processes.folder / "sim", 5)
    assert len(set(digests.values())) > 1


def test_peers_in_processes_of_their_own_equal_sim_in_every_system(processes: Processes) -> None:
    """A process a peer, which runs the systems one after another: none starts more than once."""
    files = {}
    for system in AS_PROCESSES:
        keys = keys_of(system, rounds=2) | {"addresses": free_addresses(5)}
        files[system] = processes.write(keys, f"{system}.yaml")
    for system in ("mdgan", "average output"):  # threads would share torch's one generator
        keys = keys_of(system, rounds=2) | {"addresses": free_addresses(5), "gan": "mlpgan"}
        name = f"{system}, dropout"
        files[name] = processes.write(keys, f"{name}.yaml")
    run = processes.folder / "real"
    script = Path(__file__).with_name("peer_after_peer.py")
    peers = [processes.start(script, str(k), run, *files.values()) for k in range(5)]
    said = [peer.communicate(timeout=240)[0] for peer in peers]
    assert [peer.returncode for peer in peers] == [0] * 5, said
    assert [text.count("ended with 0") for text in said] == [len(files)] * 5, said
    real = {system: digests_of(run / file.stem, 5) for system, file in files.items()}
    simulated = {s: simulate(file, processes.folder / "sim" / s) for s, file in files.items()}
    assert real == simulated
    assert all(len(set(digests.values())) > 1 for digests in real.values())


@pytest.mark.real_data
def test_seven_peers_with_a_dcgan_on_mnist(processes: Processes, real_data: Path) -> None:
    """A random graph, batch-norm statistics in the arena, chunks of several hundred kilobytes."""
    keys = SMALL | {
        "peers": 7,
        "graph": {"family": "erdos-renyi", "p": 0.4},
        "algorithm": {"name": "diffusion", "rounds": 2, "n_d": 2},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "gan": "dcgan28",
        "data": {"source": "idx", "path": str(real_data / "mnist"), "partition": "iid"},
        "addresses": free_addresses(7),
    }
    file = processes.write(keys)
    up = processes.start("-m", "peer", "up", "--topology", file, "--run-dir", "real", "--no-report")
    assert up.wait(timeout=280) == 0, up.communicate()[0]
    simulated = sim.run(file, run_dir=processes.folder / "sim", report=False)
    real = digests_of(processes.folder / "real", 7)
    assert real == simulated.arena_blake2b
    assert len(set(real.values())) == 7

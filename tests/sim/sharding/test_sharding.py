"""Several processes simulate what one does, up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import algorithms
import sim
from peer.console import run_app
from peer.data import load_source
from peer.experiment import from_mapping
from sim.__main__ import app
from sim.records.quality_log import read_quality_log
from sim.records.reader import read_run
from sim.runs import simulate_sharded
from sim.runs.simulate import check_states, make_states, shards
from sim.runs.simulate_sharded import run_in_processes, run_rank
from sim.sharding.collectives import Communicator
from sim.sharding.disagreement import SharedDisagreement
from sim.sharding.partition import partition_peers, peers_of_rank
from tests.support.systems import PLAIN, keys_of
from tests.support.warm_ranks import WarmRanks
from topology import UserError

SGD = {"optimizer": {"name": "sgd", "lr": 0.01}}


def assert_equal_runs(one: Path, other: Path, peers: int) -> None:
    left = [read_run(run) for run in (one, other)]
    assert left[0].unfinished == left[1].unfinished
    for k in range(peers):
        for net in ("generator", "generator_ema"):
            file = f"peer-{k}/{net}.safetensors"
            assert (one / file).exists() == (other / file).exists()
            if (one / file).exists():
                ours, theirs = load_file(one / file), load_file(other / file)
                for name, tensor in ours.items():
                    torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5)
        said = [json.loads((run / f"peer-{k}/summary.json").read_text()) for run in (one, other)]
        assert said[0]["bytes_out"] == said[1]["bytes_out"]
        assert said[0]["missing"] == said[1]["missing"]
        times = [[record.seconds for record in run.records[k]] for run in left]
        assert times[0] == pytest.approx(times[1], abs=1e-5)


def network_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "network.jsonl").read_text().splitlines()]


def diffusion(rounds: int) -> dict[str, Any]:
    return PLAIN | {"graph": "ring", "algorithm": {"name": "diffusion", "rounds": rounds}}


CASES = {
    "delays": diffusion(3) | {"network": {"delay": 0.1, "jitter": 0.5}},
    "losses": diffusion(8) | {"network": {"loss": 0.3}, "deadline": 1.0},
    "losses, delays": diffusion(8)
    | {"network": {"loss": 0.3, "delay": 0.1, "jitter": 0.5}, "deadline": 1.0},
    "away": diffusion(8) | {"faults": [{"peer": 2, "down": 0.0045, "up": 40.0}], "deadline": 3.0},
    "left behind": diffusion(90)
    | {
        "faults": [{"peer": 2, "down": 1.05, "up": 14.0}],
        "deadline": 0.1,
        "network": {"step": 0.1},
    },
    "a slow peer, and a deadline that adapts": diffusion(60)
    | {
        "deadline": "auto",
        "devices": {
            "default": {"seconds": {"discriminator": 0.5, "generator": 0.5}},
            1: {"seconds": {"discriminator": 5.0, "generator": 5.0}},
        },
        "network": {"delay": 0.05, "jitter": 0.1},
    },
    "everything, and a deadline that adapts": diffusion(40)
    | {
        "deadline": "auto",
        "devices": {
            "default": {"seconds": {"discriminator": 0.5, "generator": 0.5}},
            1: {"seconds": {"discriminator": 5.0, "generator": 5.0}},
        },
        "network": {"loss": 0.1, "delay": 0.05, "downlink": 50.0},
        "faults": [{"peer": 3, "down": 20.0, "up": 70.0}],
    },
    "fedavg, a deadline that adapts": keys_of("fedavg", 8)
    | {
        "deadline": "auto",
        "devices": {
            "default": {"seconds": {"discriminator": 0.5, "generator": 0.5}},
            1: {"seconds": {"discriminator": 5.0, "generator": 5.0}},
        },
    },
    "gone": diffusion(8) | {"faults": [{"peer": 1, "down": 0.0045}], "deadline": 3.0},
    "everything": diffusion(12)
    | {
        "network": {"loss": 0.2, "delay": 0.05, "jitter": 2.0},
        "faults": [
            {"peer": 2, "down": 3.1, "up": 9.7},
            {"peer": 0, "down": 5.3},
            {"peer": 4, "down": 1.9, "up": 4.1},
        ],
        "deadline": 1.7,
    },
    "fedavg": keys_of("fedavg, half of them", 3),
    "mdgan": keys_of("mdgan", 3),
    "serverless": keys_of("sequential, serverless", 3),
    "penalties": diffusion(4)
    | {"loss": {"name": "wgan", "gradient_penalty": 10, "r1": 1.0, "r1_every": 3}},
    "hinge": diffusion(3) | {"loss": "hinge"},
    "cosine, warm-up": diffusion(4),
    "steps that overflow and are skipped": diffusion(3) | {"loss": "lsgan"},
    "residual nets, spectral norm": {
        "peers": 4,
        "graph": "ring",
        "algorithm": {"name": "diffusion", "rounds": 2},
        "gan": {"name": "resnet32", "width": 2, "z": 8},
        "data": {
            "source": "synthetic",
            "images": 12,
            "size": 32,
            "channels": 3,
            "partition": "own",
        },
        "loss": "hinge",
        "batch": 4,
    },
    "nobody talks": PLAIN | {"graph": "ring", "algorithm": {"name": "local", "rounds": 6}},
    "fegan, slow links": keys_of("fegan", 3)
    | {"network": {"delay": 0.1, "jitter": 0.5, "bandwidth": 10.0, "uplink": 20.0}},
    "told classes, augmented, averaged": diffusion(3)
    | {
        "conditional": True,
        "augment": ["translation", "flip"],
        "ema": {"decay": 0.5, "combine": True},
    },
    "dposg": keys_of("dposg", 3),
    "dss-og": keys_of("dss-og, everything that is drawn", 3),
    "one channel for all": diffusion(3) | {"network": {"channel": 10.0}},
    "mdgan, narrow downlinks": keys_of("mdgan", 3) | {"network": {"downlink": 10.0}},
    "fedavg, losses": keys_of("fedavg", 8) | {"network": {"loss": 0.3}, "deadline": 1.0},
    "gossip, everything": keys_of("gossip", 8)
    | {
        "network": {"loss": 0.2, "jitter": 2.0, "channel": 20.0, "downlink": 10.0},
        "faults": [{"peer": 2, "down": 3.1, "up": 9.7}, {"peer": 0, "down": 5.3}],
        "deadline": 1.7,
    },
}

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "cosine, warm-up": {
        "optimizer": {"name": "sgd", "lr": 0.05, "schedule": "cosine", "warmup": 2}
    },
    "steps that overflow and are skipped": {"optimizer": {"name": "sgd", "lr": 1e12}},
}
"""Of the cases in which it is not plain SGD's."""


@pytest.fixture(scope="module")
def warm_ranks() -> Iterator[WarmRanks]:
    """Two processes for all the tests of this file that do not look at how they are started."""
    made = WarmRanks()
    yield made
    made.end()


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(
    case: str, warm_ranks: WarmRanks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case != "everything":  # one case in processes that are started for it and end with it
        monkeypatch.setattr(simulate_sharded, "launch", warm_ranks.launch)
    experiment = from_mapping(CASES[case] | SGD | OPTIMIZERS.get(case, {}))
    alone = sim.run(experiment, run_dir=tmp_path / "one", report=False)
    shared = run_in_processes(experiment, 2, run_dir=tmp_path / "two")
    assert shared.bytes_out == alone.bytes_out
    assert (alone.bytes_out > 0) == (case != "nobody talks")
    assert shared.virtual_seconds == pytest.approx(alone.virtual_seconds, abs=1e-5)
    assert list(shared.arena_blake2b) == list(range(experiment.peers))
    assert_equal_runs(tmp_path / "one", tmp_path / "two", experiment.peers)
    for one, two in zip(network_of(tmp_path / "one"), network_of(tmp_path / "two"), strict=True):
        assert one["round"] == two["round"]
        for net, value in one["disagreement"].items():
            assert two["disagreement"][net] == pytest.approx(value, rel=1e-3, abs=1e-9)


def _counting(communicator: Communicator, keys: dict[str, Any], folder: str, most: int) -> None:
    """Run one rank's part; it synchronises at ``most`` so often, and no sums pile up."""
    synchronisations, waiting = [], []
    all_to_all, reported = communicator.all_to_all, SharedDisagreement.reported

    def counted(*arguments: Any) -> Any:
        synchronisations.append(arguments)
        return all_to_all(*arguments)

    def watched(shared: SharedDisagreement, *arguments: Any) -> None:
        reported(shared, *arguments)
        waiting.append(len(shared._waiting))

    experiment = from_mapping(keys)
    program = algorithms.find(experiment)
    own = peers_of_rank(experiment.graph_of_peers, communicator.size, communicator.rank)
    states = make_states(experiment, own, program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(communicator, "all_to_all", counted)
        patch.setattr(SharedDisagreement, "reported", watched)
        run_rank(communicator, experiment, program, states, Path(folder), "stacked")
    assert len(synchronisations) <= most
    assert 0 < max(waiting) <= 2


@pytest.mark.parametrize(("name", "a_round"), [("diffusion", 2), ("local", 1)])
def test_ranks_synchronise_only_where_a_peer_waits(
    name: str, a_round: int, warm_ranks: WarmRanks, tmp_path: Path
) -> None:
    """Two combines a round; ranks whose peers never talk synchronise for the disagreement alone."""
    rounds = 20
    keys = diffusion(rounds) | {"algorithm": {"name": name, "rounds": rounds}}
    keys |= {"metrics": {"every": 1}}
    warm_ranks.launch(_counting, 2, keys, str(tmp_path), a_round * rounds + 8)


def torchrun(keys: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """``sim`` of these keys by two ranks; the run is ``folder``/two."""
    (folder / "x.yaml").write_text(yaml.safe_dump(keys))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "sim", str(folder / "x.yaml"), "--no-report"]
    root = str(Path(__file__).resolve().parents[3])
    return subprocess.run(
        [*command, "--engine", "stacked", "--run-dir", str(folder / "two")],
        check=False,
        timeout=100,
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": root},
    )


def test_torchrun_shares_the_peers_out(tmp_path: Path) -> None:
    keys = diffusion(2) | SGD
    sim.run(from_mapping(keys), run_dir=tmp_path / "one", report=False)
    assert torchrun(keys, tmp_path).returncode == 0
    assert_equal_runs(tmp_path / "one", tmp_path / "two", 5)
    chosen = json.loads((tmp_path / "two" / "engine.json").read_text())
    assert list(chosen) == ["rank 0", "rank 1"]
    for section in chosen.values():
        assert section["engine"] == "stacked"
        assert section["Train discriminator"].startswith("together")


def test_ranks_of_torchrun_refuse_alike(tmp_path: Path) -> None:
    """Peer 4's images are missing, which only the rank on which it lives can tell."""
    images = np.zeros((30, 1, 8, 8), dtype=np.uint8)
    for k in range(4):
        np.savez(tmp_path / f"{k}.npz", images=images)
    data = {"source": "npz", "path": str(tmp_path / "{id}.npz"), "partition": "own"}
    done = torchrun(diffusion(1) | {"data": data}, tmp_path)
    assert done.returncode != 0
    refusals = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert refusals == [refusals[0]] * 2  # one a rank
    assert "4.npz does not exist" in refusals[0]
    assert "UserError" not in done.stderr
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"source": "npz", "path": "nowhere.npz"}}, "nowhere.npz does not exist"),
        ({"data": {"source": "npz", "path": "{id}.npz", "partition": "own"}}, "0.npz does not"),
        (
            {"algorithm": {"name": "fedavg", "server": 9, "rounds": 1}},
            "algorithm.server: there is no peer 9",
        ),
        ({"gan": "no-such-gan"}, "gan: there is no model 'no-such-gan'"),
        ({"compression": "no-such-codec"}, "compression: there is no codec"),
        ({"device": "cuda:99"}, "device: 'cuda:99' cannot be used here"),
    ],
)
def test_a_refusal_is_one_line_and_launches_nothing(
    changes: dict[str, Any],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sim.runs.simulate_sharded.launch", None)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(diffusion(1) | changes))
    words = ["run", str(tmp_path / "x.yaml"), "--processes", "2"]
    with pytest.raises(SystemExit) as info:
        run_app(app, [*words, "--run-dir", str(tmp_path / "run")])
    assert info.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "run").exists()


def test_the_check_makes_one_peers_synthetic_images(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def load(spec: Any, peer: int | None, folder: Any) -> Any:
        made.append(peer)
        return load_source(spec, peer, folder)

    monkeypatch.setattr(sys.modules["sim.runs.simulate"], "load_source", load)
    data = {"source": "synthetic", "images": 20, "partition": "own"}
    experiment = from_mapping(diffusion(1) | {"data": data, "peers": 1000})
    check_states(experiment, algorithms.find(experiment))
    assert made == [0]


@pytest.mark.parametrize("partition", ["own", "iid"])
def test_shards_of_some_are_the_same_as_of_all(partition: str) -> None:
    data = {"source": "synthetic", "images": 20, "partition": partition}
    experiment = from_mapping(diffusion(1) | {"data": data})
    every = shards(experiment)
    for k, (images, part) in zip((1, 3), shards(experiment, only=(1, 3)), strict=True):
        assert part is not None
        assert every[k][1] is not None
        assert np.array_equal(images.pixels[part], every[k][0].pixels[every[k][1]])


def test_the_partition_cuts_few_links() -> None:
    ring = nx.cycle_graph(100)
    rank_of = partition_peers(ring, 2)
    assert sorted(rank_of) == list(range(100))
    assert sum(rank_of.values()) == 50
    assert sum(rank_of[a] != rank_of[b] for a, b in ring.edges) == 2
    lattice = nx.convert_node_labels_to_integers(nx.grid_2d_graph(10, 10))
    rank_of = partition_peers(lattice, 2)
    assert sum(rank_of[a] != rank_of[b] for a, b in lattice.edges) <= 20


def test_each_process_needs_a_peer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--processes 9: there are 5 peers"):
        run_in_processes(from_mapping(diffusion(1)), 9, run_dir=tmp_path / "run")


def test_ranks_judge_their_own_peers_on_the_way(tmp_path: Path) -> None:
    keys = diffusion(4) | SGD | {"metrics": {"quality_every": 2, "samples": 50}}
    sim.run(from_mapping(keys), run_dir=tmp_path / "one", report=False)
    run_in_processes(from_mapping(keys), 2, run_dir=tmp_path / "two")
    one, two = read_quality_log(tmp_path / "one"), read_quality_log(tmp_path / "two")
    assert one is not None
    assert two is not None
    assert one.rounds.tolist() == two.rounds.tolist() == [2, 4]
    np.testing.assert_allclose(one.seconds, two.seconds, atol=1e-5)
    np.testing.assert_allclose(one.network, two.network, rtol=1e-2)


def test_nothing_to_judge_by_is_said_before_anything_is_launched(tmp_path: Path) -> None:
    keys = diffusion(1) | {"metrics": {"quality_every": 1, "inception": "nowhere.safetensors"}}
    with pytest.raises(UserError, match=r"metrics.inception: "):
        run_in_processes(from_mapping(keys), 2, run_dir=tmp_path / "run")

"""Several processes simulate what one does, up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
import yaml
from safetensors.torch import load_file

import sim
from peer.experiment import from_mapping
from sim.ranks import run_in_processes
from sim.records import read_run
from sim.sharded import homes
from tests.systems import PLAIN, keys_of
from topology import UserError

SGD = {"optimizer": {"name": "sgd", "lr": 0.01}}


def assert_equal_runs(one: Path, other: Path, peers: int) -> None:
    assert read_run(one).unfinished == read_run(other).unfinished == ()
    for k in range(peers):
        file = f"peer-{k}/generator.safetensors"
        assert (one / file).exists() == (other / file).exists()
        if (one / file).exists():
            ours, theirs = load_file(one / file), load_file(other / file)
            for name, tensor in ours.items():
                torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5)
        said = [json.loads((run / f"peer-{k}/summary.json").read_text()) for run in (one, other)]
        assert said[0]["bytes_out"] == said[1]["bytes_out"]


def network_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "network.jsonl").read_text().splitlines()]


def diffusion(rounds: int) -> dict[str, Any]:
    return PLAIN | {"graph": "ring", "algorithm": {"name": "diffusion", "rounds": rounds}}


CASES = {
    "diffusion, delays": (
        PLAIN | {"graph": "ring", "algorithm": {"name": "diffusion", "rounds": 3}}
    )
    | {"network": {"delay": 0.1, "jitter": 0.5}},
    "fedavg": keys_of("fedavg, half of them", 3),
    "mdgan": keys_of("mdgan", 3),
    "serverless": keys_of("sequential, serverless", 3),
}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(case: str, tmp_path: Path) -> None:
    experiment = from_mapping(CASES[case] | SGD)
    sim.run(experiment, run_dir=tmp_path / "one", report=False)
    run_in_processes(experiment, 2, run_dir=tmp_path / "two")
    assert_equal_runs(tmp_path / "one", tmp_path / "two", experiment.peers)
    for one, two in zip(network_of(tmp_path / "one"), network_of(tmp_path / "two"), strict=True):
        assert one["round"] == two["round"]
        for net, value in one["disagreement"].items():
            assert two["disagreement"][net] == pytest.approx(value, rel=1e-3, abs=1e-9)


def test_torchrun_shares_the_peers_out(tmp_path: Path) -> None:
    keys = diffusion(2) | SGD
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(keys))
    sim.run(from_mapping(keys), run_dir=tmp_path / "one", report=False)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "sim", str(tmp_path / "x.yaml"), "--no-report"]
    root = str(Path(__file__).resolve().parents[2])
    subprocess.run(
        [*command, "--run-dir", str(tmp_path / "two")],
        check=True,
        timeout=100,
        cwd=root,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert_equal_runs(tmp_path / "one", tmp_path / "two", 5)


def test_homes_cut_few_links() -> None:
    ring = nx.cycle_graph(100)
    rank_of = homes(ring, 2)
    assert sorted(rank_of) == list(range(100))
    assert sum(rank_of.values()) == 50
    assert sum(rank_of[a] != rank_of[b] for a, b in ring.edges) == 2
    lattice = nx.convert_node_labels_to_integers(nx.grid_2d_graph(10, 10))
    rank_of = homes(lattice, 2)
    assert sum(rank_of[a] != rank_of[b] for a, b in lattice.edges) <= 20


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"faults": [{"peer": 1, "down": 1.0}]}, "faults"),
        ({"network": {"loss": 0.1}}, "network.loss"),
        ({"metrics": {"quality_every": 1}}, "metrics.quality_every"),
    ],
)
def test_what_needs_one_process_is_said(keys: dict[str, Any], key: str, tmp_path: Path) -> None:
    algorithm = {"name": "diffusion", "rounds": 1}
    experiment = from_mapping(PLAIN | {"graph": "ring", "algorithm": algorithm} | keys)
    with pytest.raises(UserError, match=f"{key}: several processes cannot"):
        run_in_processes(experiment, 2, run_dir=tmp_path / "run")
    with pytest.raises(UserError, match="--processes 9: there are 5 peers"):
        run_in_processes(experiment, 9, run_dir=tmp_path / "run")

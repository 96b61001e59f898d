"""Run directories made by hand, so that what reads them is tested without running anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from peer.experiment import from_mapping
from peer.state.checkpoint import save_generator, write_json
from peer.state.count_sketch import CountSketch, encode
from peer.state.recorder import write_experiment
from peer.streams import stream
from sim.metrics.disagreement import disagreement

NETS = ("generator", "discriminator")


@pytest.fixture
def make_run(tmp_path: Path, write_run: Callable[..., Path]) -> Callable[..., Path]:
    """Write a run into this test's own folder."""
    return lambda name="run", **keys: write_run(tmp_path / name, **keys)


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Write a run of ``peers`` peers: a simulation's, or that of real peers with sketches."""

    def write(
        folder: Path,
        *,
        real: bool = False,
        peers: int = 5,
        rounds: int = 40,
        seed: int = 0,
        spread: float = 1.0,
        **keys: Any,
    ) -> Path:
        experiment = from_mapping(
            {
                "peers": peers,
                "algorithm": {"name": "diffusion", "rounds": rounds},
                "optimizer": {"name": "sgd", "lr": 0.05},
                "gan": "mlp-digits",
                "data": {"source": "digits", "partition": "pairs"},
                "seed": seed,
            }
            | keys
        )
        write_experiment(experiment, folder)
        draw = stream(seed, "synthetic")
        directions = torch.from_numpy(draw.standard_normal((peers, 3000), dtype=np.float32))
        sketches = {net: CountSketch(3000, seed, net) for net in NETS}
        exact: dict[int, dict[str, float]] = {}
        for r in range(1, rounds + 1):
            apart = directions * spread * (0.01 + np.exp(-r / 5))
            exact[r] = {"generator": disagreement(apart), "discriminator": 4 * disagreement(apart)}
            for k in range(peers):
                record: dict[str, Any] = {
                    "peer": k,
                    "round": r,
                    "seconds": 0.5 * r,
                    "bytes_in": 1000 * r,
                    "bytes_out": 2000 * r,
                    "missing": [1] if k == 0 and r == 3 else [],
                    "losses": {"generator": 1 / r + k, "discriminator": 2 / r - k},
                    "gradient_norms": {"generator": 1.0 / r, "discriminator": 3.0 / r},
                }
                if real:
                    vectors = {"generator": apart[k], "discriminator": 2 * apart[k]}
                    record["sketches"] = {net: encode(sketches[net](vectors[net])) for net in NETS}
                _append(folder / (f"peer-{k}/" * real) / "metrics.jsonl", record)
            if not real:
                _append(folder / "network.jsonl", {"round": r, "disagreement": exact[r]})
        for k in range(peers):
            write_json(
                folder / f"peer-{k}" / "summary.json",
                {
                    "peer": k,
                    "rounds": rounds,
                    "arena_blake2b": f"{k:064x}",
                    "seconds": 20.0 + k,
                    "bytes_in": 1000 * rounds,
                    "bytes_out": 2000 * rounds,
                    "missing": {"1": 1} if k == 0 else {},
                    "labels": {str(2 * k % 10): 180, str((2 * k + 1) % 10): 178},
                },
            )
            gan = experiment.build_gan((1, 8, 8))
            with torch.no_grad():
                for parameter in gan.generator.parameters():
                    parameter.mul_(1.0 + 0.2 * k)
            file = folder / f"peer-{k}" / "generator.safetensors"
            save_generator(gan.generator.state_dict(), file)
        return folder

    return write


def _append(path: Path, record: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")

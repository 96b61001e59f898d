"""Peers over ZeroMQ know the same of each other's private images as simulated ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

import sim
from peer.experiment import Experiment
from peer.quality.quality_log import read_scores
from peer.state.checkpoint import newest_checkpoint
from sim.records.quality_log import read_quality_log
from tests.support.inception import library, stand_in_weights  # noqa: F401


@pytest.mark.parametrize("graph", ["ring", "star"])
def test_moments_and_judge_have_the_bits_of_the_event_driver(
    graph: str,
    experiment_of: Callable[..., Experiment],
    run_in_threads: Callable[[Experiment], dict[int, str]],
    tmp_path: Path,
) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for k in range(3):
        mine = np.isin(digits.target, [2 * k, 2 * k + 1])
        images = (digits.images[mine] * 15.9).astype(np.uint8)
        np.savez(tmp_path / f"{k}.npz", images=images, labels=digits.target[mine])
    experiment = experiment_of(
        peers=3,
        graph=graph,
        data={"source": "npz", "path": str(tmp_path / "{id}.npz"), "partition": "own"},
        metrics={"quality_every": 1, "samples": 64, "judge": True},
    )
    simulated = sim.run(experiment, run_dir=tmp_path / "sim", report=False)
    assert run_in_threads(experiment) == simulated.arena_blake2b
    for k, state in simulated.states.items():
        folder = tmp_path / "real" / f"peer-{k}"
        point = newest_checkpoint(folder)
        assert point is not None
        for name, tensor in state.tensors.items():
            assert np.array_equal(point.saved.tensors[f"own/{name}"], tensor), name
        score = read_scores(folder / "quality.jsonl")[k]
        there = read_scores(tmp_path / "sim" / "quality.jsonl")[k]
        assert score.network == pytest.approx(there.network, rel=1e-8)
        assert score.own == pytest.approx(there.own, rel=1e-8)
        assert score.accuracy == there.accuracy
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["quality"]["network"] == {str(k): score.network}
    curve = read_quality_log(tmp_path / "real")
    assert curve is not None
    assert curve.measure == "rfd"


@pytest.mark.usefixtures("library")
def test_two_thousand_features_of_inception_travel_too(
    experiment_of: Callable[..., Experiment],
    run_in_threads: Callable[[Experiment], dict[int, str]],
    tmp_path: Path,
) -> None:
    """Moments of 17 MB (33 MB as a whole matrix), beside a codec that is for parameters alone."""
    save_file(stand_in_weights(), tmp_path / "weights.safetensors")
    draws = np.random.default_rng(0)
    for k in range(3):
        np.savez(tmp_path / f"{k}.npz", images=draws.integers(0, 256, (70, 8, 8), dtype=np.uint8))
    experiment = experiment_of(
        peers=3,
        data={"source": "npz", "path": str(tmp_path / "{id}.npz"), "partition": "own"},
        algorithm={"name": "diffusion", "rounds": 1},
        compression="int8",
        metrics={
            "quality_every": 1,
            "samples": 64,
            "inception": str(tmp_path / "weights.safetensors"),
        },
    )
    run_in_threads(experiment)
    for k in range(3):
        score = read_scores(tmp_path / "real" / f"peer-{k}" / "quality.jsonl")[k]
        assert score.measure == "fid"
        assert score.images == 210
        assert score.network is not None

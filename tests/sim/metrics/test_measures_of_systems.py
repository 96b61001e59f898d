"""Measures of published systems, on values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import sim
from peer.quality.frechet import frechet_distance
from peer.quality.mixture import Mixture
from peer.quality.ndb import different_bins, z_test
from sim.metrics.kernel import kernel_distance, mmd_squared
from sim.metrics.ndb import Binning
from sim.metrics.pace import convergence_gain, delta_loss, mode_score, pace, time_to_score
from sim.metrics.precision import precision_recall
from sim.metrics.seen import divergence, seen_by_rounds
from sim.studies.evaluate import evaluate_run
from tests.support.systems import keys_of


def test_the_golden_values() -> None:
    z, p = z_test(0.02, 50_000, 0.024, 10_000)
    assert z[0] == pytest.approx(-2.566663, abs=1e-6)
    assert p[0] == pytest.approx(0.010268, abs=1e-6)
    assert divergence((10, 20, 10), (0.25, 0.375, 0.375)) == pytest.approx(0.042475, abs=1e-6)
    eye = np.eye(2)
    assert frechet_distance(np.zeros(2), eye, np.array([3.0, 4.0]), 4 * eye) == pytest.approx(27)


def test_the_kernel_distance_is_the_unbiased_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((4, 3)) + 1

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within_x = np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(4) for j in range(4) if i != j])
    between = np.mean([k(a, b) for a in x for b in y])
    assert mmd_squared(x, y) == pytest.approx(within_x + within_y - 2 * between)
    near = rng.standard_normal((300, 3))
    same = kernel_distance(near, rng.standard_normal((300, 3)), subsets=20, size=100)
    far = kernel_distance(near, near + 2, subsets=20, size=100)
    assert abs(same.mean) < 0.5 < far.mean
    assert kernel_distance(near, near + 2, subsets=20, size=100) == far  # seeded


def test_precision_and_recall_tell_a_lost_mode_from_a_wrong_one() -> None:
    rng = np.random.default_rng(1)
    real = np.concatenate([rng.normal(0, 0.1, (50, 2)), rng.normal(5, 0.1, (50, 2))])
    one_mode = rng.normal(0, 0.1, (60, 2))
    lost = precision_recall(real, one_mode)
    assert lost.precision > 0.8
    assert lost.recall == pytest.approx(0.5, abs=0.1)
    wrong = precision_recall(real, np.concatenate([real, rng.normal(50, 0.1, (100, 2))]))
    assert wrong.precision == pytest.approx(0.5)
    assert wrong.recall == 1.0


def test_bins_that_are_the_same_and_bins_that_differ() -> None:
    same = different_bins([100, 100, 0], [50, 50, 0])
    assert (same.share, same.divergence) == (0.0, 0.0)  # an empty bin is not different
    apart = different_bins([100, 0], [0, 100])
    assert apart.share == 1.0
    assert apart.divergence == pytest.approx(math.log(2))
    rng = np.random.default_rng(2)
    images = rng.random((600, 16))
    binning = Binning(images[:500], k=10)
    assert binning.k == 10
    assert binning.counts.sum() == 500
    assert binning.compare(rng.random((500, 16))).share <= 0.3
    assert binning.compare(0.1 * rng.random((500, 16))).share >= 0.8
    assert Binning(rng.random((60, 1200)), k=100).k == 12
    assert len(Binning(rng.random((60, 1200)), k=4).used) == 200


def test_what_a_server_has_seen() -> None:
    held = {1: {0: 10}, 2: {0: 10, 1: 10}, 3: {2: 30}}
    seen = seen_by_rounds([[], [1], [1, 2], [3]], held)
    real = np.array([20, 10, 30]) / 60
    assert math.isnan(seen.divergence[0])
    assert seen.divergence[1] == pytest.approx(math.log(60 / 20))
    V = np.array([30, 10, 0]) / 40
    assert seen.divergence[2] == pytest.approx(
        sum(p * math.log(p / q) for p, q in zip(V, real, strict=True) if p)
    )
    assert seen.samples.tolist() == [0, 10 / 3, 40 / 3, 70 / 3]
    assert seen.unique.tolist() == [0, 10 / 3, 30 / 3, 60 / 3]
    assert np.isfinite(seen.reverse).all()


def test_pace_and_scores() -> None:
    assert pace(10, 600, 300, 50, 5) == (2.0, 0.4, 10.0)
    assert math.isnan(pace(1, 1, 1, 1, 0).updates_per_second)
    assert time_to_score([1, 2, 3], [10, 6, 2], 4) == pytest.approx(2.5)
    assert time_to_score([1, 2], [10, 6], 4) is None
    assert time_to_score([1, 2], [3, 2], 4) == 1
    assert convergence_gain(([10, 20], [9, 5]), ([5, 10], [9, 5])) == 2.0
    assert convergence_gain(([10], [1]), ([5], [2])) is None
    mean, std = delta_loss(
        np.array([[1.0, 3.0], [np.nan, 1.0]]), np.array([[0.0, 0.0], [1.0, 2.0]])
    )
    assert mean.tolist() == [2.0, -1.0]
    assert std.tolist() == [1.0, 0.0]
    assert mode_score(np.eye(4)) == pytest.approx(4.0)
    assert mode_score(np.full((8, 4), 0.25)) == pytest.approx(1.0)


def test_a_mixture_keeps_its_shares() -> None:
    class Constant(torch.nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.full((len(z), 1, 2, 2), self.value)

    mixture = Mixture([Constant(0.0), Constant(1.0), Constant(2.0)], [0.5, 0.3, 0.2])
    for size in (100, 256, 1000):
        drawn = mixture(torch.zeros(size, 3))[:, 0, 0, 0]
        shares = [float((drawn == value).float().mean()) for value in (0.0, 1.0, 2.0)]
        assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


@pytest.mark.parametrize("system", ["fedavg, half of them", "mdgan", "oasis"])
def test_a_run_is_evaluated(system: str, tmp_path: Path) -> None:
    keys = keys_of(system, 4) | {"metrics": {"every": 3, "samples": 200}}
    run = sim.run(keys, run_dir=tmp_path / "run")
    assert (run.path / "report.html").exists()
    found = evaluate_run(run.path)
    written = json.loads((run.path / "evaluation.json").read_text())
    generators = 1 if system == "mdgan" else 5
    assert len(found["peers"]) == len(written["peers"]) == generators
    server = found["peers"]["0"]
    assert 0 <= server["precision"] <= 1
    assert 1 <= server["mode_score"] <= 10
    assert 0 <= server["ndb"] <= 1
    assert found["run"]["bytes_per_peer"] > 0
    if system != "mdgan":
        assert found["run"]["seen"]["samples"] > 0  # all four rounds count, though two are recorded
    if system == "oasis":
        assert found["run"]["groups"]["cfid_std"] > 0
        files = {path.name for path in (run.path / "peer-0").glob("generator*")}
        assert files == {f"generator{x}.safetensors" for x in ("", "-group-0", "-group-1")}
        digests = {path.read_bytes() for path in (run.path / "peer-0").glob("generator-group-*")}
        assert len(digests) == 2  # each its own

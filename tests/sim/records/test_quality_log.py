"""Quality while a simulation runs, and how soon it reached a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim
from peer.quality import classifier
from sim.metrics.pace import time_to_score
from sim.records.quality_log import read_quality_log
from sim.reporting.report import write_report

KEYS: dict[str, Any] = {
    "peers": 3,
    "algorithm": {"name": "diffusion", "rounds": 5},
    "optimizer": {"name": "adam", "lr": 0.001},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 8,
    "metrics": {"quality_every": 2, "samples": 50},
}


@pytest.fixture
def judges(judge_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(classifier, "cache_folder", lambda: judge_cache)
    return judge_cache


@pytest.mark.usefixtures("judges")
def test_generators_are_judged_every_second_round_and_in_the_last(tmp_path: Path):
    done = sim.run(KEYS, run_dir=tmp_path / "run", report=False)
    log = done.path / "quality.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted((r["round"], r["peer"]) for r in records) == [
        (r, k) for r in (2, 4, 5) for k in range(3)
    ]
    walls = [r["wall_seconds"] for r in records]
    assert 0 < walls[0] < walls[-1] <= done.seconds
    plain = sim.run(KEYS | {"metrics": {"samples": 50}}, run_dir=tmp_path / "plain", report=False)
    assert done.arena_blake2b == plain.arena_blake2b  # to be watched changes nothing
    assert not (plain.path / "quality.jsonl").exists()

    curve = read_quality_log(done.path)
    assert curve is not None
    assert curve.rounds.tolist() == [2, 4, 5]
    np.testing.assert_allclose(curve.seconds, np.array([2, 4, 5]) * 2 * 0.001)
    of_last = [r["cfid"] for r in records if r["round"] == 5]
    assert curve.network[-1] == pytest.approx(np.mean(of_last))
    reached = time_to_score(curve.seconds.tolist(), curve.network.tolist(), curve.network.max())
    assert reached in curve.seconds

    summary = write_report(done.path)
    assert (done.path / "figures" / "quality.png").exists()
    assert sorted(of_last) == pytest.approx(sorted(summary["cfid"].values()))


def test_a_log_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path: Path):
    record = {"peer": 0, "round": 2, "seconds": 1.0, "covered": 3, "cfid": None}
    later = record | {"round": 4, "seconds": 2.0, "cfid": 7.0}
    lines = [json.dumps(record), json.dumps(later), json.dumps(later)[:20]]
    (tmp_path / "quality.jsonl").write_text("\n".join(lines))
    curve = read_quality_log(tmp_path)
    assert curve is not None
    assert curve.covered.tolist() == [3, 3]
    assert time_to_score(curve.seconds.tolist(), curve.network.tolist(), 8) == 2.0
    assert read_quality_log(tmp_path / "nowhere") is None


def test_images_without_labels_are_scored_by_random_features(tmp_path: Path):
    pixels = np.random.default_rng(3).integers(0, 256, (90, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "plain.npz", images=pixels)
    data = {"source": "npz", "path": str(tmp_path / "plain.npz"), "partition": "iid"}
    sim.run(KEYS | {"data": data}, run_dir=tmp_path / "run", report=False)
    curve = read_quality_log(tmp_path / "run")
    assert curve is not None
    assert curve.measure == "rfd"
    assert np.isfinite(curve.network).all()
    assert np.isfinite(curve.own).all()
    assert np.isnan(curve.covered).all()

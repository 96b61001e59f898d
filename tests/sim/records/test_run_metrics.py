"""Measures of a run as a whole, from records written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import algorithms
from sim.metrics.seen import divergence
from sim.records.reader import read_run
from sim.records.run_metrics import delta_losses, measure_run, participants

MakeRun = Callable[..., Path]


def _rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        change(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_delta_loss_of_every_round_and_of_the_last_tenth(make_run: MakeRun):
    run = read_run(make_run(rounds=40))
    series = delta_losses(run)
    assert series is not None
    rounds, mean, std = series
    # L_D = 2/r - k and L_G = 1/r + k at peer k = 0..4: 1/r - 2k
    assert rounds.tolist() == list(range(1, 41))
    np.testing.assert_allclose(mean, 1 / rounds - 4)
    np.testing.assert_allclose(std, 2 * np.std(range(5)))
    found = measure_run(run)["delta_loss"]
    assert found["mean"] == pytest.approx(np.mean([1 / r for r in range(37, 41)]) - 4)
    assert found["std"] == pytest.approx(2 * np.std(range(5)))
    assert delta_losses(read_run(make_run("squares", loss="lsgan"))) is None


def test_pace_by_the_records_clock(make_run: MakeRun):
    settings = {"name": "diffusion", "rounds": 40, "n_d": 3, "local_steps": 2}
    found = measure_run(read_run(make_run(algorithm=settings, batch=10)))
    # 40 rounds of 5 peers in 20 virtual seconds; 60 images a round and peer, 1,790 images held
    assert found["virtual"] is True
    assert found["updates_per_second"] == pytest.approx(40 * 5 / 20)
    assert found["epochs_per_second"] == pytest.approx(40 * 5 * 60 / (5 * 358) / 20)
    assert found["bytes_per_peer"] == pytest.approx(40 * 3000)
    assert found["bytes_per_second"] == pytest.approx(40 * 3000 / 20)
    assert "seen" not in found
    assert measure_run(read_run(make_run("real", real=True)))["virtual"] is False


def _star(make_run: MakeRun) -> Path:
    """Four workers of two digits each, of whom the server hears two in every round."""
    folder = make_run(rounds=4, algorithm={"name": "fedavg", "rounds": 4}, graph="star")
    (folder / "peer-0" / "generator.safetensors").touch()

    def change(record: dict[str, Any]) -> None:
        if record["peer"] == 0:
            record["participants"] = [[1, 2 + record["round"] % 2]]
            record["losses"] = {}

    _rewrite(folder / "metrics.jsonl", change)
    summary = folder / "peer-0" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"labels": None}))
    return folder


def test_a_star_counts_whom_the_server_heard(make_run: MakeRun):
    run = read_run(_star(make_run))
    assert participants(run, algorithms.find(run.experiment)) == [(1, 3), (1, 2), (1, 3), (1, 2)]
    found = measure_run(run)
    # 8 updates in 2 virtual seconds, each of 5 local steps (the default) of 64 images
    assert found["updates_per_second"] == pytest.approx(4)
    assert found["epochs_per_second"] == pytest.approx(8 * 5 * 64 / (4 * 358) / 2)
    # Worker k holds 180 of digit 2k and 178 of 2k + 1: V has 4 times 1's, 2 times 2's and 3's.
    held = [0] * 2 + [180, 178] * 4
    assert found["seen"]["samples"] == pytest.approx(8 * 358 / 10)
    assert found["seen"]["unique"] == pytest.approx(3 * 358 / 10)
    seen = [0, 0, 4 * 180, 4 * 178, 2 * 180, 2 * 178, 2 * 180, 2 * 178, 0, 0]
    assert found["seen"]["divergence"] == pytest.approx(divergence(seen, held))


def test_a_worker_that_left_no_word_of_its_data_is_no_obstacle(make_run: MakeRun):
    folder = _star(make_run)
    (folder / "peer-3" / "summary.json").unlink()
    found = measure_run(read_run(folder))
    assert "seen" not in found
    assert found["updates_per_second"] == pytest.approx(4)


def test_nothing_recorded_nothing_measured(make_run: MakeRun):
    folder = make_run(rounds=2)
    (folder / "metrics.jsonl").unlink()
    for k in range(5):
        (folder / f"peer-{k}" / "summary.json").unlink()
    assert measure_run(read_run(folder)) == {}

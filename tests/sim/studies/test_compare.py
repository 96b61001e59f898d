"""Comparisons: when a score is reached, and how many times sooner than by the first system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peer.state.recorder import prepare_run_dir
from sim.reporting.tables import format_distance
from sim.studies.compare import Outcome, compare, read_comparison, with_gains
from sim.studies.comparison_table import comparison_table
from topology.errors import UserError

FILE = """
workers: 3
batch: 16
optimizer: {name: adam, lr: 0.001}
gan: mlp-digits
data: {source: digits, partition: pairs}
metrics: {quality_every: 3, target: 1100, samples: 50}
systems:
  alone: {algorithm: {name: local, rounds: 6}, graph: ring}
  diffusion: {algorithm: {name: diffusion, rounds: 6}, graph: ring}
"""


def outcome(system: str, **keys: float) -> Outcome:
    return Outcome(system, 0, 10, 1, 5, "cfid", 100.0, 1000, 1.0, **keys)  # type: ignore[arg-type]


def log(folder: Path, cfid: list[float]) -> None:
    folder.mkdir()
    lines = [
        {"peer": 0, "round": i, "seconds": 10.0 * i, "covered": 1, "cfid": value}
        for i, value in enumerate(cfid, 1)
    ]
    (folder / "quality.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_gain_is_how_many_times_sooner_the_first_systems_best_is_reached(tmp_path: Path) -> None:
    log(tmp_path / "slow-seed-0", [500.0, 400.0, 300.0, 200.0])  # its best after 40 seconds
    log(tmp_path / "fast-seed-0", [300.0, 100.0, 50.0, 40.0])  # 200 half-way from 10 to 20
    log(tmp_path / "never-seed-0", [900.0, 900.0, 900.0, 900.0])
    found = with_gains([outcome(name) for name in ("slow", "fast", "never")], tmp_path)
    assert [o.gain for o in found] == [1.0, pytest.approx(40 / 15), None]


def test_a_run_says_when_its_target_was_reached(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(FILE)
    folder = prepare_run_dir(tmp_path / "out", "two")
    outcomes = compare(read_comparison([file]), folder, engine="stacked")
    assert [o.rounds_to_target for o in outcomes] == [3.0, 3.0]  # untrained it is near 1000
    assert outcomes[0].gain == 1.0
    assert json.loads((folder / "comparison.json").read_text())[1]["rounds_to_target"] == 3.0
    headings = [str(column.header) for column in comparison_table(outcomes).columns]
    assert headings[-2:] == [f"to CFID {format_distance(1100)}, rounds", "gain"]


def test_what_has_been_run_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(FILE)
    folder = prepare_run_dir(tmp_path / "out", "two")
    first = compare(read_comparison([file]), folder, engine="stacked")
    (folder / "diffusion-seed-0" / "outcome.json").unlink()  # as if it had been broken off
    looked_at = [folder / f"{system}-seed-0" / "metrics.jsonl" for system in ("alone", "diffusion")]
    before = [path.stat().st_mtime_ns for path in looked_at]
    again = compare(read_comparison([file]), folder, engine="stacked", resume=True)
    assert [
        path.stat().st_mtime_ns == was for path, was in zip(looked_at, before, strict=True)
    ] == [
        True,
        False,
    ]
    assert again[0] == first[0]
    assert again[1].distance == first[1].distance
    file.write_text(FILE.replace("rounds: 6", "rounds: 7"))
    with pytest.raises(UserError, match="another experiment"):
        compare(read_comparison([file]), folder, engine="stacked", resume=True)
    (folder / "alone-seed-0" / "outcome.json").write_text('{"engine": "stacked"')
    with pytest.raises(UserError, match="damaged"):
        compare(read_comparison([file]), folder, engine="stacked", resume=True)

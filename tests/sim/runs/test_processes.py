"""A run of several processes is gone on with by as many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from sim.__main__ import app
from sim.records.reader import read_run
from tests.support.systems import PLAIN

RING: dict[str, Any] = PLAIN | {
    "peers": 6,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 2},
    "data": {"source": "synthetic", "images": 20, "size": 8, "partition": "own"},
}


def test_a_run_of_two_processes_is_resumed_by_two(tmp_path: Path) -> None:
    file, run = tmp_path / "ring.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(RING))
    words = ["run", str(file), "--engine", "stacked", "--run-dir", str(run), "--no-report"]
    done = CliRunner().invoke(app, [*words, "--processes", "2", "--checkpoint", "1"])
    assert done.exit_code == 0, done.output
    file.write_text(yaml.safe_dump(RING | {"algorithm": {"name": "diffusion", "rounds": 3}}))
    again = CliRunner().invoke(app, [*words, "--resume"])
    assert again.exit_code == 0, again.output
    records = {path.name for path in run.glob("metrics*.jsonl")}
    assert records == {"metrics-0.jsonl", "metrics-1.jsonl"}
    assert [record.round for record in read_run(run).records[5]] == [1, 2, 3]

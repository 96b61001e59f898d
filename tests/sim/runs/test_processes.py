"""How many processes ``sim`` starts by itself, and what it says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import algorithms
from peer.experiment import from_mapping
from sim.__main__ import app
from sim.records.reader import read_run
from sim.runs import processes
from sim.runs.processes import choose_processes
from tests.support.systems import PLAIN

RING: dict[str, Any] = PLAIN | {
    "peers": 100,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 1000},
    "data": {"source": "synthetic", "images": 20, "size": 8, "partition": "own"},
}


@pytest.mark.parametrize(
    ("changes", "engine", "cores", "number", "why"),
    [
        ({}, "stacked", 2, 2, "a process a core"),
        ({}, "stacked", 4, 4, "a process a core"),
        ({}, "stacked", 16, 6, "a process a core"),
        ({}, "event", 2, 1, "for the stacked engine"),
        ({}, "auto", 2, 1, "for the stacked engine"),
        ({}, "stacked", 1, 1, "there is one core"),
        ({"peers": 31}, "stacked", 2, 1, "fewer than 32 peers"),
        ({"algorithm": {"name": "diffusion", "rounds": 50}}, "stacked", 2, 1, "it is over soon"),
        ({"graph": "complete"}, "stacked", 2, 1, "too many links would cross"),
        ({"graph": "star", "algorithm": {"name": "fedavg", "rounds": 1000}}, "stacked", 2, 1,
         "wait for the server"),
        ({"network": {"loss": 0.1}}, "stacked", 2, 1, "at every moment"),
        ({"network": {"channel": 10}}, "stacked", 2, 1, "at every moment"),
    ],
)  # fmt: skip
def test_processes_are_chosen_where_they_gain(
    changes: dict[str, Any],
    engine: str,
    cores: int,
    number: int,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: cores)
    experiment = from_mapping(RING | changes)
    chosen = choose_processes(experiment, algorithms.find(experiment), engine)
    assert chosen.number == number
    assert why in chosen.why


def test_a_large_stacked_run_is_shared_out_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 2)
    monkeypatch.setattr(processes, "PEER_ROUNDS", 1)
    file, run = tmp_path / "ring.yaml", tmp_path / "run"
    keys = RING | {"peers": 32, "algorithm": {"name": "diffusion", "rounds": 2}}
    file.write_text(yaml.safe_dump(keys))
    words = [str(file), "--engine", "stacked", "--run-dir", str(run), "--no-report"]
    done = CliRunner().invoke(app, ["run", *words, "--checkpoint", "1"])
    assert done.exit_code == 0, done.output
    chosen = json.loads((run / "engine.json").read_text())
    assert chosen["processes"].startswith("2: a process a core")
    assert chosen.keys() == {"processes", "rank 0", "rank 1"}

    file.write_text(yaml.safe_dump(keys | {"algorithm": {"name": "diffusion", "rounds": 3}}))
    again = CliRunner().invoke(app, ["run", *words, "--resume"])
    assert again.exit_code == 0, again.output
    assert {path.name for path in run.glob("metrics*.jsonl")} == {
        "metrics-0.jsonl",
        "metrics-1.jsonl",
    }
    assert [record.round for record in read_run(run).records[31]] == [1, 2, 3]

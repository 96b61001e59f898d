"""`sim whatif`: a run goes on from one of its rounds, as it was or with something changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import sim
import sim.__main__
from peer.console import run_app
from peer.experiment import Experiment
from sim.records.reader import read_run
from sim.runs.checkpoints import Stops
from tests.real.conftest import SMALL, experiment_of, run_in_threads  # noqa: F401

KEYS: dict[str, Any] = SMALL | {
    "peers": 6,
    "algorithm": {"name": "diffusion", "rounds": 8},
    "batch": 8,
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulation of eight rounds with checkpoints of rounds 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("whatif") / "ring-1"
    sim.run(KEYS, run_dir=folder, report=False, stops=Stops(2))
    return folder


def ask(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        run_app(sim.__main__.app, ["whatif", *map(str, words), "--no-report"])
    return int(ended.value.code or 0)


def digests(folder: Path) -> dict[int, str]:
    return {k: result.arena_blake2b for k, result in read_run(folder).results.items()}


def test_without_a_change_it_ends_with_the_bits_of_the_run(simulated: Path, tmp_path: Path) -> None:
    assert ask(simulated, "--from", "4", "--run-dir", tmp_path / "new") == 0
    assert digests(tmp_path / "new") == digests(simulated)
    note = json.loads((tmp_path / "new" / "whatif.json").read_text())
    assert (tmp_path / "new" / note["run"]).resolve() == simulated
    assert (note["round"], note["changes"]) == (4, [])
    rounds = [record.round for record in read_run(tmp_path / "new").records[0]]
    assert rounds == list(range(1, 9))  # those before come from the run


def test_another_graph_and_step_size_change_what_follows_and_nothing_before(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["graph=complete", "optimizer.lr=0.01", "algorithm.n_d=2"]
    words = [word for change in changes for word in ("--set", change)]
    assert ask(simulated, *words, "--run-dir", tmp_path / "new") == 0
    assert "going on from round 6" in capsys.readouterr().out
    new = read_run(tmp_path / "new")
    assert new.experiment.graph == "complete"
    assert json.loads((new.folder / "whatif.json").read_text())["changes"] == changes
    assert set(digests(new.folder).values()).isdisjoint(digests(simulated).values())
    was, now = read_run(simulated).records[3], new.records[3]
    assert [r.losses for r in was[:6]] == [r.losses for r in now[:6]]
    assert was[7].losses != now[7].losses
    assert now[7].bytes_out > was[7].bytes_out  # complete: 5 links instead of 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--set", "peers=7"], "--set peers: cannot change in the middle of a run"),
        (["--set", "gan=mlp-1m"], "--set gan: cannot change in the middle of a run: the nets are"),
        (["--set", "seed=1"], "--set seed: cannot change"),
        (["--set", "data.partition=iid"], "--set data: cannot change"),
        (["--set", "ema=0.9"], "--set ema: cannot change"),
        (["--set", "algorithm.name=gossip"], "--set algorithm.name: cannot change"),
        (["--set", "optimizer.name=sgd"], "the moments are those of 'adam'; its settings can"),
        (["--set", "graph=hypercube"], "must be a power of two on a hypercube"),
        (["--from", "3"], "--from 3: all peers have checkpoints of rounds 2, 4, 6; run it again"),
        (["--from", "8"], "--from 8: no rounds are left, the run has 8"),
        (["--set", "algorithm.rounds=2"], "no rounds are left"),
    ],
)
def test_what_cannot_be_is_one_line(
    simulated: Path,
    tmp_path: Path,
    words: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ask(simulated, *words, "--run-dir", tmp_path / "new") == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_run_of_real_peers_is_gone_on_from_any_round(
    experiment_of: Callable[..., Experiment],  # noqa: F811
    run_in_threads: Callable[[Experiment], dict[int, str]],  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No checkpoint is there: the states come from the flights; with no change, the bits follow."""
    ended = run_in_threads(experiment_of(batch=8))
    run = tmp_path / "real"
    if not (run / "experiment.yaml").exists():
        (run / "experiment.yaml").write_text(yaml.safe_dump(SMALL | {"batch": 8}))
    assert ask(run, "--from", "3", "--run-dir", tmp_path / "new") == 0
    assert "the run is replayed up to there" in capsys.readouterr().out
    assert digests(tmp_path / "new") == ended
    assert ask(run, "--from", "3", "--set", "graph=star", "--run-dir", tmp_path / "star") == 0
    assert set(digests(tmp_path / "star").values()).isdisjoint(ended.values())

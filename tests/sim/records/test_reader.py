"""Run directories read back: those of simulations, of real peers, and broken ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sim.records.reader import read_run
from topology.errors import UserError

MakeRun = Callable[..., Path]


def test_a_simulations_run(make_run: MakeRun):
    run = read_run(make_run(rounds=12))
    assert run.experiment.peers == 5
    assert (run.rounds, run.unfinished, run.unreadable) == (12, (), 0)
    assert run.nets == ("generator", "discriminator")
    assert run.results[3].arena_blake2b == f"{3:064x}"
    assert run.results[0].missing == {1: 1}
    assert run.results[2].labels == {4: 180, 5: 178}
    assert sorted(run.generators) == [0, 1, 2, 3, 4]
    assert run.records[0][2].missing == (1,)


def test_series_have_a_row_a_round_and_a_column_a_peer(make_run: MakeRun):
    run = read_run(make_run(rounds=4))
    rounds, losses = run.losses("generator")
    assert rounds.tolist() == [1, 2, 3, 4]
    expected = 1 / np.arange(1, 5)[:, None] + np.arange(5)
    np.testing.assert_allclose(losses, expected)
    np.testing.assert_allclose(run.gradient_norms("discriminator")[1][:, 2], [3, 1.5, 1, 0.75])
    np.testing.assert_allclose(run.bytes_in()[1][-1], 4000)
    np.testing.assert_allclose(run.bytes_out()[1][-1], 8000)
    np.testing.assert_allclose(run.seconds()[1][:, 0], [0.5, 1, 1.5, 2])
    assert np.isnan(run.losses("critic")[1]).all()


def test_exact_disagreement_of_a_simulation(make_run: MakeRun):
    folder = make_run(rounds=6)
    logged = [json.loads(line) for line in (folder / "network.jsonl").read_text().splitlines()]
    curve = read_run(folder).disagreement("discriminator")
    assert curve is not None
    assert curve.errors is None
    assert curve.rounds.tolist() == [1, 2, 3, 4, 5, 6]
    assert curve.values.tolist() == [r["disagreement"]["discriminator"] for r in logged]


def test_estimated_disagreement_of_real_peers(make_run: MakeRun):
    exact = read_run(make_run("simulated", rounds=6))
    real = read_run(make_run("real", real=True, rounds=6))
    for net in exact.nets:
        true, estimate = exact.disagreement(net), real.disagreement(net)
        assert true is not None
        assert estimate is not None
        assert estimate.errors is not None
        assert estimate.rounds.tolist() == true.rounds.tolist()
        assert (np.abs(estimate.values / true.values - 1) < 4 * estimate.errors).all()
        assert (estimate.values != true.values).all()
        assert 0.03 < estimate.errors.min() <= estimate.errors.max() < 0.0884


def test_killed_peers_are_tolerated(make_run: MakeRun):
    folder = make_run(real=True, rounds=10)
    shutil.rmtree(folder / "peer-4")
    for name in ("summary.json", "generator.safetensors"):
        (folder / "peer-2" / name).unlink()
    log = folder / "peer-2" / "metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole[: len(whole) // 2])  # ends within a line
    run = read_run(folder)
    assert run.unfinished == (2, 4)
    assert sorted(run.generators) == [0, 1, 3]
    assert sorted(run.records) == [0, 1, 2, 3]
    assert run.unreadable == 0
    assert run.records[2][-1].round == whole[: len(whole) // 2].count("\n")
    _, losses = run.losses("generator")
    assert np.isnan(losses[-1]).tolist() == [False, False, True, False, True]
    curve = run.disagreement("generator")
    assert curve is not None
    assert curve.rounds.tolist() == list(range(1, 11))


def test_a_peer_that_resumed(make_run: MakeRun):
    folder = make_run(real=True, rounds=5)
    log = folder / "peer-0" / "metrics.jsonl"
    lines = log.read_text().splitlines()
    again = json.loads(lines[3])
    again["losses"]["generator"] = 77.0
    # Killed within a line, resumed right behind it from an earlier checkpoint, round 4 again.
    log.write_text("\n".join([*lines, lines[4][:40] + lines[4], json.dumps(again)]) + "\n")
    run = read_run(folder)
    assert run.unreadable == 1
    assert [record.round for record in run.records[0]] == [1, 2, 3, 4, 5]
    assert run.records[0][3].losses["generator"] == 77.0


def test_folders_gathered_from_several_machines(make_run: MakeRun, tmp_path: Path):
    folder = make_run(real=True, rounds=5)
    gathered = tmp_path / "gathered"
    for k in range(5):
        machine = gathered / f"pi{k}"
        machine.mkdir(parents=True)
        shutil.copy(folder / "experiment.yaml", machine)
        shutil.copytree(folder / f"peer-{k}", machine / f"peer-{k}")
    run = read_run(gathered)
    assert sorted(run.records) == sorted(run.results) == [0, 1, 2, 3, 4]
    shutil.copytree(folder / "peer-1", gathered / "pi2" / "peer-1")
    with pytest.raises(UserError, match=r"peer 1 is in .*pi1.* and in .*pi2"):
        read_run(gathered)


def test_broken_sketches_and_summaries_are_as_good_as_none(make_run: MakeRun):
    folder = make_run(real=True, rounds=3)
    for k in range(4):
        log = folder / f"peer-{k}" / "metrics.jsonl"
        records = [json.loads(line) for line in log.read_text().splitlines()]
        records[1]["sketches"]["generator"] = "!!"
        log.write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "peer-1" / "summary.json").write_text("{")
    run = read_run(folder)
    curve = run.disagreement("generator")
    assert curve is not None
    assert curve.rounds.tolist() == [1, 3]  # in round 2 only one peer is left
    assert run.unfinished == (1,)


def test_what_is_no_run_directory(tmp_path: Path):
    with pytest.raises(UserError, match="there is no such run directory"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not a run directory .*experiment\.yaml"):
        read_run(tmp_path)


def test_who_holds_no_generator_and_who_has_not_finished(make_run: MakeRun):
    folder = make_run(peers=3, rounds=2)
    (folder / "peer-1" / "generator.safetensors").unlink()
    shutil.rmtree(folder / "peer-2")
    run = read_run(folder)
    assert (run.without_generator, run.unfinished) == ((1,), (2,))

"""Scores of private images: nobody saw another's, and everybody knows how good the network is."""

from __future__ import annotations

import json
import warnings
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim
from peer.data import load_source
from peer.data.spec import DataSpec
from peer.experiment import from_mapping
from peer.quality.frechet import frechet_distance, gaussian
from peer.quality.quality_log import read_scores
from peer.quality.random_features import random_features
from peer.quality.samples import draw_samples
from peer.quality.together import bins, shared_judge
from peer.quality.together.moments import Moments
from peer.quality.together.network_moments import KEPT
from peer.quality.together.shared_judge import KEPT as JUDGE
from peer.quality.together.shared_judge import judge_of
from sim.records.quality_log import read_quality_log
from sim.reporting.report import write_report
from sim.studies.compare import compare, read_comparison
from topology.errors import InputNote, UserError

CLASSES = [str(x) for x in range(10)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in class pairs, a file a peer; those of peer 5 are few."""
    from sklearn.datasets import load_digits

    digits, folder = load_digits(), tmp_path_factory.mktemp("own")
    for k in range(6):
        mine = np.isin(digits.target, [2 * k % 10, 2 * k % 10 + 1])
        images = (digits.images[mine] * 15.9).astype(np.uint8)
        labels = digits.target[mine]
        count = 20 if k == 5 else len(images)
        np.savez(folder / f"{k}.npz", images=images[:count], labels=labels[:count])
    return folder


def keys(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "peers": 5,
        "graph": "ring",
        "algorithm": {"name": "diffusion", "rounds": 4},
        "optimizer": {"name": "adam", "lr": 0.001},
        "gan": "mlp-digits",
        "data": {
            "source": "npz",
            "path": str(folder / "{id}.npz"),
            "partition": "own",
            "classes": CLASSES,
        },
        "batch": 8,
        "metrics": {"quality_every": 2, "samples": 100},
    } | more


def pooled(folder: Path, peers: range) -> np.ndarray:
    """What nobody in the network ever has: the features of everybody's images together."""
    images = np.concatenate([np.load(folder / f"{k}.npz")["images"] for k in peers])
    import torch

    x = torch.from_numpy(images[:, None].astype(np.float32) / 127.5 - 1)
    return random_features(1)(x)


@pytest.mark.parametrize("graph", ["ring", "star", "complete"])
def test_scores_are_those_of_pooled_images(folders: Path, tmp_path: Path, graph: str) -> None:
    done = sim.run(keys(folders, graph=graph), run_dir=tmp_path / "run", report=False)
    features = pooled(folders, range(5))
    for k, score in read_scores(tmp_path / "run" / "quality.jsonl").items():
        generator = done.states[k].nets["generator"].module
        drawn = random_features(1)(draw_samples(generator, done.states[k].gan.z_dim, 100, 0))
        wanted = frechet_distance(*gaussian(features), *gaussian(drawn))
        assert score.measure == "rfd"
        assert score.network == pytest.approx(wanted, rel=1e-5)
        own = frechet_distance(*gaussian(pooled(folders, range(k, k + 1))), *gaussian(drawn))
        assert score.own == pytest.approx(own, rel=1e-5)
        assert score.images == 1797
        counts = bins.count(features, Moments.unpacked(done.states[k].tensors[KEPT]))
        assert np.array_equal(done.states[k].tensors[bins.KEPT].numpy(), counts)
        assert counts.sum() == 1797
        assert score.ndb is not None
        assert score.ndb > 0.2  # of equal distributions it is 0.05
        summary = json.loads((tmp_path / "run" / f"peer-{k}" / "summary.json").read_text())
        assert summary["quality"] == {
            "measure": "rfd",
            "network": {str(k): score.network},
            "own": {str(k): score.own},
            "images": 1797,
        }


def test_every_engine_and_several_processes_know_the_same(folders: Path, tmp_path: Path) -> None:
    from sim.runs.simulate_sharded import run_in_processes

    event = sim.run(keys(folders), run_dir=tmp_path / "event", report=False)
    stacked = sim.run(keys(folders), run_dir=tmp_path / "s", engine="stacked", report=False)
    for k, state in event.states.items():
        assert np.array_equal(state.tensors[KEPT], stacked.states[k].tensors[KEPT])
    experiment = from_mapping(keys(folders))
    run_in_processes(experiment, 2, run_dir=tmp_path / "two", engine="event")
    curves = [read_quality_log(tmp_path / name) for name in ("event", "s", "two")]
    for curve in curves:
        assert curve is not None
        assert curves[0] is not None
        np.testing.assert_allclose(curve.network, curves[0].network, rtol=1e-4)
    assert curves[2] is not None
    assert curves[0] is not None
    # Of 100 samples, a covariance of 256 features has zeros for eigenvalues, whose roots magnify
    # how NumPy's products round, which depends on where arrays lie in memory.
    np.testing.assert_allclose(curves[2].network, curves[0].network, rtol=1e-8)


def test_a_run_gone_on_with_scores_as_if_it_had_not_stopped(folders: Path, tmp_path: Path) -> None:
    whole = sim.run(keys(folders), run_dir=tmp_path / "whole", report=False)
    from sim.runs.checkpoints import Interrupted, Stops

    with pytest.raises(Interrupted):
        sim.run(
            keys(folders),
            run_dir=tmp_path / "run",
            report=False,
            stops=Stops(1, chain([False], repeat(True)).__next__),
        )
    again = sim.run(keys(folders), run_dir=tmp_path / "run", report=False, resume=True)
    assert again.arena_blake2b == whole.arena_blake2b
    logs = [read_scores(tmp_path / name / "quality.jsonl") for name in ("whole", "run")]
    for k in range(5):
        assert logs[0][k].network == pytest.approx(logs[1][k].network, rel=1e-8)
        assert logs[0][k].own == pytest.approx(logs[1][k].own, rel=1e-8)


def test_few_images_are_told_to_nobody(folders: Path, tmp_path: Path) -> None:
    with pytest.warns(InputNote, match="peer 5 has 20 images, fewer than 64: nothing is told"):
        done = sim.run(keys(folders, peers=6), run_dir=tmp_path / "run", report=False)
    features = pooled(folders, range(5))
    for state in done.states.values():
        moments = Moments.unpacked(state.tensors[KEPT])
        assert moments.count == pytest.approx(1797, rel=1e-8)
        np.testing.assert_allclose(moments.total, features.sum(0), rtol=1e-7, atol=1e-6)
    scores = read_scores(tmp_path / "run" / "quality.jsonl")
    assert scores[5].network is not None
    assert scores[5].own is not None  # of its own images it may know


def test_a_late_comer_asks_a_neighbour(folders: Path, tmp_path: Path) -> None:
    """Peer 2 is away while moments are exchanged, and comes back in the middle of the run."""
    experiment = keys(
        folders,
        algorithm={"name": "diffusion", "rounds": 20},
        faults=[{"peer": 2, "down": 0.0, "up": 60.0}],
        deadline=2.0,
        network={"delay": 1.0},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)
        done = sim.run(experiment, run_dir=tmp_path / "run", report=False)
    late = Moments.unpacked(done.states[2].tensors[KEPT])
    other = Moments.unpacked(done.states[1].tensors[KEPT])
    assert late.count == other.count
    assert read_scores(tmp_path / "run" / "quality.jsonl")[2].network is not None


def test_the_report_and_the_comparison_show_both_distances(folders: Path, tmp_path: Path) -> None:
    sim.run(keys(folders), run_dir=tmp_path / "run", report=False)
    summary = write_report(tmp_path / "run")
    assert summary["quality"]["measure"] == "rfd"
    assert set(summary["quality"]["network"]) == {"0", "1", "2", "3", "4"}
    assert summary["quality_curve"]["rounds"] == [2, 4]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "to own images" in page
    assert "It is no FID" in page
    file = tmp_path / "two.yaml"
    shared = keys(folders, metrics={"samples": 100})
    shared = {key: of for key, of in shared.items() if key not in ("peers", "algorithm")}
    systems = {"diffusion": {"algorithm": {"name": "diffusion", "rounds": 3}}}
    systems["alone"] = {"algorithm": {"name": "local", "rounds": 3}}
    file.write_text(json.dumps(shared | {"workers": 5, "systems": systems}))
    outcomes = compare(read_comparison([file]), tmp_path / "compared")
    for outcome in outcomes:
        assert outcome.measure == "rfd"
        assert outcome.distance is not None
        assert outcome.own_distance is not None
        assert outcome.covered is None


def test_peers_train_a_judge_together_that_is_trusted(folders: Path, tmp_path: Path) -> None:
    """Each holds two of ten classes, and all come to tell ten apart."""
    metrics = {"quality_every": 4, "samples": 100, "judge": True}
    done = sim.run(keys(folders, metrics=metrics), run_dir=tmp_path / "run", report=False)
    scores = read_scores(tmp_path / "run" / "quality.jsonl")
    accuracies = {score.accuracy for score in scores.values()}
    assert all(accuracy is not None and accuracy >= 0.9 for accuracy in accuracies)
    assert all(score.covered is not None for score in scores.values())
    images = load_source(DataSpec(source="digits", partition="iid"))
    everything = images.take(np.arange(len(images)))
    for state in done.states.values():
        judge = judge_of(state.tensors[JUDGE], (1, 8, 8), 10)
        right = judge.probabilities(everything).argmax(axis=1) == images.labels
        assert right.mean() >= 0.9
    quality = json.loads((tmp_path / "run" / "peer-0" / "summary.json").read_text())["quality"]
    assert quality["judge_accuracy"] == scores[0].accuracy


def test_a_judge_that_is_often_wrong_says_nothing(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_judge, "COMBINES", 2)
    metrics = {"quality_every": 4, "samples": 100, "judge": True}
    sim.run(keys(folders, metrics=metrics), run_dir=tmp_path / "run", report=False)
    for score in read_scores(tmp_path / "run" / "quality.jsonl").values():
        assert score.accuracy is not None
        assert score.accuracy < 0.9
        assert score.covered is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": {"judge": True}}, "metrics.judge: nobody measures distances on the way"),
        ({"metrics": {"inception": "x"}}, "metrics.inception: nobody measures distances"),
        (
            {
                "metrics": {"judge": True, "quality_every": 1},
                "data": {"source": "digits", "partition": "iid"},
            },
            r"metrics.judge: is for private images \(partition: own\)",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(
    folders: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        from_mapping(keys(folders) | changes)


def test_a_judge_of_images_without_classes_is_said(folders: Path, tmp_path: Path) -> None:
    for k in range(2):
        images = np.load(folders / f"{k}.npz")["images"]
        np.savez(tmp_path / f"{k}.npz", images=images)
    data = {"source": "npz", "path": str(tmp_path / "{id}.npz"), "partition": "own"}
    metrics = {"quality_every": 4, "samples": 50, "judge": True}
    with pytest.warns(InputNote, match="metrics.judge: the images are in no classes"):
        sim.run(
            keys(folders, peers=2, data=data, metrics=metrics),
            run_dir=tmp_path / "run",
            report=False,
        )
    assert read_scores(tmp_path / "run" / "quality.jsonl")[0].network is not None

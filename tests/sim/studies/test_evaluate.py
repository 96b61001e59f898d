"""``sim evaluate`` on a run written by hand, with memories of real digits for generators."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import sim.studies.evaluate
from peer.data import load_source
from sim.records.reader import read_run
from sim.studies.evaluate import evaluate_run, evaluation_table
from topology.errors import UserError

MakeRun = Callable[..., Path]


class Memory(nn.Module):
    """Shows digits of some classes, whatever z says; or something that is no number."""

    def __init__(self, folder: Path, classes: range, broken: bool = False) -> None:
        super().__init__()
        images = load_source(read_run(folder).experiment.data)
        assert images.labels is not None
        self.images = images.take(np.flatnonzero(np.isin(images.labels, list(classes))))
        self.broken = broken

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        shown = self.images[(z[:, 0].abs() * 1e4).long() % len(self.images)]
        return torch.full_like(shown, torch.nan) if self.broken else shown


class Reds:
    """For Inception: the mean and the deviation of an image, 2 features in place of 2,048."""

    def __init__(self, file: Path) -> None:
        assert file.name == "inception.safetensors"

    def features(self, images: torch.Tensor) -> np.ndarray:
        flat = images.flatten(1).numpy().astype(np.float64)
        return np.stack([flat.mean(1), flat.std(1)], axis=1)


@pytest.fixture
def remembered(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Peer 0 shows all digits, peer 1 three of them, peer 2 nothing that is a number."""
    folder = make_run(peers=3, metrics={"samples": 400})
    generators = {
        0: Memory(folder, range(10)),
        1: Memory(folder, range(3)),
        2: Memory(folder, range(1), broken=True),
    }
    monkeypatch.setattr(sim.studies.evaluate, "load_run", lambda run, gan: generators)
    return folder


def test_every_measure_tells_good_from_bad(remembered: Path, judge_cache: Path):
    found = evaluate_run(remembered, cache=judge_cache)
    good, few, broken = (found["peers"][str(k)] for k in range(3))
    assert found["of"] == {"samples": 400, "real": 1797, "bins": 100}
    assert (good["coverage"], few["coverage"], broken["coverage"]) == (10, 3, 0)
    assert good["cfid"] < few["cfid"] / 10
    assert abs(good["ckid"]) < few["ckid"] / 30
    assert good["ckid_std"] > 0
    assert good["precision"] > 0.7
    assert good["recall"] > 0.7
    assert few["precision"] > 0.7
    assert few["recall"] < 0.45
    assert good["mode_score"] > 9
    assert few["mode_score"] == pytest.approx(3, abs=0.3)
    assert good["ndb"] < 0.15
    assert few["ndb"] > 0.4
    assert few["js"] > 5 * good["js"]
    assert all(math.isnan(broken[key]) for key in broken if key != "coverage")
    assert not {"fid", "kid"} & set(good)
    assert found["run"]["delta_loss"]["mean"] < 0
    written = json.loads((remembered / "evaluation.json").read_text())
    assert written["peers"]["0"] == good
    assert set(written["peers"]["2"].values()) == {0, None}


def test_numbers_of_samples_and_real_images_are_said(remembered: Path, judge_cache: Path):
    found = evaluate_run(remembered, samples=60, real=200, cache=judge_cache)
    assert found["of"] == {"samples": 60, "real": 200, "bins": 40}
    out = io.StringIO()
    Console(width=120, file=out).print(evaluation_table(found))
    text = " ".join(out.getvalue().split())
    assert "60 samples a peer, 200 real images, 40 bins" in text
    assert "not to be compared with FID" in text


def test_inception_features_give_fid_and_kid(
    remembered: Path, judge_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sim.studies.evaluate, "Inception", Reds)
    told: list[str] = []
    file = remembered / "inception.safetensors"
    found = evaluate_run(
        remembered, inception=file, samples=300, cache=judge_cache, notify=told.append
    )
    good, few, broken = (found["peers"][str(k)] for k in range(3))
    assert good["fid"] < few["fid"]
    assert good["kid"] < few["kid"]
    assert math.isnan(broken["fid"])
    assert [line for line in told if "Inception" in line] == [
        "Inception features of 1,797 real images",
        *(f"Inception features of 300 samples of peer {k}" for k in range(3)),
    ]


def test_a_run_without_a_generator(make_run: MakeRun, judge_cache: Path):
    folder = make_run(peers=2)
    for k in range(2):
        (folder / f"peer-{k}" / "generator.safetensors").unlink()
    with pytest.raises(UserError, match="no peer has left a generator"):
        evaluate_run(folder, cache=judge_cache)

"""A run whose generators are told classes: what is judged, and what `sim sample` draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sim
from peer.console import run_app
from peer.experiment import from_mapping
from peer.gan.conditional import Asked
from peer.quality.mixture import final_generator
from peer.quality.samples import draw_samples, load_generators
from sim.__main__ import app
from sim.metrics.quality import Quality, Source, seen_as_asked
from sim.reporting import plots
from sim.studies.evaluate import evaluate_run
from tests.support.systems import PLAIN

KEYS: dict[str, Any] = PLAIN | {
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 2},
    "conditional": True,
    "ema": 0.5,
    "metrics": {"samples": 300},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> sim.Run:
    return sim.run(KEYS, run_dir=tmp_path_factory.mktemp("run") / "run", report=False)


def test_a_class_is_drawn_by_its_name(
    run: sim.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(plots, "save_images", lambda images, path: drawn.append(images))
    words = ["sample", str(run.path), "--peer", "1", "--count", "6"]
    for more in (["--class", "9"], ["--class", "9", "--last"], []):
        with pytest.raises(SystemExit) as ended:
            run_app(app, [*words, *more])
        assert ended.value.code == 0
    gan = run.states[1].gan
    folder = run.path / "peer-1"
    for images, file, only in zip(drawn, ("_ema", "", "_ema"), (9, 9, None), strict=True):
        net = load_generators({1: folder / f"generator{file}.safetensors"}, gan)[1]
        assert torch.equal(images, draw_samples(Asked(net, 10, only), gan.z_dim, 6, 0))
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("name", ["cat", "10"])
def test_an_unknown_class_is_refused_by_its_name(
    run: sim.Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_app(app, ["sample", str(run.path), "--class", name])
    assert ended.value.code == 2
    assert f"--class {name}: there is no such class" in capsys.readouterr().err


def test_every_generator_is_judged_by_what_it_was_asked_for(
    run: sim.Run, judge_cache: Path
) -> None:
    found = evaluate_run(run.path, cache=judge_cache)
    for k, of in found["peers"].items():
        by_class = found["asked"][k]
        assert list(by_class) == [str(x) for x in range(10)]
        assert of["as_asked"] == pytest.approx(sum(by_class.values()) / 10)
        assert 0 <= of["as_asked"] < 0.5  # as good as untrained
    generators = {k: final_generator(state) for k, state in run.states.items()}
    quality = Source(from_mapping(KEYS), cache=judge_cache).judge_generators(generators, 32)
    assert quality.as_asked == {int(k): of["as_asked"] for k, of in found["peers"].items()}
    assert Quality.from_record(quality.as_record()) == quality


def test_shares_are_of_the_samples_asked_for_a_class() -> None:
    asked = Asked(nn.Identity(), 3)
    seen = np.eye(3)[[0, 1, 0, 0, 0, 0, 2]]  # asked: 0 1 2 0 1 2 0
    np.testing.assert_allclose(seen_as_asked(seen, asked), [2 / 3, 1 / 2, 0])
    only = Asked(nn.Identity(), 3, only=2)
    np.testing.assert_allclose(seen_as_asked(seen, only), [np.nan, np.nan, 1 / 7])

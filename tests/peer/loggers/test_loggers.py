"""Loggers: what they get, what they cannot change, and what happens when they fail."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sim.api
from peer.console import run_app
from peer.experiment import from_mapping
from peer.gan.build import make_gan
from peer.loggers import Loggers, check_loggers, open_loggers, tensorboard
from peer.loggers.mosaic import mosaic
from peer.loggers.pictures import SHOWN, draw_for
from sim.__main__ import app as sim_app
from topology.errors import UserError

KEYS: dict[str, Any] = {
    "peers": 3,
    "graph": "complete",
    "algorithm": {"name": "diffusion", "rounds": 4},
    "optimizer": {"name": "adam", "lr": 0.01},
    "gan": "mlp-digits",
    "batch": 16,
    "checkpoint": 0,
}

FACTORY = """
class Writer:
    def __init__(self, folder):
        self.file = open(folder / "mine.txt", "a")

    def scalar(self, name, value, round, peer):
        self.file.write(f"{peer} {round} {name}\\n")

    def images(self, name, images, round, peer):
        self.file.write(f"{peer} {round} {name} {tuple(images.shape)}\\n")

    def close(self):
        self.file.close()
"""


class Kept:
    """Keeps all that it gets."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int, int | None], float] = {}
        self.pictures: dict[tuple[int, int | None], torch.Tensor] = {}
        self.closed = 0

    def scalar(self, name: str, value: float, round: int, peer: int | None) -> None:
        self.scalars[name, round, peer] = value

    def images(self, name: str, images: torch.Tensor, round: int, peer: int | None) -> None:
        assert name == "pictures"
        self.pictures[round, peer] = images

    def close(self) -> None:
        self.closed += 1


class Failing(Kept):
    def scalar(self, name: str, value: float, round: int, peer: int | None) -> None:
        raise RuntimeError("no more\nroom")


def simulate(folder: Path, metrics: Mapping[str, Any], **more: Any) -> sim.api.Run:
    return sim.api.run(KEYS | {"metrics": metrics}, run_dir=folder, report=False, **more)


def test_a_logger_gets_what_the_files_have_and_training_has_the_same_bits(tmp_path: Path) -> None:
    kept = Kept()
    plain = simulate(tmp_path / "plain", {"every": 2})
    logged = simulate(tmp_path / "logged", {"every": 2, "pictures_every": 2}, loggers=[kept])
    assert logged.arena_blake2b == plain.arena_blake2b
    assert kept.closed == 1
    lines = (logged.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        key = ("losses/generator", record["round"], record["peer"])
        assert kept.scalars[key] == record["losses"]["generator"]
    rounds = {round for _, round, _ in kept.scalars}
    assert rounds == {1, 2, 4}
    assert {peer for _, _, peer in kept.scalars} == {0, 1, 2, None}
    names = {name for name, _, peer in kept.scalars if peer == 1}
    assert {"losses/generator", "losses/discriminator", "bytes_out", "seconds"} <= names
    assert kept.scalars["disagreement/generator", 4, None] > 0
    assert set(kept.pictures) == {(r, k) for r in (2, 4) for k in range(3)}


def test_pictures_are_from_one_z_of_the_peers_own(tmp_path: Path) -> None:
    kept = Kept()
    done = simulate(tmp_path / "run", {"pictures_every": 3}, loggers=[kept])
    assert sorted(p.name for p in (done.path / "peer-2" / "pictures").iterdir()) == [
        "round-00000003.png",
        "round-00000004.png",  # the last
    ]
    state = done.states[2]
    again = draw_for(2, state.nets["generator"].module, state.gan.z_dim, 0)
    assert torch.equal(again, kept.pictures[4, 2])
    assert not torch.equal(kept.pictures[3, 2], kept.pictures[4, 2])
    image = np.asarray(Image.open(done.path / "peer-2" / "pictures" / "round-00000004.png"))
    np.testing.assert_array_equal(image, mosaic(again)[..., 0])
    module = state.nets["generator"].module
    other = draw_for(1, module, state.gan.z_dim, 0)
    assert len(other) == SHOWN
    assert not torch.allclose(other, again)


def test_drawing_leaves_a_generator_as_it_was() -> None:
    gan = make_gan("dcgan28", {"width": 2}, (1, 28, 28), seed=0)
    before = {name: value.clone() for name, value in gan.generator.state_dict().items()}
    gan.generator.train()
    gan.generator[2].eval()
    draw_for(0, gan.generator, gan.z_dim, 0)
    assert gan.generator.training
    assert not gan.generator[2].training
    for name, value in gan.generator.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_logger_of_ones_own_is_named_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_logger_of_a_test.py").write_text(FACTORY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    metrics = {"every": 4, "pictures_every": 4, "loggers": ["my_logger_of_a_test:Writer"]}
    done = simulate(tmp_path / "run", metrics)
    lines = (done.path / "mine.txt").read_text(encoding="utf-8").splitlines()
    assert "0 4 losses/generator" in lines
    assert "2 4 pictures (16, 1, 8, 8)" in lines
    assert "None 4 disagreement/discriminator" in lines


def test_one_that_fails_is_left_out_and_the_others_go_on() -> None:
    said: list[str] = []
    kept, failing = Kept(), Failing()
    with Loggers([failing, kept], said.append) as loggers:
        for round in (1, 2):
            loggers.record(0, round, {"losses": {"generator": 0.5}, "missing": [3], "word": "x"})
    assert said == ["logger Failing failed, and is left out: no more room"]
    assert kept.scalars == {("losses/generator", r, 0): 0.5 for r in (1, 2)}
    assert (kept.closed, failing.closed) == (1, 0)


def test_what_is_not_finite_is_nan() -> None:
    kept = Kept()
    Loggers([kept]).record(1, 2, {"losses": {"generator": None}, "is_server": True}, seconds=3)
    assert math.isnan(kept.scalars["losses/generator", 2, 1])
    assert kept.scalars["seconds", 2, 1] == 3
    assert len(kept.scalars) == 2


# --- refused before training -------------------------------------------------------------------


def test_without_the_extra_tensorboard_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorboard, "PACKAGE", "no_such_package")
    file = tmp_path / "x.yaml"
    file.write_text(
        "peers: 2\nalgorithm: {name: diffusion, rounds: 1}\ngan: mlp-digits\noptimizer: adam\n"
        "metrics: {tensorboard: true}\n"
    )
    with pytest.raises(SystemExit) as ended:
        run_app(sim_app, ["run", str(file), "--run-dir", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: metrics.tensorboard: needs the package tensorboardX; pip install "
        "'hearsay[tensorboard]', or leave the key out\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("plain", "is no factory; name your own as module:factory"),
        ("no_such_module:make", "cannot import 'no_such_module'"),
        ("math:no_such", "has nothing called 'no_such'"),
    ],
)
def test_loggers_that_are_not_there_are_refused(name: str, why: str) -> None:
    with pytest.raises(UserError, match=f"metrics.loggers: .*{why}"):
        check_loggers(from_mapping(KEYS | {"metrics": {"loggers": [name]}}))


def test_a_factory_that_fails_is_named(tmp_path: Path) -> None:
    experiment = from_mapping(KEYS | {"metrics": {"loggers": ["math:sqrt"]}})
    with pytest.raises(UserError, match="'math:sqrt' fails: must be real number"):
        open_loggers(experiment, tmp_path)


# --- TensorBoard -------------------------------------------------------------------------------


def test_tensorboard_has_the_curves_and_the_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    metrics = {"every": 2, "pictures_every": 4, "tensorboard": True}
    done = simulate(tmp_path / "run", metrics)
    found: dict[str, list[int]] = {}
    for file in (done.path / "peer-1" / "tensorboard").iterdir():
        raw = file.read_bytes()
        while raw:  # a record: its length (8), a checksum (4), the event, a checksum (4)
            length = int.from_bytes(raw[:8], "little")
            event = Event.FromString(raw[12 : 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
            raw = raw[16 + length :]
    assert found["losses/generator"] == [1, 2, 4]
    assert found["pictures"] == [4]
    assert (done.path / "tensorboard").is_dir()

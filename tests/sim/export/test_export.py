"""``sim export``: which generator, which file, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sim.api
from peer.console import run_app
from sim.__main__ import app
from sim.export import onnx_file
from sim.export.command import final_generator_of
from sim.records.reader import read_run

KEYS: dict[str, Any] = {
    "peers": 3,
    "algorithm": {"name": "diffusion", "rounds": 2},
    "optimizer": {"name": "adam", "lr": 0.01},
    "gan": "mlp-digits",
    "batch": 16,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    return sim.api.run(KEYS, run_dir=folder, report=False).path


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_app(app, ["export", *words])
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_a_page_beside_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(run), "--peer", "2", "--html", "--half") == 0
    said = capsys.readouterr().out
    assert f"written: {run}/generator-2.html (" in said
    assert "float16 changes the values of 16 pictures" in said
    page = (run / "generator-2.html").read_text(encoding="utf-8")
    assert "<h1>What peer 2 draws</h1>" in page
    assert "diffusion among 3 peers, 2 rounds" in page


def test_onnx_draws_what_torch_draws(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    out = tmp_path / "g.onnx"
    assert command(str(run), "--peer", "1", "--out", str(out)) == 0
    generator, gan, _ = final_generator_of(read_run(run), 1)
    session = runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        z = torch.randn(count, gan.z_dim, generator=torch.Generator().manual_seed(count))
        (found,) = session.run(["images"], {"z": z.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, generator(z).numpy(), atol=1e-4)


def test_onnx_without_its_packages(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx_file, "_NEEDED", ("no_such_package",))
    assert command(str(run)) == 2
    assert "pip install 'hearsay[onnx]', or write a page with --html" in capsys.readouterr().err


def test_what_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(run), "--peer", "3", "--html") == 2
    assert "the run has peers 0 to 2" in capsys.readouterr().err
    assert command(str(run), "--half") == 2
    assert "say --html, too" in capsys.readouterr().err
    assert command(str(run), "--html", "--out", str(run / "experiment.yaml" / "x")) == 2
    assert "cannot be written" in capsys.readouterr().err
    part = tmp_path / "part"
    shutil.copytree(run, part)
    (part / "peer-1" / "generator.safetensors").unlink()
    assert command(str(part), "--peer", "1", "--html") == 2
    assert "it left no generator (it holds none); 0, 2 did" in capsys.readouterr().err


def test_a_mixture_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    peer = folder / "peer-0"
    for name in ("a", "b"):
        shutil.copy(peer / "generator.safetensors", peer / f"generator-{name}.safetensors")
    summary = json.loads((peer / "summary.json").read_text(encoding="utf-8"))
    summary["mixture"] = {"a": 0.5, "b": 0.5}
    (peer / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert command(str(folder), "--peer", "0", "--html") == 2
    assert "ends with 2 generators that share the work" in capsys.readouterr().err
    assert command(str(folder), "--peer", "1", "--html") == 0

"""The page that draws: its script's numbers are torch's, and in a browser its canvas is painted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from peer.gan import Gan
from peer.gan.build import make_gan
from sim.export.operations import operations_of
from sim.export.page import directions, half_error, write_page
from topology.errors import UserError

NODE = shutil.which("node")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

NETS: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("mlp-digits", {}, (1, 8, 8)),
    ("pytorch-gan-mlp", {}, (1, 8, 8)),
    ("distributed-mlp", {}, (3, 5, 4)),
    ("dcgan28", {"width": 4}, (1, 28, 28)),
    ("dcgan-diffusion32", {"width": 4}, (3, 32, 32)),
    ("dcgan64", {"width": 2}, (3, 64, 64)),
    ("dcgan32", {}, (3, 32, 32)),
    ("unetgan", {"width": 2, "z": 16}, (3, 32, 32)),
    ("resnet32", {"width": 4}, (3, 32, 32)),
    ("resnet64", {"width": 2}, (1, 64, 64)),
]

RUN = """
const net = load(model);
console.log(JSON.stringify(zs.map((z) => Array.from(generate(net, z)))));
"""


def trained(name: str, settings: dict[str, Any], shape: tuple[int, int, int]) -> Gan:
    """A GAN whose batch norms have seen something, in evaluation mode."""
    gan = make_gan(name, settings, shape, seed=0)
    generator = torch.Generator().manual_seed(1)
    gain = 2 if name.startswith("dcgan") else 1  # theirs start so small that images are all grey
    with torch.no_grad():
        for _ in range(3):
            gan.generator(torch.randn(16, gan.z_dim, generator=generator))
        for part in gan.generator.parameters():
            part.mul_(gain + 0.3 * torch.randn(part.shape, generator=generator))
    gan.generator.eval()
    return gan


def page_of(gan: Gan, shape: tuple[int, int, int], **more: Any) -> str:
    return write_page(gan.generator, gan.z_dim, shape, title="<T>", subtitle="a & b", **more)


def scripts(page: str) -> tuple[Any, str]:
    """The model, and the script that computes, as they stand in the page."""
    model = re.search(r'<script type="application/json" id="model">(.*?)</script>', page, re.DOTALL)
    plain = re.findall(r"<script>\n(.*?)</script>", page, re.DOTALL)
    assert model is not None
    assert len(plain) == 2
    return json.loads(model[1]), plain[0]


def drawn_by_node(page: str, z: torch.Tensor, folder: Path) -> np.ndarray[Any, Any]:
    assert NODE is not None
    model, script = scripts(page)
    given = f"const model = {json.dumps(model)};\nconst zs = {json.dumps(z.tolist())};\n"
    (folder / "run.js").write_text(script + given + RUN, encoding="utf-8")
    done = subprocess.run(
        [NODE, str(folder / "run.js")], capture_output=True, text=True, check=True, timeout=60
    )
    return np.array(json.loads(done.stdout), dtype=np.float32)


@pytest.mark.skipif(NODE is None, reason="there is no node here to run the page's script")
@pytest.mark.parametrize(("name", "settings", "shape"), NETS, ids=[net[0] for net in NETS])
def test_the_script_draws_what_torch_draws(
    name: str, settings: dict[str, Any], shape: tuple[int, int, int], tmp_path: Path
) -> None:
    gan = trained(name, settings, shape)
    z = torch.randn(2, gan.z_dim, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = gan.generator(z).flatten(1).numpy()
    assert wanted.std() > 1e-3
    found = drawn_by_node(page_of(gan, shape), z, tmp_path)  # (2, values of an image)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.skipif(NODE is None, reason="there is no node here to run the page's script")
@pytest.mark.parametrize(
    ("name", "shape"),
    [("dcgan28", (1, 28, 28)), ("pytorch-gan-mlp", (1, 9, 9)), ("resnet32", (1, 32, 32))],
)
def test_a_generator_that_is_told_classes(
    name: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    gan = make_gan(name, {}, shape, seed=0, classes=3, embedding=5)
    gan.generator.eval()
    noise = torch.randn(3, gan.z_dim, generator=torch.Generator().manual_seed(2))
    inputs = torch.cat((noise, torch.eye(3)), dim=1)
    with torch.no_grad():
        wanted = gan.generator(inputs).flatten(1).numpy()
    page = page_of(gan, shape, classes=["cat", "dog", "<none>"])
    assert "<none>" not in page
    model, _ = scripts(page)
    assert model["classes"] == ["cat", "dog", "<none>"]
    assert [len(of) for of in model["directions"]] == [gan.z_dim] * 2
    np.testing.assert_allclose(drawn_by_node(page, inputs, tmp_path), wanted, atol=1e-4)


@pytest.mark.skipif(NODE is None, reason="there is no node here to run the page's script")
def test_half_weights_differ_by_what_is_said(tmp_path: Path) -> None:
    shape = (1, 28, 28)
    gan = trained("dcgan28", {"width": 8}, shape)
    z = torch.randn(4, gan.z_dim, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = gan.generator(z).flatten(1).numpy()
    full, half = page_of(gan, shape), page_of(gan, shape, half=True)
    assert len(half) < 0.6 * len(full)
    error = np.abs(drawn_by_node(half, z, tmp_path) - wanted).max()
    assert 1e-6 < error < 1e-3
    assert half_error(gan.generator, z) == pytest.approx(error, rel=0.05)


@pytest.mark.skipif(NODE is None, reason="there is no node here to run the page's script")
def test_numbers_from_a_seed_are_standard_normal(tmp_path: Path) -> None:
    assert NODE is not None
    gan = make_gan("mlp-digits", {}, (1, 8, 8), seed=0)
    _, script = scripts(page_of(gan, (1, 8, 8)))
    more = "console.log(JSON.stringify([normal(7, 20000), normal(7, 3), normal(8, 3)]));"
    (tmp_path / "run.js").write_text(script + more, encoding="utf-8")
    done = subprocess.run(
        [NODE, str(tmp_path / "run.js")], capture_output=True, text=True, check=True
    )
    many, again, other = json.loads(done.stdout)
    assert many[:3] == again != other
    assert np.mean(many) == pytest.approx(0, abs=0.02)
    assert np.std(many) == pytest.approx(1, abs=0.02)
    assert np.mean(np.abs(many) < 1.96) == pytest.approx(0.95, abs=0.01)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page")
def test_a_browser_paints_sixteen_pictures(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    shape = (3, 32, 32)
    (tmp_path / "page.html").write_text(
        page_of(trained("dcgan-diffusion32", {"width": 4}, shape), shape), encoding="utf-8"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=700,900"]
    done = subprocess.run(
        [
            CHROMIUM,
            *options,
            f"--screenshot={tmp_path / 'seen.png'}",
            f"file://{tmp_path}/page.html",
        ],
        capture_output=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    dumped = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", f"file://{tmp_path}/page.html"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert 'data-drawn="16"' in dumped.stdout
    seen = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB"), dtype=np.float64)
    assert seen[350:600, 100:500].std() > 5  # in the middle of the canvas


def test_nothing_in_the_page_reaches_for_the_network() -> None:
    page = page_of(trained("mlp-digits", {}, (1, 8, 8)), (1, 8, 8))
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|\bsrc=|\bhref=|fetch\(|XMLHttp|import\(|WebSocket", page)
    assert "<title>&lt;T&gt;</title>" in page


def test_a_name_of_a_class_is_text_and_no_part_of_the_page() -> None:
    name = '</script><script>alert("a neighbour chose this")</script>'
    gan = make_gan("mlp-digits", {}, (1, 8, 8), seed=0, classes=2, embedding=5)
    page = page_of(gan, (1, 8, 8), classes=(name, "b"))
    model, _ = scripts(page)  # there are as many scripts as ever
    assert model["classes"] == [name, "b"]
    assert "<script>alert" not in page


# --- what a page cannot draw with ---------------------------------------------------------------


class Choosing(nn.Module):
    """Does something else where values say so."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z if z.sum() > 0 else -z


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([nn.Linear(4, 4), nn.GELU(), nn.Unflatten(1, (1, 2, 2))], "a layer GELU"),
        ([nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 1, 3, padding=2, dilation=2)], "a convolution"),
        ([nn.Unflatten(1, (1, 2, 2)), nn.Upsample(scale_factor=2, mode="bilinear")], "Upsample"),
        (
            [nn.Unflatten(1, (1, 2, 2)), nn.BatchNorm2d(1, track_running_stats=False)],
            "without running statistics",
        ),
        ([Choosing()], "control flow"),
    ],
)
def test_what_is_unknown_is_refused_and_onnx_named(layers: list[nn.Module], named: str) -> None:
    with pytest.raises(UserError, match=f"{named}.*ONNX, without --html"):
        operations_of(nn.Sequential(*layers).eval(), 4)


def test_the_directions_are_those_that_the_first_layer_stretches_most() -> None:
    layer = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([1.0, 5.0, 2.0])))
    found = operations_of(nn.Sequential(layer, nn.Unflatten(1, (3, 1, 1))).eval(), 3)
    assert np.allclose(directions(found, 3), [[0, 1, 0], [0, 0, 1]])
    without = operations_of(nn.Sequential(nn.Tanh(), nn.Unflatten(1, (3, 1, 1))).eval(), 3)
    assert len(directions(without, 3)) == 2

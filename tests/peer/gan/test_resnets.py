"""The residual pair: against plain torch, its spectral norms, and in the engines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, interpolate, linear, relu

import algorithms
from peer.experiment import from_mapping
from peer.gan.build import make_gan
from peer.gan.models.resnets import DownBlock, UpBlock
from peer.gan.models.spectral import SpectralConv2d, SpectralLinear
from peer.state import PeerState
from sim.engines.stacked import Stacked
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN

Tensors = dict[str, torch.Tensor]


def conv(x: torch.Tensor, w: Tensors, name: str) -> torch.Tensor:
    return conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding="same")


def norm(x: torch.Tensor, w: Tensors, name: str) -> torch.Tensor:
    return batch_norm(x, None, None, w[f"{name}.weight"], w[f"{name}.bias"], training=True)


def test_the_up_block_is_the_papers_figure() -> None:
    """Each side enlarged before its convolution, as the paper draws it."""
    torch.manual_seed(1)
    block, x = UpBlock(3, 5), torch.randn(4, 3, 6, 6)
    w = dict(block.named_parameters())
    h = conv(interpolate(relu(norm(x, w, "norm1")), scale_factor=2), w, "conv1")
    h = conv(relu(norm(h, w, "norm2")), w, "conv2")
    expected = h + conv(interpolate(x, scale_factor=2), w, "shortcut")
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def normalised(net: nn.Module) -> Tensors:
    """All parameters, weights divided by their largest singular values, by LAPACK."""
    found = dict(net.named_parameters())
    for name, w in found.items():
        if name.endswith("weight"):
            found[name] = w / torch.linalg.svdvals(w.detach().flatten(1))[0]
    return found


@pytest.mark.parametrize(
    ("width_in", "halves", "first"),
    [(3, True, True), (3, True, False), (5, False, False), (3, False, False)],
    ids=["first", "halves", "flat", "flat, wider"],
)
def test_the_down_block_is_the_papers_figure(width_in: int, halves: bool, first: bool) -> None:
    torch.manual_seed(2)
    block, x = DownBlock(width_in, 5, halves, first), torch.randn(4, width_in, 6, 6)
    for _ in range(300):
        block(x)  # until the power iterations have found the singular values
    w = normalised(block)
    h = conv(relu(conv(x if first else relu(x), w, "conv1")), w, "conv2")
    shortcut = conv(x, w, "shortcut") if "shortcut.weight" in w else x
    expected = h + shortcut
    if halves:
        expected = avg_pool2d(expected, 2)
    torch.testing.assert_close(block(x), expected, rtol=1e-3, atol=1e-4)


def test_the_whole_pair_is_the_papers_table() -> None:
    gan = make_gan("resnet32", {"width": 6, "z": 7}, (3, 32, 32), seed=4)
    G, D = gan.generator, gan.discriminator
    assert gan.z_dim == 7
    z = torch.randn(3, 7)
    w = dict(G.named_parameters())
    h = linear(z, w["0.weight"], w["0.bias"]).reshape(3, 6, 4, 4)
    for k in (2, 3, 4):
        h = G[k](h)  # type: ignore[index]
    h = torch.tanh(conv(relu(norm(h, w, "5")), w, "7"))
    assert h.shape == (3, 3, 32, 32)
    torch.testing.assert_close(G(z), h, rtol=1e-4, atol=1e-5)
    D.eval()
    x = h.detach()
    for k, side in enumerate((16, 8, 8, 8)):
        x = D[k](x)  # type: ignore[index]
        assert x.shape == (3, 3, side, side)
    last = D[5]  # type: ignore[index]
    weight = last.weight / last.weight.norm()  # one row: its norm is its singular value
    expected = linear(relu(x).sum((2, 3)), weight, last.bias)
    torch.testing.assert_close(D(h), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "side"), [("resnet32", 32), ("resnet64", 64)])
def test_every_layer_of_the_discriminator_is_normalised_from_the_start(
    name: str, side: int
) -> None:
    gan = make_gan(name, {"width": 4}, (3, side, side), seed=0)
    layers = [m for m in gan.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == {"resnet32": 11, "resnet64": 16}[name]
    for layer in layers:
        assert isinstance(layer, SpectralConv2d | SpectralLinear)
        matrix = layer.weight.detach().flatten(1)
        direction = layer.u / layer.u.norm()
        found = (matrix.T @ direction).norm().item()
        assert found == pytest.approx(torch.linalg.svdvals(matrix)[0].item(), rel=0.05)
    assert "0.conv1.u" in {slot.name for slot in gan.layouts["discriminator"].slots}


PICTURES = PLAIN | {
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 2},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "gan": {"name": "resnet32", "width": 4, "z": 8},
    "data": {"source": "synthetic", "images": 12, "size": 32, "channels": 3, "partition": "own"},
    "batch": 4,
    "peers": 3,
}


def end(keys: dict[str, Any], engine: Stacked | None) -> dict[int, PeerState]:
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment), engine=engine)
    return states


@pytest.mark.parametrize(
    "loss",
    ["hinge", {"name": "wgan", "gradient_penalty": 10}, {"name": "hinge", "r1": 5, "r1_every": 2}],
    ids=["hinge", "gradient penalty", "lazy R1"],
)
def test_stacked_is_one_peer_at_a_time(loss: Any) -> None:
    engine = Stacked(convolutions=True)
    stacked, alone = end(PICTURES | {"loss": loss}, engine), end(PICTURES | {"loss": loss}, None)
    assert all(tuner.stacked for tuner in engine.tuners.values())
    for k, state in alone.items():
        for name, net in state.nets.items():
            ours = stacked[k].nets[name].arena.vector
            torch.testing.assert_close(ours, net.arena.vector, rtol=1e-3, atol=1e-4)

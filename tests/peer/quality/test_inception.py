"""Inception weights from a file: errors, and features through a stand-in for torch-fidelity."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from peer.quality.inception import FEATURES, Inception, as_bytes
from tests.support.inception import StandIn, library, stand_in_weights  # noqa: F401
from topology.errors import UserError


@pytest.mark.usefixtures("library")
def test_features_of_images(tmp_path: Path):
    save_file(stand_in_weights(), tmp_path / "inception.safetensors")
    net = Inception(tmp_path / "inception.safetensors")
    colour = torch.tensor([1.0, 0.0, -1.0])[:, None, None].expand(3, 4, 4)
    images = colour[None].repeat(40, 1, 1, 1)
    images[33, 0, 0, 0] = torch.nan
    features = net.features(images)
    assert features.shape == (40, FEATURES)
    np.testing.assert_allclose(features[0, :3], [255, 0, 0], rtol=1e-5)
    assert np.isnan(features).all(axis=1).nonzero()[0].tolist() == [33]
    grey = net.features(torch.zeros(2, 1, 4, 4))
    np.testing.assert_allclose(grey[:, :2], 128, rtol=1e-5)


def test_images_become_bytes_within_their_range():
    images = torch.tensor([-1.5, -1.0, 0.0, 1.0, 2.0, torch.nan]).view(1, 1, 2, 3)
    assert as_bytes(images)[0, 2].flatten().tolist() == [0, 0, 128, 255, 255, 128]


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name.split('.')[0]}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"torch-fidelity.*pip install 'hearsay\[fid\]'"):
        Inception(tmp_path / "inception.safetensors")


@pytest.mark.usefixtures("library")
def test_a_file_that_is_not_the_net(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(UserError, match="there is no such file"):
        Inception(path)
    torch.save(stand_in_weights(), path)
    with pytest.raises(UserError, match="not a safetensors file"):
        Inception(path)
    save_file({"fc.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r"'conv.weight' is missing; it must have shape \(2048, 3"):
        Inception(path)
    save_file(stand_in_weights() | {"bn.bias": torch.zeros(7)}, path)
    with pytest.raises(UserError, match=r"'bn.bias' has shape \(7,\); it must"):
        Inception(path)

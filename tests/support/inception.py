"""A stand-in for torch-fidelity's Inception net, which the tests do not install."""

from __future__ import annotations

import io
import sys
import types

import pytest
import torch
from torch import nn

from peer.quality.inception import FEATURES


class StandIn(nn.Module):
    """As torch-fidelity's net is built: it loads a pickle, and wants bytes of three channels."""

    def __init__(self, name, features_list, feature_extractor_weights_path):
        super().__init__()
        assert features_list == ["2048"]
        assert isinstance(feature_extractor_weights_path, io.BytesIO)
        self.conv = nn.Conv2d(3, FEATURES, 1, bias=False)
        self.bn = nn.BatchNorm2d(FEATURES)
        self.load_state_dict(
            torch.load(feature_extractor_weights_path, weights_only=False)  # what the library does
        )
        self.eval()

    def forward(self, x):
        assert x.dtype == torch.uint8
        return (self.bn(self.conv(x.to(torch.float32))).mean(dim=(2, 3)),)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def stand_in_weights() -> dict[str, torch.Tensor]:
    kernel = torch.zeros(FEATURES, 3, 1, 1)
    kernel[0, 0] = kernel[1, 2] = 1.0  # feature 0 is the mean of red, feature 1 that of blue
    return {
        "conv.weight": kernel,
        "bn.weight": torch.ones(FEATURES),
        "bn.bias": torch.zeros(FEATURES),
        "bn.running_mean": torch.zeros(FEATURES),
        "bn.running_var": torch.ones(FEATURES) - 1e-5,
    }

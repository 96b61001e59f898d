"""The discriminator's regulariser (Roth et al. 2017): its value, and its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from peer.gan.losses import LOSSES
from peer.gan.objectives import OBJECTIVES, Batch


def test_the_golden_regulariser() -> None:
    one = torch.ones(3, 1)
    of_bce, of_squares = LOSSES["bce_ns"].penalty, LOSSES["lsgan"].penalty
    assert of_bce is not None
    assert of_squares is not None
    assert of_bce(one, -one, 4 * one, 4 * one).item() == pytest.approx(0.578636, abs=1e-6)
    assert of_squares(one, one, 9 * one, 4 * one).item() == 2.0


@pytest.mark.parametrize("loss", ["bce_ns", "lsgan"])
def test_the_regularisers_gradient_is_that_of_finite_differences(loss: str) -> None:
    torch.manual_seed(0)
    D = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    batch = Batch(
        torch.randn(5, 1, 2, 2, dtype=torch.float64),
        fake=torch.randn(5, 1, 2, 2, dtype=torch.float64),
        gamma=0.7,
    )

    def value() -> torch.Tensor:
        return OBJECTIVES["regularised"].value(None, D, LOSSES[loss], batch).minimised

    gradients = torch.autograd.grad(value(), list(D.parameters()))
    for w, gradient in zip(D.parameters(), gradients, strict=True):
        for i in range(w.numel()):
            with torch.no_grad():
                kept = w.view(-1)[i].item()
                w.view(-1)[i] = kept + 1e-5
            high = value().item()
            with torch.no_grad():
                w.view(-1)[i] = kept - 1e-5
            low = value().item()
            with torch.no_grad():
                w.view(-1)[i] = kept
            assert gradient.view(-1)[i].item() == pytest.approx((high - low) / 2e-5, abs=1e-7)

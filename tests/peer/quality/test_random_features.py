"""Random features: fixed for good, for every machine, and as telling as a trained judge's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from peer.quality.random_features import FEATURES, RandomFeatures, random_features
from peer.streams import stream

GOLDEN = [0.1212419, 0.10850802, 0.1212419, -0.08568536]


def _images(channels: int, size: int, n: int = 3) -> torch.Tensor:
    draws = stream(7, "images of a test").uniform(-1, 1, (n, channels, size, size))
    return torch.from_numpy(draws).float()


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32), (3, 33), (1, 3)])
def test_any_size_gives_256_features_of_unit_scale(channels: int, size: int) -> None:
    found = random_features(channels)(_images(channels, size, 200))
    assert found.shape == (200, FEATURES)
    assert found.dtype == np.float64
    assert 0.01 < found.std() < 10


def test_by_an_independent_forward_pass() -> None:
    """The definition once more, by unfolding: no convolution, no shared code."""
    net, x = RandomFeatures(1), _images(1, 9)
    maps = x.double()
    for kernel in net._kernels:
        n, _, h, w = maps.shape
        columns = functional.unfold(maps, 3, padding=1, stride=2)  # (n, c 9, places)
        maps = torch.einsum("oc,ncp->nop", kernel.double().flatten(1), columns)
        maps = torch.where(maps > 0, maps, 0.2 * maps)
        maps = maps.reshape(n, -1, (h + 1) // 2, (w + 1) // 2)
    wanted = torch.cat((maps.mean((2, 3)), maps.amax((2, 3))), 1)
    np.testing.assert_allclose(net(x), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_kernels_are_orthogonal_and_the_same_for_ever() -> None:
    for kernel in random_features(3)._kernels:
        rows = kernel.flatten(1).double()
        gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
        scale = float(gram.diagonal().mean())
        torch.testing.assert_close(gram, scale * torch.eye(len(gram)).double(), atol=1e-5, rtol=0)
    before = torch.get_rng_state()
    again = RandomFeatures(3)
    assert torch.equal(before, torch.get_rng_state())
    for one, other in zip(again._kernels, random_features(3)._kernels, strict=True):
        assert torch.equal(one, other)
    golden = random_features(1)(torch.zeros(1, 1, 8, 8) + 0.5)[0]
    np.testing.assert_allclose(golden[[0, 1, 128, 255]], GOLDEN, rtol=1e-5)


def test_an_image_that_is_not_finite_has_no_features() -> None:
    x = _images(1, 8)
    x[1, 0, 0, 0] = torch.nan
    found = random_features(1)(x)
    assert np.isnan(found[1]).any()
    assert np.isfinite(found[[0, 2]]).all()

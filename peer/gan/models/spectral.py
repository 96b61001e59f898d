"""Spectral normalisation: a layer's weight divided by its largest singular value.

Source: Miyato, Kataoka, Koyama, Yoshida 2018 (arXiv:1802.05957).

torch's own keeps both singular vectors, and they must belong together. Peers average floating
buffers with their neighbours', and an average of unit vectors is no unit vector; so here only u is
kept, as a direction of any length, and v is computed from it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import conv2d, linear, normalize


def spectrally_normal(weight: torch.Tensor, u: torch.Tensor, training: bool) -> torch.Tensor:
    """``weight`` (rows, ...) divided by its largest singular value, found by one power iteration.

    Args:
        weight: a layer's weight; all dimensions but the first are flattened into columns.
        u: (rows,), the left singular vector so far, of any length; updated in place in training.
        training: whether to update u.
    """
    matrix = weight.flatten(1)  # (rows, columns)
    with torch.no_grad():
        v = normalize(matrix.T @ u, dim=0)  # (columns,)
        found = normalize(matrix @ v, dim=0)  # (rows,)
        if training:
            u.copy_(found)  # in place: in an arena u is a view
    sigma = found.dot(matrix @ v)  # the gradient reaches the matrix alone, as in the paper
    return weight.div(sigma.clamp_min(1e-12))


def settle(net: nn.Module, iterations: int = 15) -> None:
    """Power iterations before training, so that the first steps are normalised, too."""
    for layer in net.modules():
        if isinstance(layer, SpectralConv2d | SpectralLinear):
            for _ in range(iterations):
                spectrally_normal(layer.weight, layer.u, training=True)


class SpectralConv2d(nn.Conv2d):
    """A convolution with a spectrally normal weight and the parameters of a plain one."""

    u: torch.Tensor

    def __init__(self, width_in: int, width_out: int, kernel: int, padding: int = 0) -> None:
        super().__init__(width_in, width_out, kernel, padding=padding)
        self.register_buffer("u", torch.ones(width_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width_in, h, w) to (batch, width_out, h, w)."""
        weight = spectrally_normal(self.weight, self.u, self.training)
        return conv2d(x, weight, self.bias, padding=self.padding)


class SpectralLinear(nn.Linear):
    """A fully connected layer with a spectrally normal weight and the parameters of a plain one."""

    u: torch.Tensor

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out)
        self.register_buffer("u", torch.ones(width_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width_in) to (batch, width_out)."""
        return linear(x, spectrally_normal(self.weight, self.u, self.training), self.bias)

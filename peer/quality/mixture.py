"""Several generators as one: what Oasis ends with, a share of samples from each group's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from peer.gan import Gan
from peer.gan.arena import module_with
from peer.gan.conditional import Asked
from peer.state import PeerState
from peer.state.moving_average import AVERAGE

_GOLDEN = (5**0.5 - 1) / 2


class Mixture(nn.Module):
    """Draws each sample from one of ``parts``, as often as its share says.

    Which one follows from the sample's place in the batch (a low-discrepancy sequence), so that
    shares are kept in every batch and nothing is drawn at random.
    """

    def __init__(self, parts: list[nn.Module], shares: list[float]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.shares = shares

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Noise (batch, z_dim) to images (batch, c, h, w)."""
        place = (np.arange(1, len(z) + 1) * _GOLDEN) % 1.0
        edges = np.cumsum(self.shares)[:-1] / sum(self.shares)
        which = torch.from_numpy(np.searchsorted(edges, place, side="right")).to(z.device)
        images: torch.Tensor | None = None
        for i, part in enumerate(self.parts):
            rows = which == i
            if rows.any():
                drawn = part(z[rows])
                if images is None:
                    images = drawn.new_empty((len(z), *drawn.shape[1:]))
                images[rows] = drawn
        assert images is not None
        return images


def final_generator(state: PeerState) -> nn.Module:
    """What a peer ends with: its generator, that one's moving average, or a mixture of its groups'.

    The average is taken where the experiment has one; the mixture is Oasis's. One that is told
    classes is asked for all of them in turn.
    """
    generator = state.nets[AVERAGE if AVERAGE in state.nets else "generator"].module
    shares: Mapping[str, float] = state.facts.get("mixture", {})
    if shares:
        parts = [module_with(generator, state.tensors[f"{name}/generator"]) for name in shares]
        generator = Mixture(parts, list(shares.values()))
    return asked_for_all(generator, state.gan)


def asked_for_all(generator: nn.Module, gan: Gan) -> nn.Module:
    """From z alone: a generator that is told classes is asked for all of them in turn."""
    return Asked(generator, gan.classes) if gan.classes else generator


def mixture_in(generator: nn.Module) -> Mixture | None:
    """The mixture that a generator is, or that is asked for classes; None where it is none."""
    net = generator.net if isinstance(generator, Asked) else generator
    return net if isinstance(net, Mixture) else None

"""A peer's own images, and the mini-batches that it draws from them."""

from __future__ import annotations

import numpy as np
import torch


class Shard:
    """A peer's own images, and the order in which it sees them.

    The images are shuffled at the start of every epoch; mini-batches are consecutive pieces of that
    order, and images that do not fill one at the epoch's end are skipped. A shard of fewer images
    than a mini-batch is sampled with replacement.
    """

    def __init__(self, pixels: torch.Tensor, labels: np.ndarray | None) -> None:
        self.pixels = pixels  # (n, c, h, w) in [-1, 1], on the peer's device
        self.labels = labels  # (n,) or None
        self.order = np.empty(0, dtype=np.int64)
        self.position = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def choose(self, batch: int, rng: np.random.Generator) -> np.ndarray:
        """The next mini-batch, as the indices of its images, (batch,)."""
        n = len(self)
        if n < batch:
            return rng.integers(0, n, batch)
        if self.position + batch > len(self.order):
            self.order = rng.permutation(n)
            self.position = 0
        chosen = self.order[self.position : self.position + batch]
        self.position += batch
        return chosen

    def take(self, chosen: np.ndarray, into: torch.Tensor | None = None) -> torch.Tensor:
        """The images with those indices, (batch, c, h, w); written to ``into``, if it is given."""
        numbers = torch.from_numpy(chosen).to(self.pixels.device)
        return torch.index_select(self.pixels, 0, numbers, out=into)

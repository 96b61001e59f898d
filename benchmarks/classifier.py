"""hearsay's part of :mod:`benchmarks.rivals`: peers that train a classifier, in one coroutine.

hearsay's nets are a generator and a discriminator, which gives one number an image. A classifier
gives that, too: log p(y | x) of an image x and a class y.
"""

from __future__ import annotations

import torch
from torch import nn

from peer.gan import OBJECTIVES, Batch, Loss
from peer.gan.conditional import one_hot
from peer.gan.objectives import Net, Objective, Value
from peer.peer import Peer

CLASSES, HIDDEN = 10, 50


class Classifier(nn.Module):
    """784-50-10: log p(y | x), (batch, 1), of images and one-hot classes; of images alone, 0."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        log_p: torch.Tensor = self.layers(x).log_softmax(dim=1)  # (batch, 10)
        return log_p.new_zeros(len(x), 1) if y is None else (log_p * y).sum(1, keepdim=True)


def layers() -> nn.Sequential:
    """The net that all sides train."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
    )


def nets(shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """The experiment's ``gan:``; no peer holds the generator."""
    return nn.Sequential(nn.Linear(1, 784), nn.Unflatten(1, shape)), Classifier()


def cross_entropy(_generator: Net | None, net: Net | None, _loss: Loss, batch: Batch) -> Value:
    """-log p(y | x), a mean over the mini-batch."""
    assert net is not None
    value = -net(batch.real, batch.labels_real).mean()  # type: ignore[call-arg, arg-type]
    return Value(value, value)


OBJECTIVES["classify"] = Objective(cross_entropy, sees_data=False)


async def classify(peer: Peer, rounds: int) -> None:
    """What every peer runs."""
    x, y = peer.pixels, one_hot(torch.from_numpy(peer.labels), CLASSES)
    draws, z = peer.rng("batches"), torch.zeros(peer.batch, 1)  # of a generator: there is none
    async for _ in peer.rounds(rounds):
        i = torch.from_numpy(draws.integers(0, len(x), peer.batch))
        await peer.adapt("discriminator", objective="classify", real=x[i], labels_real=y[i], z=z)
        await peer.combine("discriminator")

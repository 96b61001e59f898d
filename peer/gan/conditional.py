"""Nets that are told a class: G draws an image of class y, and D judges whether x is a real y.

Sources: Mirza, Osindero, "Conditional Generative Adversarial Nets" (2014, arXiv:1411.1784): G takes
z and y side by side, y as an embedding of its class. Miyato, Koyama, "cGANs with Projection
Discriminator" (ICLR 2018, arXiv:1802.05637, equation 3): with f(x) what D has computed before its
last layer psi,

    phi(x, y) = psi(f(x)) + e_y . f(x)

f is summed over the map where it is one, as there. Classes are one-hot everywhere, (batch, classes)
float32, and what G starts from is z with y beside it, (batch, z_dim + classes): so whoever
hands z on hands y on, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from topology.errors import UserError

Judge = Callable[..., torch.Tensor]


@runtime_checkable
class InTwoParts(Protocol):
    """A discriminator that says what it has computed before its last layer.

    Any module of one's own with these two is made conditional; an ``nn.Sequential`` is, too.
    """

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """f(x): (batch, width) or (batch, width, h, w)."""
        ...

    def verdict(self, f: torch.Tensor) -> torch.Tensor:
        """psi(f): (batch, 1)."""
        ...


class Halves(nn.Module):
    """A sequence of layers, parted before the last one that has parameters."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        has = [i for i, layer in enumerate(layers) if any(True for _ in layer.parameters())]
        self.first, self.last = layers[: has[-1]], layers[has[-1] :]

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """f(x)."""
        f: torch.Tensor = self.first(x)
        return f

    def verdict(self, f: torch.Tensor) -> torch.Tensor:
        """psi(f)."""
        phi: torch.Tensor = self.last(f)
        return phi


class ConditionalGenerator(nn.Module):
    """G(z, y): ``net`` of z and the embedding of y side by side.

    Args:
        net: from (batch, z_dim + width) to images.
        z_dim: how many numbers of noise it starts from.
        classes: how many there are.
        width: of an embedding.
    """

    def __init__(self, net: nn.Module, z_dim: int, classes: int, width: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.embedding = nn.Parameter(nn.init.normal_(torch.empty(classes, width)))
        self.net = net

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Noise and one-hot classes, (batch, z_dim + classes), to images (batch, c, h, w)."""
        z, y = inputs[:, : self.z_dim], inputs[:, self.z_dim :]
        images: torch.Tensor = self.net(torch.cat((z, y @ self.embedding), dim=1))
        return images


class ConditionalDiscriminator(nn.Module):
    """phi(x, y) = psi(f(x)) + e_y . f(x); embeddings start from 0, and D as one without classes.

    Args:
        net: f and psi.
        classes: how many there are.
        width: of f(x), once it is summed over the map.
    """

    def __init__(self, net: InTwoParts, classes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(classes, width))
        self.net = net

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Images (batch, c, h, w), one-hot classes, to logits (batch, 1); without y, psi alone."""
        f = self.net.features(x)
        phi = self.net.verdict(f)
        if y is None:
            return phi
        return phi + (y @ self.embedding * summed(f)).sum(dim=1, keepdim=True)


def summed(f: torch.Tensor) -> torch.Tensor:
    """(batch, width), of (batch, width) or of a map (batch, width, h, w)."""
    return f.sum(dim=(2, 3)) if f.dim() == 4 else f


class Labelled:
    """D with the classes of a mini-batch: ``of_real`` for its real images, ``of_fake`` for fakes.

    Called itself, it judges real images where there are any (so that a gradient penalty between
    the two takes the real one's class), and fakes otherwise.
    """

    def __init__(self, net: Judge, real: torch.Tensor | None, fake: torch.Tensor) -> None:
        self._net, self._real, self._fake = net, real, fake

    def of_real(self, x: torch.Tensor) -> torch.Tensor:
        """phi(x, y) of the batch's real images, (batch, 1)."""
        return self._net(x, self._real)

    def of_fake(self, x: torch.Tensor) -> torch.Tensor:
        """phi(G(z, y), y), (batch, 1)."""
        return self._net(x, self._fake)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, c, h, w) to logits (batch, 1)."""
        return self.of_fake(x) if self._real is None else self.of_real(x)


def judges(discriminator: Judge) -> tuple[Judge, Judge]:
    """D of real images, and D of fakes: one and the same where there are no classes."""
    if isinstance(discriminator, Labelled):
        return discriminator.of_real, discriminator.of_fake
    return discriminator, discriminator


class Asked(nn.Module):
    """A conditional generator that is asked for one class, or for all in turn, in every batch.

    Of noise alone, (batch, z_dim), as a generator without classes: what samples are judged by.
    """

    def __init__(self, net: nn.Module, classes: int, only: int | None = None) -> None:
        super().__init__()
        self.net = net
        self.classes, self.only = classes, only

    def asked(self, count: int) -> torch.Tensor:
        """The class of each image of a batch, (count,) int64."""
        if self.only is not None:
            return torch.full((count,), self.only)
        return torch.arange(count) % self.classes

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(batch, z_dim) to images (batch, c, h, w)."""
        y = one_hot(self.asked(len(z)), self.classes).to(z.device)
        images: torch.Tensor = self.net(torch.cat((z, y), dim=1))
        return images


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(n,) int64 to (n, classes) float32."""
    return nn.functional.one_hot(labels, classes).to(torch.float32)


def conditional_pair(
    name: str,
    factory: Callable[..., Any],
    settings: Mapping[str, Any],
    shape: tuple[int, int, int],
    classes: int,
    width: int,
) -> tuple[Any, int]:
    """The pair of nets that ``factory`` makes, conditional, and z_dim.

    A factory that takes ``classes`` makes it by itself: G of (batch, z_dim + classes), and D of
    (x, y) as :class:`ConditionalDiscriminator`. Of any other, which must take ``z``, the nets are
    wrapped.

    Raises:
        UserError: the factory takes neither, or its discriminator has no features.
    """
    known = inspect.signature(factory).parameters
    default = known["z"].default if "z" in known else None
    z = settings.get("z", default)
    if not isinstance(z, int):
        raise UserError(f"conditional: '{name}' takes no z, beside which a class could be told")
    if "classes" in known:
        return factory(shape, classes=classes, **settings), z
    pair = factory(shape, **{**settings, "z": z + width})
    if not (isinstance(pair, tuple) and len(pair) == 2):
        return pair, z  # refused as any pair that is none
    generator, discriminator = pair
    if type(discriminator) is nn.Sequential:
        discriminator = Halves(discriminator)
    if not isinstance(discriminator, InTwoParts):
        raise UserError(
            f"conditional: the discriminator of '{name}' does not say its features; give it "
            "features(x) and verdict(f), make it an nn.Sequential, or let the factory take classes"
        )
    with torch.no_grad():
        of = summed(discriminator.features(torch.zeros(2, *shape))).shape[1]
    return (
        ConditionalGenerator(generator, z, classes, width),
        ConditionalDiscriminator(discriminator, classes, of),
    ), z

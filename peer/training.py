"""Local training of a whole GAN: what federated systems do between two exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from peer.effects import Proximal, StepResult
from peer.peer import PAIR, Peer

Results = tuple[StepResult, StepResult]  # of D, of G
Order = Literal["D_first", "G_first", "simultaneous"]


class Regulariser(Protocol):
    """How much the discriminator's regulariser weighs, iteration by iteration (Oasis)."""

    def weight(self) -> float:
        """gamma, for the iteration that begins; 0 leaves the regulariser out."""
        ...

    def observe(self, d: StepResult, g: StepResult) -> None:
        """What the iteration gave, for each net."""
        ...


@dataclass(frozen=True)
class Training:
    """How a peer trains a pair of its nets.

    Attributes:
        order: ``D_first`` (Goodfellow et al. 2014): n_d steps of D, then one of G on new noise;
            ``G_first`` (the released code of FeGAN): G, then D on the very same fakes;
            ``simultaneous`` (Rasouli et al. 2020): both gradients at the old point.
        n_d: steps of D an iteration, in ``D_first``.
        mu: of the proximal term to ``anchors`` (FedProx, Ditto).
        anchors: arenas by net, (P,) each.
        regulariser: of D; None leaves it out.
        prefix: of the pair's names: ``"global_"`` trains the global pair.
    """

    order: Order = "D_first"
    n_d: int = 1
    mu: float = 0.0
    anchors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    regulariser: Regulariser | None = None
    prefix: str = ""


async def train(peer: Peer, steps: int, how: Training) -> None:
    """``steps`` iterations (T, or E) of a GAN, fresh mini-batches each."""
    iteration = {"D_first": _d_first, "G_first": _g_first, "simultaneous": _simultaneous}[how.order]
    for _ in range(steps):
        of_d = _pull(how, "discriminator")
        gamma = 0.0 if how.regulariser is None else how.regulariser.weight()
        if gamma:
            of_d |= {"objective": "regularised", "gamma": gamma}
        d, g = await iteration(peer, how, of_d)
        if how.regulariser is not None:
            how.regulariser.observe(d, g)


def _pull(how: Training, net: str) -> dict[str, Any]:
    anchor = how.anchors.get(net)
    return {"proximal": None if anchor is None else Proximal(anchor, how.mu)}


async def _d_first(peer: Peer, how: Training, of_d: dict[str, Any]) -> Results:
    generator, discriminator = (how.prefix + net for net in PAIR)
    for _ in range(how.n_d):
        d = await peer.adapt(discriminator, **of_d)
    return d, await peer.adapt(generator, **_pull(how, "generator"))


async def _g_first(peer: Peer, how: Training, of_d: dict[str, Any]) -> Results:
    generator, discriminator = (how.prefix + net for net in PAIR)
    z = peer.noise(how.prefix)
    fake = await peer.generate(generator, z)  # what G makes before it learns
    g = await peer.adapt(generator, z=z, **_pull(how, "generator"))
    return await peer.adapt(discriminator, fake=fake, **of_d), g


async def _simultaneous(peer: Peer, how: Training, of_d: dict[str, Any]) -> Results:
    generator, discriminator = (how.prefix + net for net in PAIR)
    d = await peer.gradient(discriminator, **of_d)
    g = await peer.gradient(generator, **_pull(how, "generator"))
    await peer.step(discriminator)
    await peer.step(generator)
    return d, g

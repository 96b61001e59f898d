"""Local training of a whole GAN: what federated systems do between two exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from peer.effects import Proximal, StepResult
from peer.gan.net_name import Role, pair_of
from peer.peer import Peer

Results = tuple[StepResult, StepResult]  # of D, of G
Order = Literal["D_first", "G_first", "simultaneous"]


class Regulariser(Protocol):
    """What sets gamma, the weight of the discriminator's regulariser, for each iteration."""

    def weight(self) -> float:
        """gamma for the next iteration; 0 leaves the regulariser out."""
        ...

    def observe(self, d: StepResult, g: StepResult) -> None:
        """Take note of the losses of an iteration."""
        ...


@dataclass(frozen=True)
class Training:
    """How a peer trains a pair of its nets.

    Attributes:
        order: ``D_first`` (Goodfellow et al. 2014, arXiv:1406.2661, algorithm 1): n_d steps of D,
            then one of G on new noise;
            ``G_first`` (the released code of FeGAN): one step of G, then one of D on the fakes
            that G had generated before its step;
            ``simultaneous`` (FedGAN: Rasouli et al. 2020, arXiv:2006.07228): both gradients at the
            old point, then both steps.
        n_d: steps of D an iteration, in ``D_first``.
        mu: of the proximal term to ``anchors`` (FedProx, Ditto).
        anchors: arenas by net, (P,) each.
        regulariser: of D; None leaves it out.
        prefix: of the pair's names: ``"global_"`` trains Ditto's global pair.
        batch: images a mini-batch; the experiment's number if None.
    """

    order: Order = "D_first"
    n_d: int = 1
    mu: float = 0.0
    anchors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    regulariser: Regulariser | None = None
    prefix: str = ""
    batch: int | None = None


async def train(peer: Peer, steps: int, how: Training) -> None:
    """``steps`` iterations (T, or E in the papers), each on fresh mini-batches."""
    iteration = {"D_first": _d_first, "G_first": _g_first, "simultaneous": _simultaneous}[how.order]
    for _ in range(steps):
        of_d = _arguments(how, "discriminator")
        gamma = 0.0 if how.regulariser is None else how.regulariser.weight()
        if gamma:
            of_d |= {"objective": "regularised", "gamma": gamma}
        d, g = await iteration(peer, how, of_d)
        if how.regulariser is not None:
            how.regulariser.observe(d, g)


def _arguments(how: Training, role: Role) -> dict[str, Any]:
    """What every step of the net of that role takes."""
    anchor = how.anchors.get(role)
    return {
        "proximal": None if anchor is None else Proximal(anchor, how.mu),
        "batch": how.batch,
    }


async def _d_first(peer: Peer, how: Training, of_d: dict[str, Any]) -> Results:
    generator, discriminator = pair_of(how.prefix)
    for _ in range(how.n_d):
        d = await peer.adapt(discriminator, **of_d)
    return d, await peer.adapt(generator, **_arguments(how, "generator"))


async def _g_first(peer: Peer, how: Training, of_d: dict[str, Any]) -> Results:
    generator, discriminator = pair_of(how.prefix)
    z = peer.noise(how.prefix, how.batch)  # (batch, z_dim)
    fake = await peer.generate(generator, z)  # (batch, c, h, w), before G learns
    g = await peer.adapt(generator, z=z, **_arguments(how, "generator"))
    return await peer.adapt(discriminator, fake=fake, z=z, **of_d), g


async def _simultaneous(peer: Peer, how: Training, of_d: dict[str, Any]) -> Results:
    generator, discriminator = pair_of(how.prefix)
    d = await peer.gradient(discriminator, **of_d)
    g = await peer.gradient(generator, **_arguments(how, "generator"))
    await peer.step(discriminator)
    await peer.step(generator)
    return d, g

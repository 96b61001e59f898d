"""Diffusion GAN: peers on a graph adapt their GANs and combine them with their neighbours'.

Source: Wang, Pavan, Sayed, "Decentralized GAN Training through Diffusion Learning" (EPFL, 2022),
algorithm 1, with the barriers that its pseudo-code implies: every peer adapts, then every peer
combines.

Settings give its relatives. ``order`` says where the gradient is taken: combine-then-adapt at the
combined point, consensus at the peer's own old point (Sayed, "Adaptation, Learning, and
Optimization over Networks", 2014, doi:10.1561/2200000051). ``overlap`` sends values while the next
ones are computed, so that what is combined is a round old: the parallel form of D-PSGD (Lian et al.
2017, arXiv:1705.09056, algorithm 1), which with one local step is consensus.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from algorithms.settings import AlgorithmSettings
from peer.peer import Peer


class DiffusionConfig(AlgorithmSettings):
    """Settings of ``algorithm: {name: diffusion, ...}``; the paper's are n_d = 5, n_g = 1."""

    rounds: int = Field(ge=0, description="Rounds, each of n_d + n_g exchanges.")
    n_d: int = Field(1, ge=0, description="Discriminator updates a round.")
    n_g: int = Field(1, ge=0, description="Generator updates a round.")
    local_steps: int = Field(1, ge=1, description="Gradient steps between two combinations.")
    order: Literal["adapt-then-combine", "combine-then-adapt", "consensus"] = Field(
        "adapt-then-combine", description="Where the gradient is taken."
    )
    overlap: bool = Field(
        False, description="Send while computing: a combine of values a round old, in no order."
    )

    @model_validator(mode="after")
    def _one_old_point(self) -> DiffusionConfig:
        if self.order == "consensus" and self.local_steps > 1:
            raise ValueError(
                "consensus takes its one gradient at the old point; set local_steps: 1, "
                "or order: adapt-then-combine for several"
            )
        if self.overlap and self.order != "adapt-then-combine":
            raise ValueError(
                "overlap sends values while it adapts, which is an order of its own; "
                f"leave out order: {self.order}, or overlap"
            )
        return self


async def diffusion(peer: Peer, config: DiffusionConfig) -> None:
    """What every peer k runs; a_lk are the combination weights, N_k the neighbours and k itself."""
    update = {
        "adapt-then-combine": adapt_then_combine,
        "combine-then-adapt": combine_then_adapt,
        "consensus": consensus,
    }[config.order]
    if config.overlap:
        update = overlapped
    async for _ in peer.rounds(config.rounds):
        for net, repeats in (("discriminator", config.n_d), ("generator", config.n_g)):
            for _ in range(repeats):
                await update(peer, net, config)


async def adapt_then_combine(peer: Peer, net: str, config: DiffusionConfig) -> None:
    """The paper's order: equations (10a) and (10b)."""
    await peer.adapt(net, config.local_steps)  # phi_k = w_k - mu grad J_k(w_k)         (10a)
    await peer.combine(net)  # w_k = sum over l in N_k of a_lk phi_l                    (10b)


async def combine_then_adapt(peer: Peer, net: str, config: DiffusionConfig) -> None:
    """The gradient at the combined point; the messages are the same."""
    await peer.combine(net)  # psi_k = sum over l in N_k of a_lk w_l
    await peer.adapt(net, config.local_steps)  # w_k = psi_k - mu grad J_k(psi_k)


async def consensus(peer: Peer, net: str, config: DiffusionConfig) -> None:
    """The gradient at the peer's own old point."""
    await peer.gradient(net)  # grad J_k(w_k)
    await peer.combine(net)  # psi_k = sum over l in N_k of a_lk w_l
    await peer.step(net)  # w_k = psi_k - mu grad J_k(w_k)


async def overlapped(peer: Peer, net: str, config: DiffusionConfig) -> None:
    """Both at once, from the old point: w_k = phi_k + sum over l in N_k of a_lk (w_l - w_k)."""
    await peer.adapt_and_combine(net, config.local_steps)

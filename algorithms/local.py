"""Training alone: the two baselines of the diffusion GAN paper (see :mod:`algorithms.diffusion`).

Non-cooperative: every peer trains on its own data, and no message is sent (A = I).
Centralised: one GAN trains on the union of the data (``peers: 1`` and ``partition: all``).
"""

from __future__ import annotations

from pydantic import Field

from algorithms.settings import AlgorithmSettings
from peer.peer import Peer


class LocalConfig(AlgorithmSettings):
    """Settings of ``algorithm: {name: local, ...}``; the names are those of diffusion's."""

    rounds: int = Field(ge=0, description="Rounds of n_d + n_g updates.")
    n_d: int = Field(1, ge=0, description="Discriminator updates a round.")
    n_g: int = Field(1, ge=0, description="Generator updates a round.")
    local_steps: int = Field(1, ge=1, description="Gradient steps an update.")


async def local(peer: Peer, config: LocalConfig) -> None:
    """What every peer k runs, alone."""
    async for _ in peer.rounds(config.rounds):
        for net, repeats in (("discriminator", config.n_d), ("generator", config.n_g)):
            for _ in range(repeats):
                await peer.adapt(net, config.local_steps)  # w_k = w_k - mu grad J_k(w_k)

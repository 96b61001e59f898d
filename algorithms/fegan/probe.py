"""What a device can do, measured before the first round: the probe of FeGAN's loads."""

from __future__ import annotations

import torch

from algorithms.fegan.load import Capability, regression
from peer.effects import Now
from peer.peer import Peer


async def probe(peer: Peer, repeats: int = 3) -> Capability:
    """Time a full iteration (the gradients of both nets) at B/4, B/2 and B, and fit a line.

    Nothing is learned and nothing is drawn from the peer's streams.
    """
    state = peer.state
    batches, seconds = [], []
    for batch in (state.batch // 4, state.batch // 2, state.batch):
        real = torch.zeros_like(peer.pixels[:1]).expand(batch, -1, -1, -1)
        z = torch.zeros(batch, state.gan.z_dim, device=state.device)
        for _ in range(repeats):
            began = await Now()
            await peer.gradient("discriminator", real=real, z=z)
            await peer.gradient("generator", z=z)
            batches.append(batch)
            seconds.append(await Now() - began)
    alpha, beta = regression(batches, seconds)
    return Capability(alpha=alpha, beta=beta)

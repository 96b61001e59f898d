"""A device's capability, measured before the first round (FeGAN's ``probe: true``)."""

from __future__ import annotations

import torch

from algorithms.fegan.load import Capability, regression
from peer.effects import Now
from peer.peer import Peer


async def probe(peer: Peer, repeats: int = 3) -> Capability:
    """Time a full iteration (the gradients of both nets) at B/4, B/2 and B, and fit a line.

    No net changes, and no image or noise is drawn from the peer's streams.
    """
    batches, seconds = [], []
    for batch in (peer.batch // 4, peer.batch // 2, peer.batch):
        real = torch.zeros_like(peer.pixels[:1]).expand(batch, -1, -1, -1)
        z = torch.zeros(batch, peer.z_dim, device=peer.device)
        for _ in range(repeats):
            began = await Now()
            await peer.gradient("discriminator", real=real, z=z)
            await peer.gradient("generator", z=z)
            batches.append(batch)
            seconds.append(await Now() - began)
    alpha, beta = regression(batches, seconds)
    return Capability(alpha=alpha, beta=beta)

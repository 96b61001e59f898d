"""A device's capability, measured before the first round (FeGAN's ``probe: true``)."""

from __future__ import annotations

import torch

from algorithms.fegan.load import Capability, regression
from peer.effects import Gradient, Now
from peer.peer import Peer
from peer.rehearsal import rehearsal


async def probe(peer: Peer, repeats: int = 3) -> Capability:
    """Time a full iteration (the gradients of both nets) at B/4, B/2 and B, and fit a line.

    The batches are blank. Each has 2, 3 and 4 images at least, whatever B is: batch-norm refuses
    one image, and a line needs different sizes. Nothing of it stays: nets, batch-norm's statistics
    and random streams are as before, and no loss is recorded.
    """
    B = peer.batch
    batches, seconds = [], []
    with rehearsal(peer):
        for batch in (max(2, B // 4), max(3, B // 2), max(4, B)):
            real = torch.zeros_like(peer.pixels[:1]).expand(batch, -1, -1, -1)
            z = torch.zeros(batch, peer.z_dim, device=peer.device)
            for _ in range(repeats):
                began = await Now()
                await Gradient("discriminator", "discriminator", {"real": real, "z": z})
                await Gradient("generator", "generator", {"z": z})
                batches.append(batch)
                seconds.append(await Now() - began)
    alpha, beta = regression(batches, seconds)
    return Capability(alpha=alpha, beta=beta)

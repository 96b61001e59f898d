"""Images from a generator as it would be used: in evaluation mode, and left as it was."""

from __future__ import annotations

import torch
from torch import nn

from peer.streams import torch_seeded

CHUNK = 256
"""Images that are generated at once."""


def draw(generator: nn.Module, z: torch.Tensor, seed: int) -> torch.Tensor:
    """z (n, z_dim) on the CPU to images (n, c, h, w), float32 on the CPU.

    Batch norm uses its running statistics; a module that draws random numbers of its own draws from
    ``seed``. The generator's mode is left as it was.
    """
    first = next(generator.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    modes = {module: module.training for module in generator.modules()}
    generator.eval()
    try:
        with torch.no_grad(), torch_seeded(seed):
            parts = [
                generator(z[start : start + CHUNK].to(device)).cpu()
                for start in range(0, len(z), CHUNK)
            ]
    finally:
        for module, training in modes.items():
            module.training = training
    return torch.cat(parts).to(torch.float32)

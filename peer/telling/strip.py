"""A few images side by side, as a PNG file that fits a STATUS."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from peer.net.status.account import LIMIT, STRIP

IMAGES = 8
"""In a strip."""

ROOM = LIMIT - 64
"""Bytes of the file: the round goes along."""

COLOURS = (64, 16)
"""In palettes that are tried, where all colours need more."""


def strip(images: torch.Tensor) -> bytes:
    """Images (n, c, h, w) in [-1, 1], the first :data:`IMAGES` of them, as a PNG's bytes.

    They are made smaller, and lose colours, until the file has at most :data:`ROOM` bytes.
    """
    values = images[:IMAGES].nan_to_num(nan=0.0).clamp(-1, 1).add(1).mul(127.5).round().byte()
    row = values.permute(1, 2, 0, 3).flatten(2).permute(1, 2, 0).numpy()  # (h, n w, c)
    whole = Image.fromarray(np.squeeze(row, -1) if row.shape[-1] == 1 else row)
    shrink = max(1, -(-whole.width // STRIP[0]), -(-whole.height // STRIP[1]))
    while True:
        small = whole.reduce(shrink)
        for each in (small, *(small.quantize(colours) for colours in COLOURS)):
            out = io.BytesIO()
            each.save(out, "PNG", optimize=True)
            if out.tell() <= ROOM:
                return out.getvalue()
        shrink += 1

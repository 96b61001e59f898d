"""A few images in two rows, as a PNG file that fits a STATUS."""

from __future__ import annotations

import io

import torch
from PIL import Image

from peer.net.status.account import LIMIT, STRIP

IMAGES = 8
COLUMNS = 4
"""Images in a strip, and in each of its rows."""

ROOM = LIMIT - 64
"""Bytes of the file: the round goes along."""

COLOURS = (64, 16)
"""In palettes that are tried, where all colours need more."""


def strip(images: torch.Tensor) -> bytes:
    """Images (n, c, h, w) in [-1, 1], n at least 8, the first eight of them, as a PNG's bytes.

    They are made smaller, and lose colours, until the file has at most :data:`ROOM` bytes.
    """
    values = images[:IMAGES].nan_to_num(nan=0.0).clamp(-1, 1).add(1).mul(127.5).round().byte()
    _, channels, height, width = values.shape
    rows = values.numpy().reshape(-1, COLUMNS, channels, height, width)
    grid = rows.transpose(0, 3, 1, 4, 2).reshape(-1, COLUMNS * width, channels)  # (2 h, 4 w, c)
    whole = Image.fromarray(grid.squeeze(-1) if channels == 1 else grid)
    shrink = max(1, -(-whole.width // STRIP[0]), -(-whole.height // STRIP[1]))
    while True:
        small = whole.reduce(shrink)
        for each in (small, *(small.quantize(colours) for colours in COLOURS)):
            out = io.BytesIO()
            each.save(out, "PNG", optimize=True)
            if out.tell() <= ROOM:
                return out.getvalue()
        shrink += 1

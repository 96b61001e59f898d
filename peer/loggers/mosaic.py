"""Images side by side as one picture, pixel for pixel."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

_GAP = 2
_LEAST_SIDE = 32


def mosaic(images: torch.Tensor) -> NDArray[np.uint8]:
    """Images (n, c, h, w) in [-1, 1], c 1 or 3, as a nearly square picture (height, width, c).

    Small images are magnified by a whole number, so that they can be seen.
    """
    n, channels, height, width = images.shape
    scale = max(1, -(-_LEAST_SIDE // min(height, width)))
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    values = images.nan_to_num(nan=0.0).clamp(-1, 1).add(1).mul(127.5).round().byte().numpy()
    big = values.repeat(scale, axis=2).repeat(scale, axis=3)
    cell = (height * scale + _GAP, width * scale + _GAP)
    shape = (rows * cell[0] + _GAP, columns * cell[1] + _GAP, channels)
    canvas = np.full(shape, 255, dtype=np.uint8)
    for index, image in enumerate(big):
        top = _GAP + (index // columns) * cell[0]
        left = _GAP + (index % columns) * cell[1]
        canvas[top : top + height * scale, left : left + width * scale] = image.transpose(1, 2, 0)
    return canvas


def save_images(images: torch.Tensor, path: Path) -> Path:
    """Write the :func:`mosaic` of ``images`` (n, c, h, w) as a PNG.

    Raises:
        OSError: it cannot be written.
    """
    canvas = mosaic(images)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas.squeeze(-1) if canvas.shape[-1] == 1 else canvas).save(path)
    return path

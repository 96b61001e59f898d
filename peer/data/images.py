"""Images in memory: raw pixels, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Images:
    """Raw pixels, and how to read them: value = pixel / unit + offset, in [-1, 1].

    Attributes:
        pixels: uint8 or float32, (n, c, h, w).
        labels: int64 (n,), from 0; None where the source has none.
        name: for messages and reports.
        unit: what a pixel is divided by. Dividing is exact at both ends of the range, where
            multiplying by a rounded 2/255 is not.
        offset: what is added then.
        class_names: of class 0, 1, 2...; empty where there are no labels.
    """

    pixels: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    name: str = "images"
    unit: float = 1.0
    offset: float = 0.0
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def classes(self) -> int:
        """How many classes have a name, or the largest label + 1 where none has; 0 without any."""
        if self.labels is None:
            return 0
        return len(self.class_names) or int(self.labels.max(initial=-1)) + 1

    def class_name(self, label: int) -> str:
        """What to call a class: its name, or its number where it has none."""
        return self.class_names[label] if self.class_names else str(label)

    def take(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> torch.Tensor:
        """Return the images at `indices`: contiguous float32 (n, c, h, w), in [-1, 1]."""
        chosen = self.pixels.take(np.asarray(indices, dtype=np.int64), axis=0)
        # torch's memory starts on a 64-byte boundary and NumPy's need not: how a matrix product
        # rounds may depend on it.
        images = torch.empty(chosen.shape, dtype=torch.float32)
        values = images.numpy()
        np.divide(chosen, np.float32(self.unit), out=values)
        values += np.float32(self.offset)
        return images


@dataclass(frozen=True)
class Found:
    """What a source found, before any of it is checked, limited, or made into `Images`.

    Attributes:
        count: how many images there are.
        read: the pixels (n, c, h, w) of all of them (None), or of those at these indices alone.
        name: for messages and reports.
        where: the place to blame for pixels, `data.path: FILE`.
        labels: one an image, as they stand there: whole numbers, or text; None where there are
            none.
        labels_where: the place to blame for labels.
        label_names: of the labels 0, 1, 2..., where the source has names for its numbers.
        is_text: whether labels are names (of folders, say) rather than numbers.
        unit: as of `Images`, with an offset of -1; None where pixels are of the user's making, and
            their type and values must show what they mean.
        files: of the images, in their order, where each has a file of its own.
    """

    count: int
    read: Callable[[NDArray[np.int64] | None], NDArray[Any]]
    name: str
    where: str
    labels: Any = None
    labels_where: str = "data.path"
    label_names: tuple[str, ...] | None = None
    is_text: bool = False
    unit: float | None = None
    files: Sequence[Path] = ()

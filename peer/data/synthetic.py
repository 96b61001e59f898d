"""Images made on the spot: a seeded mixture of Gaussians, one a class, of any size and number."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from peer.data.spec import DataSpec

_COARSE = 4
"""Centres are smooth: drawn on a grid of so many points each way, and enlarged."""

_CHUNK = 4096
"""Images made at a time, so that a million of them need no memory for their floats."""


def make_images(spec: DataSpec, owner: int | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (n, c, h, w), 0 to 255, and labels (n,), as many of each class but for one.

    Args:
        spec: `images`, `classes`, `size`, `channels`, `spread` and `mixture`, the seed.
        owner: the peer whose own they are; None for images that all share. The classes look the
            same to all.
    """
    side = spec.size or 8
    shape = (spec.channels or 1, side, side)
    assert isinstance(spec.classes, int)  # DataSpec sees to it: a made-up class has no name
    centres = _centres(spec.mixture, spec.classes, shape)  # (classes, c, h, w)
    rng = _stream(spec.mixture, "images", -1 if owner is None else owner)
    labels = rng.permutation(np.arange(spec.images, dtype=np.int64) % spec.classes)
    pixels = np.empty((spec.images, *shape), dtype=np.uint8)
    for start in range(0, spec.images, _CHUNK):
        of = labels[start : start + _CHUNK]
        values = rng.standard_normal((len(of), *shape), dtype=np.float32)
        values *= spec.spread
        values += centres[of]
        np.clip((values + 1) * 127.5 + 0.5, 0, 255, out=values)
        pixels[start : start + _CHUNK] = values  # cut, not rounded: hence the half
    return pixels, labels


@lru_cache(maxsize=4)  # peers of one simulation ask for the same
def _centres(mixture: int, classes: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    rng = _stream(mixture, "centres", 0)
    coarse = rng.uniform(-0.8, 0.8, (classes, shape[0], _COARSE, _COARSE))
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(coarse.astype(np.float32)),
        size=shape[1:],
        mode="bilinear",
        align_corners=True,
    )
    return np.asarray(smooth.numpy())


def _stream(seed: int, purpose: str, owner: int) -> np.random.Generator:
    key = (zlib.crc32(b"synthetic"), zlib.crc32(purpose.encode()), owner + 1)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))

"""A peer's own random streams.

Each stream follows from (experiment seed, peer id, purpose) alone, so that a draw of one peer, or
for one purpose, does not change another's. Draws have one fixed shape and order.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def stream(seed: int, *path: int | str) -> np.random.Generator:
    """The random stream at ``path`` under ``seed``; words are hashed by CRC-32."""
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


class Streams:
    """The streams of one peer, made when first asked for: ``streams["noise"]``."""

    def __init__(self, seed: int, peer: int) -> None:
        self.seed = seed
        self.peer = peer
        self._streams: dict[str, np.random.Generator] = {}

    def __getitem__(self, purpose: str) -> np.random.Generator:
        if purpose not in self._streams:
            self._streams[purpose] = stream(self.seed, self.peer, purpose)
        return self._streams[purpose]

    def dump(self) -> dict[str, Any]:
        """The state of every stream, in types that msgpack knows (128-bit counters as text)."""
        return {name: _pack(s.bit_generator.state) for name, s in sorted(self._streams.items())}

    def load(self, dumped: dict[str, Any]) -> None:
        """Set every stream to the state that :meth:`dump` returned."""
        self._streams.clear()
        for name, packed in dumped.items():
            self[name].bit_generator.state = _unpack(packed)


def _pack(state: Any) -> dict[str, Any]:
    counters = {name: str(value) for name, value in state["state"].items()}
    return {"counters": counters, "half": [int(state["has_uint32"]), int(state["uinteger"])]}


def _unpack(packed: dict[str, Any]) -> dict[str, Any]:
    has_half, half = packed["half"]
    counters = {name: int(value) for name, value in packed["counters"].items()}
    return {"bit_generator": "PCG64", "state": counters, "has_uint32": has_half, "uinteger": half}


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Torch's global generator set to ``seed`` inside the block, and untouched outside it.

    For code that draws from that generator: torch's initialisers, dropout, a user's own module.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield

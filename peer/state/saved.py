"""A peer's state as tensors and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import torch


@dataclass
class SavedState:
    """A peer's state as tensors and bytes: ready for a disk or another process.

    Attributes:
        tensors: arenas, optimizers' moments, the order of the shard, an algorithm's own; by name.
        facts: everything else, packed by msgpack.
    """

    tensors: dict[str, torch.Tensor]
    facts: bytes

    @property
    def round(self) -> int:
        """Rounds completed."""
        return int(unpacked(self.facts)["round"])

    @property
    def own_facts(self) -> dict[str, Any]:
        """What was in :attr:`PeerState.facts`."""
        return dict(unpacked(self.facts)["facts"])


def unpacked(facts: bytes) -> dict[str, Any]:
    """What :attr:`SavedState.facts` hold.

    Raises:
        ValueError: they are no peer's.
    """
    try:
        found = msgpack.unpackb(facts, strict_map_key=False)
        if {"peer", "round", "streams", "facts", "nets"} <= found.keys():
            return dict(found)
    except Exception:  # msgpack raises a dozen kinds; all mean the same
        pass
    raise ValueError("it is no peer's state")


def part_of(tensors: dict[str, torch.Tensor], net: str) -> dict[str, torch.Tensor]:
    """What belongs to ``net``, by its own names; taken out of ``tensors``."""
    names = [name for name in tensors if name.startswith(f"{net}/")]
    return {name.removeprefix(f"{net}/"): tensors.pop(name) for name in names}


def kind_in_words(kind: Any) -> str:
    """A net's layout and optimizer, for a message."""
    return "not there" if kind is None else f"of layout {kind[0]}, trained by {kind[1]}"

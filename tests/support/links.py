"""What links are given to exchange: moments, nets of many small chunks, and values."""

from __future__ import annotations

import numpy as np

from peer.effects import Moment
from peer.net.transfer.checksum import Checksum

CHUNK = 4096
SIZES = {"discriminator": 2 * CHUNK, "generator": 5 * CHUNK + 400}
"""Of a net's value, in bytes."""


def moments(count: int) -> list[Moment]:
    return [Moment(i // 2, i % 2) for i in range(count)]


def net_at(t: Moment) -> str:
    return ("discriminator", "generator")[t.exchange % 2]


def value_of(peer: int, t: Moment, sizes: dict[str, int] = SIZES) -> bytes:
    """What ``peer`` has to say at ``t``."""
    draw = np.random.default_rng([peer, t.round, t.exchange])
    return draw.standard_normal(sizes[net_at(t)] // 4, dtype=np.float32).tobytes()


def agreed(name: str) -> Checksum:
    """The checksum that both ends of a link know; none where the name is empty."""
    checksum = Checksum(is_on=True)
    checksum.agree([name])
    return checksum

"""Memory that arenas are sent from: written by the compute thread, read by the I/O thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from peer.effects import Moment
from peer.net.wire import CHUNK_LARGEST


class SendBuffer:
    """What a net was at one exchange, while it is sent from.

    Its beginning may be sent while the rest is still being written: as a payload, a slice of it
    holds what is there. The compute thread alone writes, and it alone knows the readers; the I/O
    thread only reads what is said to be there.

    Args:
        vector: float32 (P,), on the CPU.

    Attributes:
        readers: the neighbours, with their moments, who have not got all of it, and still want it.
        is_in_flight: zero-copy frames may still refer to this memory; rewriting it would send a
            torn value.
    """

    STEP = CHUNK_LARGEST // 4
    """Floats that are written at a time: as many as are sent at a time, at most."""

    def __init__(self, vector: torch.Tensor) -> None:
        self.vector = vector
        self.readers: set[tuple[int, Moment]] = set()
        self.is_in_flight = False
        self._bytes = vector.numpy().data.cast("B")
        self._written = len(self._bytes)  # bytes from the beginning that are there

    def begin(self, readers: Mapping[int, Moment]) -> None:
        """What it holds is out of date until :meth:`fill`; these will read it."""
        self.readers.update(readers.items())
        self._written = 0

    def fill(self, w: torch.Tensor, tell: Callable[[], None]) -> None:
        """Copy ``w`` (P,), and ``tell`` whenever there is more of it."""
        for start in range(0, len(w), self.STEP):
            place = slice(start, start + self.STEP)
            self.vector[place].copy_(w[place])
            self._written = 4 * min(place.stop, len(w))
            tell()

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, place: slice, /) -> memoryview:
        return self._bytes[place.start : min(place.stop, self._written)]


@dataclass(frozen=True)
class Released:
    """Nothing is sent to that neighbour any more from what went out at ``t``.

    Where parts of it may still lie in a socket, it is ``in_flight``.
    """

    neighbour: int
    t: Moment
    in_flight: bool


class SendBuffers:
    """One peer's send buffers, used again; for the compute thread alone."""

    def __init__(self) -> None:
        self._of: dict[str, list[SendBuffer]] = {}

    def next(self, net: str, length: int, readers: Mapping[int, Moment]) -> SendBuffer:
        """One of ``length`` floats that nobody reads any more: two of a net suffice, as a rule."""
        ring = self._of.setdefault(net, [])
        free = next((each for each in ring if not each.readers and not each.is_in_flight), None)
        if free is None:
            free = SendBuffer(torch.empty(length, dtype=torch.float32))
            ring[:] = [*(each for each in ring if not each.is_in_flight), free]
        free.begin(readers)
        return free

    def release(self, released: Released) -> None:
        """A neighbour needs one of them no more."""
        reader = released.neighbour, released.t
        for ring in self._of.values():
            for buffer in ring:
                if reader in buffer.readers:
                    buffer.readers.discard(reader)
                    buffer.is_in_flight |= released.in_flight

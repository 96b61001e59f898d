"""What a net was at one exchange: the compute thread writes it, the network thread sends it."""

from __future__ import annotations

import threading

import torch

from peer.net.wire import CHUNK_LARGEST


class Snapshot:
    """What a net was at one exchange, while it is sent from.

    Its beginning may be sent while the rest is still being taken: as a :class:`Payload`, it hands
    out what is there, and waits for what is not.

    Args:
        vector: float32 (P,), on the CPU.

    Attributes:
        readers: the neighbours who have not got all of it, and still want it.
        is_adrift: parts of it may lie in a socket, though its neighbour wants it no more: were it
            written again, that neighbour could get some of both values for one.
    """

    STEP = CHUNK_LARGEST // 4
    """Floats that are taken at a time: as many as are sent at a time, at most."""

    PATIENCE = 60.0
    """Seconds to wait for the compute thread, which takes milliseconds."""

    def __init__(self, vector: torch.Tensor) -> None:
        self.vector = vector
        self.readers: set[int] = set()
        self.is_adrift = False
        self._bytes = vector.numpy().data.cast("B")
        self._taken = len(vector)
        self._more = threading.Condition()

    def expect(self) -> None:
        """What it holds is out of date until :meth:`take`."""
        self._taken = 0

    def take(self, w: torch.Tensor) -> None:
        """Copy ``w``."""
        for start in range(0, len(w), self.STEP):
            place = slice(start, start + self.STEP)
            self.vector[place].copy_(w[place])
            with self._more:
                self._taken = min(place.stop, len(w))
                self._more.notify()

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, place: slice, /) -> memoryview:
        last = -(-min(place.stop, len(self)) // 4)
        with self._more:
            if not self._more.wait_for(lambda: self._taken >= last, self.PATIENCE):
                raise TimeoutError("the compute thread does not take its snapshot")
        return self._bytes[place]


class Snapshots:
    """One peer's snapshots, in memory that is used again; for the compute thread alone."""

    def __init__(self) -> None:
        self._of: dict[str, list[Snapshot]] = {}

    def take(self, net: str, length: int) -> Snapshot:
        """One of ``length`` floats that nobody sends from any more: two of a net do, as a rule."""
        ring = self._of.setdefault(net, [])
        free = next((each for each in ring if not each.readers and not each.is_adrift), None)
        if free is None:
            free = Snapshot(torch.empty(length, dtype=torch.float32))
            ring[:] = [*(each for each in ring if not each.is_adrift), free]
        free.expect()
        return free

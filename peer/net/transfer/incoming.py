"""One value of the neighbour's on its way here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from peer.net.header.seal import WireError
from peer.net.transfer.checksum import Checksum
from peer.net.transfer.chunks import FLOATS, chunk_count, is_letter
from peer.net.transfer.letters import unpack
from peer.net.wire import Chunk, Offer


@dataclass
class Incoming:
    """A value of the neighbour's on its way here, kept in ``buffer`` unless it is handed on."""

    offer: Offer
    buffer: memoryview  # offer.nbytes bytes
    received: int = 0  # chunks below this are here
    asked_again: bool = False  # once, for a corrupt piece
    asked_from: int = -1  # the piece that was last asked for as lost
    last: int = -1  # the piece that came last, wanted or not
    ask_at: float = float("inf")  # when to ask for it again
    ask_after: float = 0.0  # seconds until that question is repeated
    moved_at: float = float("-inf")  # when a piece came, or was asked for upon an offer
    is_kept: bool = True  # what has come of it is in the buffer
    sender: int = 0  # the session of the process that sends it
    is_written: bool = False  # just now, to our disk, or it was: not memory to be used again
    is_recorded: bool = False  # it is there
    _looked: int = 0  # bytes, whole floats, that have been looked at
    _finite: bool = True  # those are

    @property
    def count(self) -> int:
        """Chunks in all."""
        return chunk_count(self.offer.nbytes, self.offer.chunk)

    @property
    def end(self) -> int:
        """How many bytes are here."""
        return min(self.received * self.offer.chunk, self.offer.nbytes)

    def is_whole(self) -> bool:
        """Whether every chunk is here."""
        return self.received == self.count

    def is_of_floats(self) -> bool:
        """Whether every chunk can be used by itself: no float lies across two of them."""
        return self.offer.codec == FLOATS and self.offer.chunk % 4 == 0

    def is_next(self, chunk: Chunk, body: memoryview, checksum: Checksum) -> bool:
        """Whether that is the next chunk, as it was sent."""
        if self.is_whole() or chunk.index != self.received:
            return False
        if len(body) != min(self.offer.chunk, self.offer.nbytes - self.end):
            return False
        return checksum.fits(body, chunk.checksum)

    def add(self, body: memoryview, now: float, keep: bool = True) -> None:
        """Add the next chunk, found sound; its floats are looked at while they are in cache.

        Without ``keep``, which asks for chunks of whole floats, somebody else uses it.
        """
        start = self.end
        self.received += 1
        self.moved_at = now
        self.ask_at = float("inf")  # it goes on
        self.is_kept = self.is_kept and keep
        if keep:
            # the interpreter is free meanwhile, as it is not with memoryviews alone
            np.frombuffer(self.buffer, np.uint8)[start : self.end] = np.frombuffer(body, np.uint8)
        if self.offer.codec == FLOATS:
            whole = self.end // 4 * 4
            floats = self.buffer[self._looked : whole] if keep else body
            self._finite = self._finite and _is_finite(floats)
            self._looked = whole

    def start_again(self) -> None:
        """Nothing that has come is to be used."""
        self.received, self._looked, self._finite, self.is_kept = 0, 0, True, True

    def fault(self) -> str:
        """What is wrong with the whole value, if anything: nothing unsound is ever used."""
        if is_letter(self.offer.net):
            try:
                unpack(self.buffer)
            except WireError as problem:
                return str(problem)
            return ""
        finite = self._finite and _is_finite(self.buffer[self._looked :])
        return "" if finite else "NaN or Inf"


def _is_finite(values: memoryview) -> bool:
    """Whether float32 bytes hold no NaN and no Inf, in one pass as a rule.

    A sum with one of them in it is NaN or Inf itself; where finite values overflow it, each is
    looked at.
    """
    if not values:
        return True
    floats = torch.frombuffer(values, dtype=torch.float32)
    return math.isfinite(floats.sum().item()) or bool(floats.isfinite().all())

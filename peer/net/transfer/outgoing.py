"""One value of ours on its way to a neighbour."""

from __future__ import annotations

from collections.abc import Iterator

from peer.net.transfer.checksum import Checksum
from peer.net.transfer.chunks import SLOWEST_RETRY, Checksums, Payload, chunk_count
from peer.net.wire import Chunk, Offer

CREDIT = 16
"""Chunks of one value that may be on their way unacknowledged."""


class Outgoing:
    """A value of ours on its way to the neighbour, sent straight from the memory it lies in.

    Args:
        offer: what we say of it.
        payload: its bytes, unchanged until this object is forgotten.
        retry: seconds without progress after which it is offered again, doubling.
        checksums: what is known of the payload's checksums, and will be.
    """

    def __init__(
        self, offer: Offer, payload: Payload, retry: float, checksums: Checksums | None = None
    ) -> None:
        self.offer = offer
        self.payload = payload
        self.count = chunk_count(offer.nbytes, offer.chunk)
        self.begun = False  # some of it has been sent, be it to be sent again
        self.sent = 0
        self.acknowledged = 0
        self.waiting = False  # the neighbour has no room for it yet
        self.is_kept = False  # it is there
        self.retry_at = 0.0
        self._retry = self._retry_first = retry
        self._checksums: Checksums = {} if checksums is None else checksums
        self._offered_at: float | None = None  # for the first time

    @property
    def is_offered(self) -> bool:
        """Whether the neighbour was told of it."""
        return self._offered_at is not None

    def offered(self, now: float) -> None:
        """It has just been offered: when to do so again, if nothing comes of it."""
        if self._offered_at is None:
            self._offered_at = now
        self.retry_at = now + self._retry
        self._retry = min(2 * self._retry, SLOWEST_RETRY)

    def begin_anew(self) -> None:
        """By another connection: how long the last one was silent says nothing of it."""
        self._retry = self._retry_first

    def chunks(self, checksum: Checksum) -> Iterator[tuple[Chunk, memoryview]]:
        """The chunks that there is credit for, and that are written, with their bodies."""
        while (
            not self.waiting and self.sent < self.count and self.sent - self.acknowledged < CREDIT
        ):
            start = self.sent * self.offer.chunk
            end = min(start + self.offer.chunk, self.offer.nbytes)
            body = self.payload[start:end]
            if len(body) < end - start:
                return  # it is still being written; whoever writes it says when there is more
            yield Chunk(self.offer.t, self.sent, self._checked(checksum, start, body)), body
            self.sent += 1
            self.begun = True

    def _checked(self, checksum: Checksum, start: int, body: memoryview) -> int:
        piece = checksum.name, start, len(body)
        if piece not in self._checksums:
            self._checksums[piece] = checksum.of(body)
        return self._checksums[piece]

    def acknowledge(self, received: int, now: float) -> None:
        """The neighbour has the first ``received`` chunks, and room for more."""
        if self.waiting:
            self.go_back(received)
        progress = min(received, self.sent)
        if progress > self.acknowledged:
            self.acknowledged = progress
            self._retry = self._retry_first
            self.retry_at = now + self._retry

    def keep(self) -> None:
        """The neighbour has all of it, and may ask for it once more."""
        self.acknowledge(self.count, 0.0)
        self.is_kept, self.retry_at = True, float("inf")

    def go_back(self, index: int) -> None:
        """Send again from chunk ``index``."""
        self.waiting = self.is_kept = False
        self.sent = min(self.sent, index)
        self.acknowledged = min(self.acknowledged, index)

    def speed(self, now: float) -> float:
        """Bytes a second, from the first offer until now, when it is whole at the other end."""
        since = now if self._offered_at is None else self._offered_at
        return len(self.payload) / max(now - since, 1e-6)

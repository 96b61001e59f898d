"""One value on its way: cut into chunks at one end, received into place at the other."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from peer.compute.compressed_combine import Coding
from peer.effects import Moment
from peer.net.letters import ALIGNMENT, PREFIX, unpack
from peer.net.wire import CHUNK_LARGEST, CHUNK_SMALLEST, Ack, Chunk, Offer, WireError

CREDIT = 16
"""Chunks of one value that may be under way unacknowledged."""

SLOWEST_RETRY = 30.0
"""Seconds between two offers of the same value, at most."""


FLOATS, LETTER = "float32", "letter"
"""How a value is coded, unless the experiment compresses arenas: their floats, or a letter."""

LETTER_LIMIT = 64 * 2**20
"""Bytes of a letter that are given room where the nets are small; else, four times the nets."""


def is_letter(net: str) -> bool:
    """Whether a value offered under that name is a letter, and no arena."""
    return net.startswith(PREFIX)


def chunk_size(bytes_per_second: float) -> int:
    """Bytes of a chunk: a twentieth of a second's worth, from 256 KiB (unknown) to 4 MiB."""
    twentieth = int(bytes_per_second / 20)
    return min(CHUNK_LARGEST, max(CHUNK_SMALLEST, 1 << max(0, twentieth.bit_length() - 1)))


def chunk_count(nbytes: int, chunk: int) -> int:
    """How many chunks a value of ``nbytes`` is cut into (an empty one, into one)."""
    return max(1, -(-nbytes // chunk))


class Payload(Protocol):
    """The bytes of a value of ours."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> memoryview: ...


Sums = dict[tuple[int, int], int]
"""CRC-32 of pieces of one value, by place: worked out once, to however many neighbours it goes."""


class Outgoing:
    """A value of ours on its way to the neighbour, sent straight from the snapshot.

    Args:
        offer: what we say of it.
        payload: its bytes, unchanged until this object is forgotten.
        retry: seconds without progress after which it is offered again, doubling.
        sums: what is known of the payload's checksums, and will be.
    """

    def __init__(
        self, offer: Offer, payload: Payload, retry: float, sums: Sums | None = None
    ) -> None:
        self.offer = offer
        self.payload = payload
        self.count = chunk_count(offer.nbytes, offer.chunk)
        self.begun = False  # some of it has been sent, be it to be sent again
        self.sent = 0
        self.acknowledged = 0
        self.waiting = False  # the neighbour has no room for it yet
        self.retry_at = 0.0
        self._retry = self._retry_first = retry
        self._sums: Sums = {} if sums is None else sums
        self._offered_at: float | None = None  # for the first time

    def offered(self, now: float) -> None:
        """It has just been offered: when to do so again, if nothing comes of it."""
        if self._offered_at is None:
            self._offered_at = now
        self.retry_at = now + self._retry
        self._retry = min(2 * self._retry, SLOWEST_RETRY)

    def chunks(self, checksum: bool) -> Iterator[tuple[Chunk, memoryview]]:
        """The chunks that there is credit for, with their bodies."""
        while (
            not self.waiting and self.sent < self.count and self.sent - self.acknowledged < CREDIT
        ):
            start = self.sent * self.offer.chunk
            body = self.payload[start : start + self.offer.chunk]
            yield Chunk(self.offer.t, self.sent, self._sum(start, body) if checksum else 0), body
            self.sent += 1
            self.begun = True

    def _sum(self, start: int, body: memoryview) -> int:
        place = start, len(body)
        if place not in self._sums:
            self._sums[place] = zlib.crc32(body)
        return self._sums[place]

    def acknowledge(self, received: int, now: float) -> None:
        """The neighbour has the first ``received`` chunks, and room for more."""
        if self.waiting:
            self.go_back(received)
        progress = min(received, self.sent)
        if progress > self.acknowledged:
            self.acknowledged = progress
            self._retry = self._retry_first
            self.retry_at = now + self._retry

    def go_back(self, index: int) -> None:
        """Send again from chunk ``index``."""
        self.waiting = False
        self.sent = min(self.sent, index)
        self.acknowledged = min(self.acknowledged, index)

    def speed(self, now: float) -> float:
        """Bytes a second, from the first offer until now, when it is whole at the other end."""
        since = now if self._offered_at is None else self._offered_at
        return len(self.payload) / max(now - since, 1e-6)


@dataclass
class Incoming:
    """A value of the neighbour's on its way here, kept in ``buffer`` unless it is handed on."""

    offer: Offer
    buffer: memoryview  # offer.nbytes bytes
    received: int = 0  # chunks below this are here
    asked_again: bool = False  # once, for a corrupt piece
    asked_from: int = -1  # the piece that was last asked for as lost
    moved_at: float = float("-inf")  # when a piece came, or was asked for upon an offer
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
        """Every chunk is here."""
        return self.received == self.count

    def is_of_floats(self) -> bool:
        """Whether every chunk can be used by itself: no float lies across two of them."""
        return self.offer.codec == FLOATS and self.offer.chunk % 4 == 0

    def sound(self, chunk: Chunk, body: memoryview, checksum: bool) -> bool:
        """Whether that is the next chunk, as it was sent."""
        if self.is_whole() or chunk.index != self.received:
            return False
        if len(body) != min(self.offer.chunk, self.offer.nbytes - self.end):
            return False
        return not checksum or zlib.crc32(body) == chunk.crc32

    def take(self, body: memoryview, now: float, keep: bool = True) -> None:
        """The next chunk, found sound; its floats are looked at while they are in cache.

        Without ``keep``, which asks for chunks of whole floats, somebody else uses it.
        """
        start = self.end
        self.received += 1
        self.moved_at = now
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
        self.received, self._looked, self._finite = 0, 0, True

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


class Shelf:
    """Room for the neighbour's values: the exchange at hand, the next one, and no third.

    Args:
        sizes: bytes of each net's arena; nothing of another size is ever given room, but letters.
        coding: how arenas are encoded, and what sizes they have so; None: as their floats.
    """

    ROOM = 2

    def __init__(self, sizes: Mapping[str, int], coding: Coding | None = None) -> None:
        self.sizes = dict(sizes)
        self.coding = coding
        self._coming: dict[Moment, Incoming] = {}
        self._deferred: Offer | None = None
        self._spare: dict[tuple[str, int], list[memoryview]] = {}
        self._lent: Incoming | None = None

    def __getitem__(self, t: Moment) -> Incoming | None:
        return self._coming.get(t)

    def __iter__(self) -> Iterator[Incoming]:
        return iter(list(self._coming.values()))

    def fits(self, offer: Offer) -> bool:
        """Whether it is a value that we can use at all."""
        if offer.codec != self.codec_of(offer.net):
            return False
        if is_letter(offer.net):
            return offer.nbytes <= max(LETTER_LIMIT, 4 * sum(self.sizes.values()))
        if self.coding is not None:
            return self.coding.fits(offer.net, offer.nbytes)
        return self.sizes.get(offer.net) == offer.nbytes

    def codec_of(self, net: str) -> str:
        """How a value offered under that name is coded."""
        if is_letter(net):
            return LETTER
        return FLOATS if self.coding is None else self.coding.name

    def fault(self, incoming: Incoming) -> str:
        """What is wrong with a whole value, if anything: nothing unsound is ever used."""
        if self.coding is None or is_letter(incoming.offer.net):
            return incoming.fault()
        return self.coding.fault(incoming.offer.net, incoming.buffer)

    def accept(self, offer: Offer, at_hand: bool = False) -> bool:
        """Make room for an offered value; without room, remember the offer and return False.

        What is waited for (``at_hand``) always has room: who only sends may be two values ahead.
        """
        if len(self._coming) >= self.ROOM and not at_hand:
            self._deferred = offer
            return False
        spare = self._spare.get(
            (offer.net, offer.nbytes)
        )  # a letter's memory is its reader's to keep
        buffer = spare.pop() if spare else _aligned(offer.nbytes)
        self._coming[offer.t] = Incoming(offer, buffer)
        return True

    def has_whole(self, t: Moment) -> bool:
        """Whether the value for ``t`` is here, complete and sound."""
        return t in self._coming and self._coming[t].is_whole()

    def lend(self, t: Moment) -> memoryview:
        """Hand out the value for ``t``; its memory is kept for it until :meth:`tidy`."""
        self._lent = self._coming.pop(t)
        return self._lent.buffer

    def drop(self, t: Moment) -> None:
        """Forget what has come for ``t``."""
        incoming = self._coming.pop(t, None)
        if incoming is not None:
            self._keep(incoming)

    def _keep(self, incoming: Incoming) -> None:
        """An arena's memory is used again."""
        offer = incoming.offer
        if not is_letter(offer.net):
            self._spare.setdefault((offer.net, offer.nbytes), []).append(incoming.buffer)

    def drop_unfinished(self) -> None:
        """Forget values of which only a part has come, and offers."""
        self._deferred = None
        for incoming in self:
            if not incoming.is_whole():
                self.drop(incoming.offer.t)

    def clear(self) -> None:
        """Forget everything that has come."""
        self._deferred = None
        for incoming in self:
            self.drop(incoming.offer.t)

    def tidy(self, settled: Moment, begins: Moment | None = None) -> Ack | None:
        """What was lent has been used, and nothing up to ``settled`` is wanted any more.

        Nor is anything before the exchange that ``begins``, whose own value has room in any case.
        Returns the go-ahead for an offer that had been waiting for room, if there is one.
        """
        if self._lent is not None:
            self._keep(self._lent)
            self._lent = None
        for incoming in self:
            if _is_past(incoming.offer.t, settled, begins):
                self.drop(incoming.offer.t)
        offer, self._deferred = self._deferred, None
        if offer is None or _is_past(offer.t, settled, begins):
            return None
        return Ack(offer.t, 0, "more") if self.accept(offer, offer.t == begins) else None


def _aligned(nbytes: int) -> memoryview:
    """Memory as torch's own would lie: where a matrix begins may decide how it is rounded."""
    memory = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + nbytes].data


def _is_past(t: Moment, settled: Moment, begins: Moment | None) -> bool:
    return t <= settled or (begins is not None and t < begins)

"""A bit of a value that flips on its way is found, and the piece sent again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from peer.effects import Moment
from peer.net.header.seal import WireError
from peer.net.transfer import sender as sender_module
from peer.net.wire import (
    Ack,
    Chunk,
    Leave,
    Message,
    Nack,
    Offer,
    Ping,
    Pong,
    Rejoin,
    Welcome,
    decode,
    encode,
)
from tests.peer.net.test_link_against_a_script import Scripted
from tests.support.links import CHUNK, value_of

FLIPS = 10_000


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)
        yield


def flipped(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def exchange_with_flips(count: int, checksum: bool) -> None:
    """Flip a bit in each of so many chunks; it must be asked for again, and only the right used."""
    scripted = Scripted(checksum=checksum)
    rng = np.random.default_rng(0)
    done = moment = 0
    while done < count:
        t = Moment(moment, 1)  # the generator's: several chunks
        moment += 1
        scripted.begin(t)
        scripted.say(scripted.offer(t))
        chunks = scripted.chunks(t)
        spoilt = int(rng.integers(len(chunks)))  # a value may be asked for again once
        for chunk, body in chunks[:spoilt]:
            scripted.say(chunk, body)
        scripted.heard()
        chunk, body = chunks[spoilt]
        scripted.say(chunk, flipped(body, int(rng.integers(8 * len(body)))))
        assert scripted.heard() == [Nack(t, spoilt)]
        for chunk, body in chunks[spoilt:]:
            scripted.say(chunk, body)
        settled = scripted.settled()[-1]
        assert settled.t == t
        assert bytes(settled.value or b"") == value_of(1, t)
        assert scripted.link.strikes == 0
        scripted.say(Ack(t, len(chunks), "whole"))
        scripted.heard()
        scripted.events.clear()
        done += 1


def test_10000_flipped_bits_of_chunks_are_found() -> None:
    exchange_with_flips(FLIPS, checksum=True)


def test_without_checksums_they_would_not_be_found() -> None:
    with pytest.raises(AssertionError):
        exchange_with_flips(20, checksum=False)


T = Moment(70_000, 3)
MESSAGES: list[Message] = [
    Welcome(12345, 7, "abc"), Offer(T, "generator", 215_812, 262_144, "float32"),
    Chunk(T, 17, zlib.crc32(b"body")), Ack(T, 17, "whole"), Ack(T, 0, "late"), Nack(T, 3),
    Ping(T, 9), Pong(T, 9), Leave(7, "stopped"), Rejoin(9),
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_flipped_header_is_refused_or_another_message(message: Message) -> None:
    """Headers have no checksum: TCP has one, and CURVE authenticates them."""
    header = encode(2**40 + 5, 1000, message)
    right = decode(header)
    refused = 0
    for bit in range(8 * len(header)):
        try:
            found = decode(flipped(header, bit))
        except WireError:
            refused += 1
        else:
            assert found != right
            decode(encode(found.session, found.seq, found.message))  # and a whole one
    assert refused >= 8 * len("?hearsay?")  # whose protocol it is, of which version

"""An election's messages as bytes: back as they were, and anything else refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.net.header.seal import WireError, sealed
from peer.standby.election.messages import (
    Ask,
    Beat,
    Copy,
    Heard,
    Holds,
    Message,
    Position,
    Vote,
)
from peer.standby.wire import MAGIC, VERSION, decode, encode

NUMBERS = st.integers(0, 2**64 - 1)
POSITIONS = st.builds(Position, NUMBERS, NUMBERS)
SIZES = st.integers(0, 2**36)
MESSAGES = st.one_of(
    st.builds(Ask, NUMBERS, POSITIONS, st.booleans()),
    st.builds(Vote, NUMBERS, NUMBERS, st.booleans(), st.booleans()),
    st.builds(Beat, NUMBERS, NUMBERS, POSITIONS),
    st.builds(Heard, NUMBERS, POSITIONS),
    st.builds(Copy, NUMBERS, POSITIONS, SIZES, SIZES, st.binary(max_size=300)),
    st.builds(Holds, NUMBERS, POSITIONS, POSITIONS, SIZES),
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    header, body = encode("a1", 3, message)
    found = decode(header, body)
    assert (found.run, found.sender, found.message) == ("a1", 3, message)
    assert len(header) < 200


@given(MESSAGES, st.data())
def test_a_flipped_bit_is_found(message: Message, data: st.DataObject) -> None:
    header, body = encode("a1", 3, message)
    frames = [bytearray(header), bytearray(body or b"")]
    which = data.draw(st.integers(0, 8 * sum(map(len, frames)) - 1))
    frame = frames[0] if which < 8 * len(frames[0]) else frames[1]
    at = which if frame is frames[0] else which - 8 * len(frames[0])
    frame[at // 8] ^= 1 << at % 8
    with pytest.raises(WireError):
        decode(bytes(frames[0]), None if body is None else memoryview(bytes(frames[1])))


@given(st.binary(max_size=3000))
def test_any_bytes_are_refused_and_nothing_else_is_raised(header: bytes) -> None:
    with pytest.raises(WireError):
        decode(header, None)


@pytest.mark.parametrize(
    "parts",
    [
        [MAGIC, VERSION, "a1", 3, 3, 1, [1, -1], 0],  # a round below zero
        [MAGIC, VERSION, "a1", 3, 3, 1, [1], 0],
        [MAGIC, VERSION, "a1", 3, 3, True, [1, 1], 0],
        [MAGIC, VERSION, "a\n", 3, 3, 1, [1, 1], 0],
        [MAGIC, VERSION, "a1", 3, 9, 1, [1, 1], 0],
        [MAGIC, VERSION, "a1", 3, 3, 1, [1, 1], 1, 0],
        [MAGIC, VERSION + 1, "a1", 3, 3, 1, [1, 1], 0],
        [MAGIC, VERSION, "a1", 3, 0, 1, [1, 1], 1, 0],  # a number where a truth belongs
        [MAGIC, VERSION, "a1", 3, 4, 1, [1, 1], 2**40, 0, 0],  # a piece that is not there
    ],
)
def test_what_does_not_fit_exactly_is_refused(parts: list[object]) -> None:
    with pytest.raises(WireError):
        decode(sealed(parts), None)

"""Messages as bytes: all come back as they went; whatever else comes is a WireError."""

from __future__ import annotations

import dataclasses
import typing
import zlib
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peer.effects import BEFORE_ALL, Moment
from peer.net import wire
from peer.net.header.seal import HEADER_LIMIT, WireError, sealed
from peer.net.wire import (
    MAGIC,
    REASONS,
    TOPICS,
    TYPES,
    VERDICTS,
    VERSION,
    Ack,
    Chunk,
    Envelope,
    Heard,
    Hello,
    Join,
    Leave,
    Members,
    Message,
    Nack,
    Offer,
    Ping,
    Pong,
    Probe,
    Reject,
    Rejoin,
    Status,
    Vote,
    Welcome,
    decode,
    encode,
)

U32, U64 = 2**32 - 1, 2**64 - 1

u32 = st.integers(0, U32)
u64 = st.integers(0, U64)
moments = st.builds(Moment, st.integers(-1, U32), st.integers(-1, U32))
words = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=16)
digests = st.text("0123456789abcdef", min_size=16, max_size=16)
tables = st.dictionaries(words, digests, max_size=8)
statements = st.fixed_dictionaries(
    {
        "classes": u32,
        "names": words,
        "shape": st.lists(u32, max_size=3),
        "low": st.integers(-(2**31), U32),
        "of": digests,
    }
)

STRATEGIES: dict[type[Message], st.SearchStrategy[Any]] = {
    Hello: st.builds(Hello, u32, tables, tables, u32, st.just({}) | statements),
    Welcome: st.builds(Welcome, u64, u32, digests),
    Reject: st.builds(Reject, u64, words, st.lists(words, max_size=16)),
    Offer: st.builds(
        Offer,
        moments,
        words,
        st.integers(0, 2**40),
        st.integers(4096, wire.CHUNK_LARGEST),
        st.sampled_from(["float32", "bf16", ""]),
        u32,
    ),
    Members: st.builds(Members, digests, u32),
    Heard: st.builds(Heard, digests),
    Status: st.builds(Status, u32, st.sampled_from(TOPICS), u64, u32, u32),
    Join: st.builds(Join, st.lists(u32, max_size=8)),
    Chunk: st.builds(Chunk, moments, u32, u32),
    Ack: st.builds(Ack, moments, u32, st.sampled_from(VERDICTS)),
    Nack: st.builds(Nack, moments, u32),
    Ping: st.builds(Ping, moments, u64),
    Pong: st.builds(Pong, moments, u64),
    Leave: st.builds(Leave, u32, st.sampled_from(REASONS)),
    Rejoin: st.builds(Rejoin, u32),
    Vote: st.builds(Vote, moments, u64),
    Probe: st.builds(Probe, u32, tables, tables),
}
messages = st.one_of(*STRATEGIES.values())

EXAMPLES: tuple[Message, ...] = (
    Hello(3, {"graph": "abc"}, {"model:generator": "def"}, 7, {}, ["xxh3", "crc32"]),
    Welcome(12, 7, "0123456789abcdef"),
    Reject(12, "mismatch", ["graph", "seed"]),
    Offer(Moment(4, 1), "generator", 215_812, 262_144, "float32"),
    Chunk(Moment(4, 1), 2, 99),
    Ack(Moment(4, 1), 2, "more"),
    Nack(Moment(4, 1), 2),
    Ping(BEFORE_ALL, 5),
    Pong(Moment(0, 0), 5),
    Leave(2500, "stopped"),
    Probe(3, {"graph": "abc"}, {"model:generator": "def"}),
    Rejoin(4172),
    Vote(Moment(3, 1), 12),
    Offer(Moment(4, 1), "generator", 215_812, 262_144, "float32", 7),
    Members("0123456789abcdef", 123456),
    Heard("0123456789abcdef"),
    Join([2, 5]),
    Status(3, "account", 17, 1500, 123456),
)


def header_of(message: Message, session: int = 5, seq: int = 6) -> list[Any]:
    """The list that a header is, to be spoilt; without its checksum."""
    parts = msgpack.unpackb(encode(session, seq, message))
    assert isinstance(parts, list)
    return parts[:-1]


def only_wire_error(header: bytes) -> Envelope | None:
    """Decode; whatever comes out as an exception other than WireError fails the test by itself."""
    try:
        return decode(header)
    except WireError:
        return None


# --- round trip -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_message_comes_back_as_it_went(kind: type[Message]) -> None:
    @given(STRATEGIES[kind], u64, u64)
    @settings(max_examples=40)
    def check(message: Message, session: int, seq: int) -> None:
        header = encode(session, seq, message)
        back = decode(header)
        assert back == Envelope(session, seq, message)
        assert type(back.message) is kind
        assert decode(memoryview(header)) == back

    check()


def test_every_type_has_a_strategy_and_a_name_on_the_wire() -> None:
    assert set(STRATEGIES) == set(TYPES) == {type(message) for message in EXAMPLES}
    assert set(typing.get_args(Message)) == set(TYPES)
    numbers = dict.fromkeys(header_of(message)[2] for message in EXAMPLES)
    assert list(numbers) == list(range(17))  # the order is part of the protocol: it may only grow


def test_moments_come_back_as_moments_that_compare() -> None:
    t = decode(encode(0, 0, Nack(Moment(3, 1), 0))).message.t  # type: ignore[union-attr]
    assert type(t) is Moment
    assert BEFORE_ALL < t < Moment(3, 2)


def test_the_header_is_a_flat_msgpack_list() -> None:
    parts = header_of(Chunk(Moment(4, 1), 2, 99), session=5, seq=6)
    assert parts == [MAGIC, VERSION, TYPES.index(Chunk), 5, 6, [4, 1], 2, 99]


# --- what is refused ------------------------------------------------------------------------------


def test_another_magic_is_refused() -> None:
    parts = header_of(Leave(1, "finished"))
    for magic in ("Hearsay", "", b"hearsay", None, 1, ["hearsay"]):
        with pytest.raises(WireError, match="not a header of hearsay"):
            decode(sealed([magic, *parts[1:]]))


def test_another_version_is_refused_and_named() -> None:
    parts = header_of(Leave(1, "finished"))
    for version in (0, 1, 2, VERSION + 1, float(VERSION), True, "3", None, [3]):
        parts[1] = version
        with pytest.raises(WireError, match="protocol version"):
            decode(sealed(parts))


def test_a_deeply_nested_version_is_refused_like_any_other() -> None:
    # The message names the version; naming one of a thousand brackets must not exhaust the stack.
    for depth in (10, 500, 1000, 1020):
        nested = b"\x91" * depth + b"\x01"
        header = b"\x96" + msgpack.packb(MAGIC) + nested + b"\x00" * 4
        with pytest.raises(WireError):
            decode(header)


@pytest.mark.parametrize("number", [-1, len(TYPES), 255, 2**63, 1.0, True, "0", None])
def test_an_unknown_type_is_refused(number: Any) -> None:
    parts = header_of(Leave(1, "finished"))
    parts[2] = number
    with pytest.raises(WireError):
        decode(sealed(parts))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_field_too_few_or_too_many_is_refused(message: Message) -> None:
    parts = header_of(message)
    for spoilt in (parts[:-1], [*parts, 0], parts[:5], parts[:4], []):
        with pytest.raises(WireError):
            decode(sealed(spoilt))


def test_the_limit_of_a_header_is_two_kib_to_the_byte() -> None:
    assert HEADER_LIMIT == 2048
    parts = ["x" * 60] * 31  # 62 bytes each
    begun = [MAGIC, VERSION, TYPES.index(Reject), 0, 0, 0]
    code, last = "y" * 40, "x" * 60
    header = sealed([*begun, code, [*parts, last]])
    assert len(header) == HEADER_LIMIT
    assert decode(header).message == Reject(0, code, [*parts, last])
    with pytest.raises(WireError, match="2 KiB"):
        decode(sealed([*begun, code + "y", [*parts, last]]))
    with pytest.raises(WireError, match="2 KiB"):
        decode(b"\xc0" * (HEADER_LIMIT + 1))


def test_what_we_say_is_never_longer_than_what_is_heard() -> None:
    # Each word within its limit, the whole beyond it: better an error here than silence there.
    table = {f"{i:064}": "d" * 64 for i in range(32)}
    with pytest.raises(WireError):
        encode(0, 0, Hello(1, table, {}, 0))


def _wrong_values(value: Any) -> Iterator[Any]:
    """Values that no field like ``value`` may have."""
    yield from (None, b"bytes", 1.5, float("nan"), -(2**63), {"a": b"1"}, [[]], [1, 2, 3])
    yield msgpack.ExtType(5, b"?")
    yield msgpack.Timestamp(1)
    if isinstance(value, bool) or not isinstance(value, int):
        yield 3
    else:
        yield from (True, False, str(value), -2)
    if not isinstance(value, str):
        yield "word"
    else:
        yield from ("w" * 65, "w" * 1000)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_wrong_type_in_any_place_is_refused(message: Message) -> None:
    parts = header_of(message)
    for place in range(3, len(parts)):
        for wrong in _wrong_values(parts[place]):
            if isinstance(message, Join) and wrong == [1, 2, 3]:
                continue  # which these may be
            spoilt = [*parts[:place], wrong, *parts[place + 1 :]]
            with pytest.raises(WireError):
                decode(sealed(spoilt))


@pytest.mark.parametrize(
    ("message", "field", "wrong"),
    [
        (EXAMPLES[0], "peer", U32 + 1),
        (EXAMPLES[0], "round", -1),
        (EXAMPLES[0], "fingerprint", {str(i): "" for i in range(33)}),
        (EXAMPLES[0], "fingerprint", {"k" * 65: "v"}),
        (EXAMPLES[0], "signature", {"k": "v" * 65}),
        (EXAMPLES[0], "signature", {"k": 1}),
        (EXAMPLES[2], "parts", [""] * 33),
        (EXAMPLES[2], "parts", ["x", 1]),
        (EXAMPLES[2], "code", "x" * 65),
        (EXAMPLES[3], "nbytes", 2**40 + 1),
        (EXAMPLES[3], "nbytes", -1),
        (EXAMPLES[3], "chunk", 0),
        (EXAMPLES[3], "chunk", 4095),
        (EXAMPLES[3], "chunk", wire.CHUNK_LARGEST + 1),
        (EXAMPLES[3], "codec", "x" * 17),
        (EXAMPLES[3], "t", (0,)),
        (EXAMPLES[3], "t", (-2, 0)),
        (EXAMPLES[3], "t", (0, U32 + 1)),
        (EXAMPLES[3], "t", (0, True)),
        (EXAMPLES[4], "index", -1),
        (EXAMPLES[4], "checksum", -1),
        (EXAMPLES[5], "verdict", "More"),
        (EXAMPLES[5], "verdict", ["more"]),
        (EXAMPLES[9], "reason", "Finished"),
        (EXAMPLES[9], "reason", ["finished"]),
    ],
)
def test_a_value_beyond_its_range_is_refused(message: Message, field: str, wrong: Any) -> None:
    names = [each.name for each in dataclasses.fields(message)]
    parts = header_of(message)
    parts[5 + names.index(field)] = wrong
    with pytest.raises(WireError):
        decode(sealed(parts))


def test_words_that_would_command_a_terminal_are_refused() -> None:
    # Nets, parts and codes end up in log lines: a stranger's must not break or colour them.
    for word in ("a\nb", "\x1b[2J", "\r", "\x00", "\u202e"):
        with pytest.raises(WireError):
            decode(encode(0, 0, Reject(0, "mismatch", [word])))


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_flipped_bit_of_a_header_is_found(message: Message) -> None:
    # Without that, one bit of its number would put a sound chunk into another value.
    header = encode(5, 6, message)
    for bit in range(8 * len(header)):
        flipped = bytearray(header)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            decode(bytes(flipped))


# --- fuzz -----------------------------------------------------------------------------------------


@given(st.binary(max_size=HEADER_LIMIT + 64))
@settings(max_examples=250)
def test_arbitrary_bytes(header: bytes) -> None:
    assert only_wire_error(header) is None


@given(messages, st.data())
@settings(max_examples=250)
def test_up_to_three_flipped_bits_are_always_found(message: Message, data: st.DataObject) -> None:
    """The CRC-32 promises it for headers of this length: none means another thing."""
    header = bytearray(encode(5, 6, message))
    places = st.integers(0, 8 * len(header) - 1)
    for bit in data.draw(st.lists(places, min_size=1, max_size=3, unique=True)):
        header[bit // 8] ^= 1 << bit % 8
    assert only_wire_error(bytes(header)) is None


@given(messages, st.data())
@settings(max_examples=200)
def test_cut_or_lengthened_headers(message: Message, data: st.DataObject) -> None:
    header = encode(5, 6, message)
    cut = data.draw(st.integers(0, len(header) - 1))
    assert only_wire_error(header[:cut]) is None
    assert only_wire_error(header + data.draw(st.binary(min_size=1, max_size=64))) is None
    assert only_wire_error(header[cut + 1 :]) is None


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), U64)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(st.integers(0, len(TYPES) - 1), st.lists(anything, max_size=8))
@example(0, [0, 1, {}, {}, 1])
@settings(max_examples=250)
def test_any_values_behind_a_right_beginning(number: int, values: list[Any]) -> None:
    header = sealed([MAGIC, VERSION, number, *values])
    envelope = only_wire_error(header)
    if envelope is not None:
        assert type(envelope.message) is TYPES[number]
        assert encode(envelope.session, envelope.seq, envelope.message) == header


@given(messages, st.data(), anything)
@settings(max_examples=250)
def test_any_value_in_place_of_one(message: Message, data: st.DataObject, value: Any) -> None:
    parts = header_of(message)
    parts[data.draw(st.integers(0, len(parts) - 1))] = value
    envelope = only_wire_error(sealed(parts))
    if envelope is not None:
        again = encode(envelope.session, envelope.seq, envelope.message)
        assert decode(again) == envelope


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff",  # a list of 2^32 - 1
        b"\xdf\xff\xff\xff\xff",  # a map of as many
        b"\xdb\xff\xff\xff\xff",  # a string, bytes, an extension of 4 GiB
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdd\x7f\xff\xff\xff" * 400,
        b"\x91" * HEADER_LIMIT,  # nesting, of lists and of maps
        b"\x91" * (HEADER_LIMIT - 1) + b"\x01",
        b"\x91" * 900 + b"\x01",
        b"\x81" * HEADER_LIMIT,
        b"\x81\x01" * 1000 + b"\x01",
        b"\xde\xff\xff" * 600,
        b"\xc1",  # never used
        b"\xd6\xff\xff\xff\xff\xff",  # a timestamp
        b"\xc7\x0c\xff" + b"\xff" * 12,  # one beyond the years
    ],
    ids=lambda bomb: f"{bomb[:6].hex()}-{len(bomb)}",
)
def test_headers_that_claim_more_than_they_hold_are_refused(bomb: bytes) -> None:
    begun = b"\x95" + msgpack.packb(MAGIC) + b"\x01"
    for header in (bomb, begun + bomb, begun + b"\x00\x05" + bomb, begun + b"\x09\x05\x06" + bomb):
        with pytest.raises(WireError):
            decode(header[:HEADER_LIMIT])


def test_a_nested_value_in_any_place() -> None:
    for message in EXAMPLES:
        parts = [msgpack.packb(part) for part in header_of(message)]
        for place in range(len(parts)):
            for depth in (500, 1000):
                nested = b"\x91" * depth + b"\x01"
                spoilt = [*parts[:place], nested, *parts[place + 1 :]]
                begun = bytes([0x91 + len(parts)]) + b"".join(spoilt) + b"\xce"
                with pytest.raises(WireError):
                    decode(begun + zlib.crc32(begun).to_bytes(4, "big"))

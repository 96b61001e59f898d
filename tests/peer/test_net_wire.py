"""The codec: every message comes back as it was, and hostile bytes are a WireError, no more."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peer.effects import Moment
from peer.net.wire import (
    CHUNK_LARGEST,
    HEADER_LIMIT,
    MAGIC,
    TYPES,
    VERDICTS,
    VERSION,
    Ack,
    Chunk,
    Envelope,
    Hello,
    Leave,
    Nack,
    Offer,
    Ping,
    Pong,
    Reject,
    Welcome,
    WireError,
    decode,
    encode,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
MOMENTS = st.builds(Moment, st.integers(-1, 2**32 - 1), st.integers(-1, 2**32 - 1))


def _words(longest: int) -> st.SearchStrategy[str]:
    printable = st.characters(categories=("L", "N", "P", "S"))
    return st.text(printable, max_size=longest)


TABLES = st.dictionaries(_words(20), _words(20), max_size=5)
STRATEGIES: dict[type, st.SearchStrategy[Any]] = {
    Hello: st.builds(Hello, U32, TABLES, TABLES, U32),
    Welcome: st.builds(Welcome, U64, U32),
    Reject: st.builds(Reject, U64, _words(64), st.lists(_words(20), max_size=10)),
    Offer: st.builds(
        Offer, MOMENTS, _words(64), st.integers(0, 2**40), st.integers(4096, CHUNK_LARGEST),
        _words(16),
    ),
    Chunk: st.builds(Chunk, MOMENTS, U32, U32),
    Ack: st.builds(Ack, MOMENTS, U32, st.sampled_from(VERDICTS)),
    Nack: st.builds(Nack, MOMENTS, U32),
    Ping: st.builds(Ping, MOMENTS, U64),
    Pong: st.builds(Pong, MOMENTS, U64),
    Leave: st.builds(Leave, U32),
}  # fmt: skip
MESSAGES = st.one_of(list(STRATEGIES.values()))

T = Moment(3, 1)
EXAMPLES = (
    Hello(2, {"graph": "a1", "seed": "b2"}, {"model:generator": "c3"}, 7),
    Welcome(2**64 - 1, 7),
    Reject(5, "mismatch", ["graph", "seed"]),
    Offer(T, "generator", 1_000_000, 262_144, "float32"),
    Chunk(T, 2, 0xDEADBEEF),
    Ack(T, 3, "whole"),
    Nack(T, 1),
    Ping(T, 9),
    Pong(T, 9),
    Leave(40),
)
STRANGE: tuple[Any, ...] = (
    None, True, False, -2, 2**63, 2**64 - 1, 0.0, float("nan"), float("inf"), "", "x" * 65, "\x1b[2J",
    b"", b"hearsay", [], [1], [1, 2, 3], [1.0, 2], [True, 1], ["a", 1], [-2, 0], [0, 2**32], {},
    {"a": 1}, {"a": b"b"}, {b"a": "b"}, {"a" * 65: "b"}, {str(k): "" for k in range(33)}, [""] * 33,
    msgpack.ExtType(5, b"bomb"), msgpack.Timestamp(1, 1), [[[[]]]],
)  # fmt: skip


def _verdict(header: bytes) -> str:
    """'message', or 'refused'; anything but a WireError fails the test that asks."""
    try:
        envelope = decode(header)
    except WireError:
        return "refused"
    assert isinstance(envelope, Envelope)
    return "message"


def _frame(message: Any) -> list[Any]:
    frame: list[Any] = msgpack.unpackb(encode(11, 12, message))
    return frame


def test_the_examples_and_the_strategies_cover_every_type() -> None:
    assert tuple(type(message) for message in EXAMPLES) == TYPES
    assert tuple(STRATEGIES) == TYPES


@given(U64, U64, MESSAGES)
@settings(max_examples=400)
def test_every_message_comes_back_as_it_was(session: int, seq: int, message: Any) -> None:
    header = encode(session, seq, message)

    assert decode(header) == Envelope(session, seq, message)
    assert decode(memoryview(header)) == Envelope(session, seq, message)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_moments_come_back_as_moments(message: Any) -> None:
    back = decode(encode(1, 2, message)).message

    assert type(back) is type(message)
    if hasattr(message, "t"):
        assert back.t == T
        assert isinstance(back.t, Moment)


def test_a_header_is_small() -> None:
    assert max(len(encode(2**64 - 1, 2**64 - 1, message)) for message in EXAMPLES[3:]) < 128


# --- hostile bytes --------------------------------------------------------------------------------


@given(st.binary(max_size=300))
@settings(max_examples=1500)
def test_arbitrary_bytes_are_refused(noise: bytes) -> None:
    assert _verdict(noise) == "refused"


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=1500)
def test_flipped_bits_are_refused_or_another_message(message: Any, data: st.DataObject) -> None:
    header = bytearray(encode(11, 12, message))
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert _verdict(bytes(header)) in ("message", "refused")


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_single_flipped_bit_of_every_type(message: Any) -> None:
    header = encode(11, 12, message)
    verdicts = []
    for bit in range(8 * len(header)):
        flipped = bytearray(header)
        flipped[bit // 8] ^= 1 << bit % 8
        verdicts.append(_verdict(bytes(flipped)))
    # the array's length, the magic and the version: no bit of these may change
    assert verdicts[: 8 * (1 + 1 + len(MAGIC) + 1)] == ["refused"] * (8 * (3 + len(MAGIC)))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_cut_and_lengthened_headers_are_refused(message: Any) -> None:
    header = encode(11, 12, message)

    assert {_verdict(header[:size]) for size in range(len(header))} == {"refused"}
    assert {_verdict(header + tail) for tail in (b"\0", b"\xc0", header)} == {"refused"}


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9)
    | st.binary(max_size=9) | st.just(MAGIC) | st.just(VERSION),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=30,
))  # fmt: skip
@settings(max_examples=600)
def test_any_msgpack_value_is_refused(value: Any) -> None:
    packed = msgpack.packb(value)
    if len(packed) > HEADER_LIMIT:
        return
    assert _verdict(packed) == "refused"
    assert _verdict(msgpack.packb([MAGIC, VERSION, value])) == "refused"


@given(st.sampled_from(EXAMPLES), st.data(), st.sampled_from(STRANGE))
@settings(max_examples=600)
def test_a_strange_value_anywhere_is_refused_or_fits(
    message: Any, data: st.DataObject, strange: Any
) -> None:
    frame = _frame(message)
    frame[data.draw(st.integers(0, len(frame) - 1))] = strange

    assert _verdict(msgpack.packb(frame)) in ("message", "refused")


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_each_field_refuses_every_type_but_its_own(message: Any) -> None:
    names = ("magic", "version", "type", "session", "seq", *(f.name for f in fields(message)))
    kinds: dict[type, Any] = {
        type(None): None, bool: True, float: 1.0, bytes: b"x", str: "whole", int: 5000, list: [1, 1],
        dict: {"a": "b"}, msgpack.ExtType: msgpack.ExtType(1, b"x"),
    }  # fmt: skip
    for place, name in enumerate(names):
        frame = _frame(message)
        own = type(frame[place])
        for kind, value in kinds.items():
            frame[place] = value
            if kind is not own:
                assert _verdict(msgpack.packb(frame)) == "refused", (name, kind)


@pytest.mark.parametrize(
    ("message", "field", "bad"),
    [
        (EXAMPLES[0], 0, 2**32),
        (EXAMPLES[0], 1, {str(k): "" for k in range(33)}),
        (EXAMPLES[0], 2, {"a" * 65: ""}),
        (EXAMPLES[2], 2, ["a"] * 33),
        (EXAMPLES[2], 2, ["a" * 65]),
        (EXAMPLES[3], 0, [-2, 0]),
        (EXAMPLES[3], 0, [0, 0, 0]),
        (EXAMPLES[3], 1, "n" * 65),
        (EXAMPLES[3], 2, 2**40 + 1),
        (EXAMPLES[3], 2, -1),
        (EXAMPLES[3], 3, 4095),
        (EXAMPLES[3], 3, 0),
        (EXAMPLES[3], 3, CHUNK_LARGEST + 1),
        (EXAMPLES[4], 2, 2**32),
        (EXAMPLES[5], 2, "maybe"),
        (EXAMPLES[5], 2, ["whole"]),
    ],
)
def test_values_out_of_their_range_are_refused(message: Any, field: int, bad: Any) -> None:
    frame = _frame(message)
    frame[5 + field] = bad

    with pytest.raises(WireError):
        decode(msgpack.packb(frame))


@pytest.mark.parametrize("word", ["a\nb", "\x1b[2J", "\r", "\0"])
def test_words_that_would_write_into_the_log_are_refused(word: str) -> None:
    """Differing parts are logged by name: a stranger's must not move the cursor."""
    for message in (
        Hello(1, {word: "a"}, {}, 0),
        Hello(1, {}, {"a": word}, 0),
        Reject(1, "mismatch", [word]),
        Offer(T, word, 4, 4096, "float32"),
    ):
        with pytest.raises(WireError):
            decode(encode(1, 1, message))


@given(st.integers(1, HEADER_LIMIT - 20), st.sampled_from([b"\x91", b"\x81\xa1a", b"\x81"]))
@settings(max_examples=100)
@example(900, b"\x91")
@example(1000, b"\x91")
def test_deeply_nested_headers_are_refused(depth: int, layer: bytes) -> None:
    """In every place of a header, a repr() of which alone may exceed Python's recursion limit."""
    bomb = layer * min(depth, (HEADER_LIMIT - 20) // len(layer)) + b"\x01"
    magic, rest = msgpack.packb(MAGIC), b"\x00" * 4

    assert _verdict(bomb) == "refused"
    for place in range(5):
        items = [magic, b"\x01", b"\x09", b"\x00", b"\x00", b"\x00"]
        items[place] = bomb
        assert _verdict(b"\x96" + b"".join(items)) == "refused"
    assert _verdict(b"\x96" + magic + b"\x01\x09\x00\x00" + bomb) == "refused"
    assert _verdict(b"\x96" + magic + bomb + rest) == "refused"


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff",  # a list of 2^32 - 1
        b"\xdf\xff\xff\xff\xff",  # a table
        b"\xdb\xff\xff\xff\xff",  # a text
        b"\xc6\xff\xff\xff\xff",  # bytes
        b"\xc9\xff\xff\xff\xff\x01",  # an extension
        b"\xdc\xff\xff" + b"\xc0" * 1000,
        b"\xdd\x00\x10\x00\x00" * 400,  # lists of a million within lists of a million
        b"\xd6\xff\xff\xff\xff\xff",  # a time stamp
        b"\xc7\x0c\xff" + b"\xff" * 12,  # and one of too many nanoseconds
        b"\xc1",
        b"\xa1\xff",  # not UTF-8
    ],
)
def test_declared_sizes_reserve_nothing(bomb: bytes) -> None:
    assert _verdict(bomb) == "refused"
    assert _verdict(b"\x96" + msgpack.packb(MAGIC) + b"\x01" + bomb) == "refused"
    assert _verdict(b"\x96" + msgpack.packb(MAGIC) + b"\x01\x09\x00\x00" + bomb) == "refused"


# --- what a header must be ------------------------------------------------------------------------


def test_headers_of_more_than_2_kib_are_refused() -> None:
    def hello(spare: int) -> bytes:
        table = {f"{k:02}" + "k" * 60: "v" * 60 for k in range(16)}
        return encode(1, 1, Hello(1, table | {"last": "v" * spare}, {}, 0))

    base = len(hello(31))
    assert base < HEADER_LIMIT, "the table leaves room to fill"
    longest = Hello(1, {f"{k:02}" + "k" * 60: "v" * 62 for k in range(15)}, {}, 0)
    fitting = HEADER_LIMIT - len(encode(1, 1, longest))
    assert 0 < fitting < 128
    just = Hello(1, {**longest.fingerprint, "z" * (fitting - 34): "v" * 31}, {}, 0)
    over = Hello(1, {**longest.fingerprint, "z" * (fitting - 33): "v" * 31}, {}, 0)

    assert len(encode(1, 1, just)) == HEADER_LIMIT
    assert decode(encode(1, 1, just)).message == just
    assert len(encode(1, 1, over)) == HEADER_LIMIT + 1
    with pytest.raises(WireError, match="2 KiB"):
        decode(encode(1, 1, over))


@pytest.mark.parametrize("version", [0, 2, 255, -1, True, 1.0, "1", None, [1]])
def test_another_version_is_refused_by_its_name(version: Any) -> None:
    frame = _frame(Leave(1))
    frame[1] = version

    with pytest.raises(WireError, match="protocol version .*, not 1"):
        decode(msgpack.packb(frame))


@pytest.mark.parametrize("magic", ["HEARSAY", "hearsa", "", b"hearsay", None, 7, ["hearsay"]])
def test_another_magic_is_refused(magic: Any) -> None:
    frame = _frame(Leave(1))
    frame[0] = magic

    with pytest.raises(WireError, match="not a hearsay header"):
        decode(msgpack.packb(frame))


@pytest.mark.parametrize("number", [-1, len(TYPES), 2**40, True, "0"])
def test_an_unknown_type_is_refused(number: Any) -> None:
    frame = _frame(Leave(1))
    frame[2] = number

    with pytest.raises(WireError, match="unknown type"):
        decode(msgpack.packb(frame))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_field_too_few_or_too_many_is_refused(message: Any) -> None:
    frame = _frame(message)

    for parts in (frame[:-1], [*frame, 0], frame[:5], frame[:4], []):
        with pytest.raises(WireError):
            decode(msgpack.packb(parts))

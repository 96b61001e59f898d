"""Letters as bytes: what goes in comes out; whatever else comes in is a WireError."""

from __future__ import annotations

import math
import struct
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peer.effects import Letter
from peer.net.header.seal import WireError
from peer.net.transfer.letters import ALIGNMENT, FACTS_LIMIT, NAME_LIMIT, pack, unpack

shapes = st.lists(st.integers(0, 5), max_size=8).filter(lambda s: math.prod(s) <= 4096)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Any that a letter takes, also those that are views with strides of their own."""
    shape = draw(shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        array = rng.integers(-(2**63), 2**63 - 1, shape, dtype=np.int64)
    else:
        array = np.asarray(rng.standard_normal(shape, dtype=np.float32))
    tensor = torch.from_numpy(array)
    match draw(st.sampled_from(["as is", "reversed axes", "strided"])):
        case "reversed axes":
            return tensor.permute(tuple(reversed(range(tensor.dim()))))
        case "strided" if tensor.dim():
            return tensor[::2]
    return tensor


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words
    | st.binary(max_size=20)
)
facts = st.dictionaries(
    words,
    st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(words | st.integers(0, 9), inner)
        ),
        max_leaves=12,
    ),
    max_size=5,
)
names = st.text(st.characters(codec="utf-8"), max_size=NAME_LIMIT).filter(str.isprintable)
letters = st.builds(Letter, names, st.dictionaries(words, tensors(), max_size=4), facts)


def raw(header: bytes, body: bytes = b"") -> memoryview:
    """A letter's bytes around any header."""
    begin = struct.pack("<I", len(header)) + header
    return memoryview(bytearray(begin + bytes(-len(begin) % ALIGNMENT) + body))


def packed(name: Any = "a", facts: Any = None, table: Any = ()) -> memoryview:
    return raw(msgpack.packb([name, {} if facts is None else facts, list(table)]))


# --- what is sent ---------------------------------------------------------------------------------


@given(letters)
def test_every_letter_comes_back_to_the_bit(letter: Letter) -> None:
    found = unpack(pack(letter))
    assert found.name == letter.name
    assert found.facts == letter.facts
    assert list(found.tensors) == list(letter.tensors)  # in the sender's order
    for name, tensor in letter.tensors.items():
        assert found.tensors[name].dtype is tensor.dtype
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].is_contiguous()


@given(letters)
def test_tensors_begin_on_boundaries_and_take_no_copy(letter: Letter) -> None:
    buffer = pack(letter)
    start = np.frombuffer(buffer, dtype=np.uint8).__array_interface__["data"][0]
    assert len(buffer) % ALIGNMENT == 0
    offsets = []
    for tensor in unpack(buffer).tensors.values():
        if tensor.numel():
            offset = tensor.data_ptr() - start
            assert offset % ALIGNMENT == 0
            assert 0 < offset <= len(buffer) - tensor.nbytes
            offsets.append(offset)
    assert offsets == sorted(set(offsets))


def test_a_letter_is_the_values_of_its_moment() -> None:
    tensor = torch.ones(100, requires_grad=True)
    buffer = pack(Letter("model", {"g": tensor}))
    with torch.no_grad():
        tensor.zero_()
    found = unpack(buffer).tensors["g"]
    assert torch.equal(found, torch.ones(100))
    assert not found.requires_grad


def test_floats_keep_their_sign_and_their_smallest_values() -> None:
    tensor = torch.tensor([-0.0, 1e-45, -1e-45, 3.4028235e38])
    found = unpack(pack(Letter("a", {"t": tensor}))).tensors["t"]
    assert found.numpy().tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("amount", [FACTS_LIMIT, 10 * FACTS_LIMIT])
def test_too_many_facts_are_the_senders_mistake(amount: int) -> None:
    with pytest.raises(ValueError, match=r"letter 'queue': .* bytes of facts; at most 64 KiB"):
        pack(Letter("queue", {}, {"text": "x" * amount}))


def test_facts_up_to_the_limit_go_through() -> None:
    room = FACTS_LIMIT - len(msgpack.packb(["a", {"text": "x" * 60000}, []])) + 60000
    letter = Letter("a", {}, {"text": "x" * room})
    assert unpack(pack(letter)) == letter
    with pytest.raises(ValueError, match="at most 64 KiB"):
        pack(Letter("a", {}, {"text": "x" * (room + 1)}))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.int32, torch.bool, torch.cfloat]
)
def test_other_dtypes_are_the_senders_mistake(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="letter 'a': tensor 't' is "):
        pack(Letter("a", {"t": torch.zeros(2, dtype=dtype)}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_dtypes_that_travel(dtype: torch.dtype) -> None:
    sent = torch.tensor([[1, -2, 3]], dtype=dtype) / torch.tensor(1, dtype=dtype)
    sent = sent.to(dtype)
    assert torch.equal(unpack(pack(Letter("a", {"t": sent}))).tensors["t"], sent)


def test_more_axes_than_are_read_are_the_senders_mistake() -> None:
    """The receiver would refuse them, and take the sender for a liar."""
    assert unpack(pack(Letter("a", {"t": torch.zeros([1] * 8)}))).tensors["t"].dim() == 8
    with pytest.raises(ValueError, match="letter 'a': tensor 't' has 9 axes"):
        pack(Letter("a", {"t": torch.zeros([1] * 9)}))


@pytest.mark.parametrize("name", ["x" * (NAME_LIMIT + 1), "two\nlines", "\x1b[2J"])
def test_a_name_that_no_offer_can_carry_is_the_senders_mistake(name: str) -> None:
    """The receiver would ignore such an offer: the sender would wait for ever."""
    with pytest.raises(ValueError, match="is no name for a letter"):
        pack(Letter(name))


@pytest.mark.parametrize("fact", [2**64, {1, 2}, np.float32(1), "\ud800", object()])
def test_facts_that_msgpack_does_not_know_are_the_senders_mistake(fact: Any) -> None:
    with pytest.raises(ValueError, match="letter 'a': its facts"):
        pack(Letter("a", {}, {"fact": fact}))


# --- what may come --------------------------------------------------------------------------------


def read(buffer: memoryview) -> Letter | None:
    try:
        letter = unpack(buffer)
    except WireError:
        return None
    for tensor in letter.tensors.values():
        assert torch.isfinite(tensor).all()
        assert tensor.nbytes <= len(buffer)
    return letter


@given(st.binary(max_size=300))
def test_any_bytes_are_a_letter_or_a_wire_error(content: bytes) -> None:
    read(memoryview(bytearray(content)))


@given(st.binary(max_size=300), st.binary(max_size=200))
def test_any_header_is_a_letter_or_a_wire_error(header: bytes, body: bytes) -> None:
    read(raw(header, body))


values = st.recursive(
    plain | st.floats() | st.just(2**40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words | st.floats(), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(values, values, st.lists(values, max_size=3), st.binary(max_size=200))
def test_any_msgpack_is_a_letter_or_a_wire_error(
    name: Any, facts: Any, table: Any, body: bytes
) -> None:
    read(raw(msgpack.packb([name, facts, table]), body))


sides = st.sampled_from([0, 1, 2, 3, 2**20, 2**31, 2**39, 2**40 - 1, 2**40, -1, 2**63, True, 1.0])
entries = st.tuples(
    words | st.integers(), st.sampled_from(["<f4", "<i8", ">f4", "|O", [], None]), st.lists(sides)
)


@given(st.lists(entries, max_size=4), st.binary(max_size=200))
def test_any_table_is_a_letter_or_a_wire_error(table: Any, body: bytes) -> None:
    read(raw(msgpack.packb(["a", {}, table]), body))


@given(letters, st.data())
def test_a_changed_letter_is_a_letter_or_a_wire_error(letter: Letter, data: st.DataObject) -> None:
    content = bytearray(pack(letter))
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(content) - 1)) if content else 0
        match data.draw(st.sampled_from(["flip", "cut", "insert", "append"])):
            case "flip" if content:
                content[where] = data.draw(st.integers(0, 255))
            case "cut":
                del content[where:]
            case "insert":
                content[where:where] = data.draw(st.binary(max_size=64))
            case "append":
                content += data.draw(st.binary(max_size=64))
    read(memoryview(content))


@pytest.mark.parametrize("depth", [10, 300, 500, 1000, 5000, 60000])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1k"])
def test_nesting_is_read_or_refused_and_overflows_no_stack(depth: int, opening: bytes) -> None:
    nested = opening * depth + b"\xc0"
    read(raw(b"\x93\xa1a\x81\xa1f" + nested + b"\x90"))


@pytest.mark.parametrize(
    "shape",
    [[0, 2**39, 2**39], [2**39, 2**39, 0], [0] + [2**39] * 4, [2**39] * 8, [2**39], [2**20] * 2],
)
def test_a_declared_size_takes_no_memory(shape: list[int]) -> None:
    buffer = packed(table=[["t", "<f4", shape]])
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            unpack(buffer)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "header",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1
        b"\xdf\xff\xff\xff\xff",  # a map
        b"\xdb\xff\xff\xff\xff",  # a string
        b"\xc6\xff\xff\xff\xff",  # bytes
        b"\x93\xa1a\x80\xdd\xff\xff\xff\xff",
        b"\x93\xa1a\xdf\xff\xff\xff\xff\x90",
    ],
)
def test_a_declared_length_takes_no_memory(header: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            unpack(raw(header))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["tensor", "fact", "list", "map", "key", "inner key"])
def test_no_number_that_is_none_is_let_in(value: float, place: str) -> None:
    if place == "tensor":
        tensor = torch.zeros(1000)
        tensor[777] = value
        buffer = pack(Letter("a", {"sound": torch.ones(3), "t": tensor}))
    else:
        buffer = packed(
            facts={
                "fact": {"f": value},
                "list": {"f": [1.0, [2.0, value]]},
                "map": {"f": {"g": {"h": value}}},
                "key": {value: 1},
                "inner key": {"f": [{value: 1}]},
            }[place]
        )
    with pytest.raises(WireError):
        unpack(buffer)


def test_two_tensors_of_one_name_are_refused() -> None:
    with pytest.raises(WireError):
        unpack(packed(table=[["t", "<f4", [0]], ["t", "<i8", [0]]]))


def test_a_letter_fits_its_buffer_exactly() -> None:
    content = bytes(pack(Letter("a", {"t": torch.ones(40)})))
    for changed in (content[:-64], content[:-1], content + b"\0", content + bytes(64)):
        with pytest.raises(WireError):
            unpack(memoryview(bytearray(changed)))

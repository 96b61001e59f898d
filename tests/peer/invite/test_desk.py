"""What is asked at the desk: bounded, checked, and never a link's message."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.net.header.seal import WireError, sealed
from peer.net.members.desk import KINDS, ROOM, Desk, decoded, encoded
from peer.net.wire import Heard, encode

GUEST = -2


def test_what_is_asked_is_what_arrives() -> None:
    desk = Desk()
    assert desk.takes(b"c", GUEST, encoded(7, "claim", "key", "tcp://10.0.0.1:1"))
    request = desk.next(0.0)
    assert request is not None
    assert (request.connection, request.who, request.number) == (b"c", GUEST, 7)
    assert (request.kind, request.words) == ("claim", ("key", "tcp://10.0.0.1:1"))
    desk.answer(request, "in", [0, 3])
    ((connection, header),) = desk.answers()
    assert connection == b"c"
    assert decoded(header) == (7, "in", ([0, 3],))


def test_a_neighbours_other_messages_are_its_links() -> None:
    desk = Desk()
    heard = encode(1, 1, Heard("mark"))
    assert not desk.takes(b"c", 3, heard)
    assert desk.takes(b"c", GUEST, heard)  # and a guest's are nobody's
    assert desk.next(0.0) is None


@pytest.mark.parametrize("who", [None, -1])
def test_whom_curve_has_not_named_is_not_heard(who: int | None) -> None:
    desk = Desk()
    assert not desk.takes(b"c", who, encoded(1, "file", 0, "key"))
    assert desk.next(0.0) is None


def test_what_finds_no_room_is_thrown_away() -> None:
    desk = Desk()
    for number in range(10 * ROOM):
        assert desk.takes(b"c", GUEST, encoded(number, "file", 0, "key"))
    found = []
    while (request := desk.next(0.0)) is not None:
        found.append(request.number)
    assert found == list(range(ROOM))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("file", []),
        ("file", ["0", "key"]),
        ("file", [True, "key"]),
        ("file", [-1, "key"]),
        ("file", [2**32, "key"]),
        ("claim", ["key"]),
        ("claim", ["key", "a" * 257]),
        ("claim", ["key", "\x1b[2J"]),
        ("introduce", [5, "key", b"address"]),
        ("in", [["0"]]),
        ("launch", []),
        (["file"], [0, "key"]),
        ({}, [0, "key"]),
    ],
)
def test_what_is_no_request_is_refused(kind: Any, words: list[Any]) -> None:
    with pytest.raises(WireError):
        decoded(sealed(["hearsay-join", 1, 1, kind, *words]))


@given(st.binary(max_size=3000))
def test_any_bytes(noise: bytes) -> None:
    desk = Desk()
    assert desk.takes(b"c", GUEST, noise)
    assert desk.next(0.0) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.integers(-5, 2**40) | values, st.sampled_from([*KINDS, "?"]) | values, st.lists(values))
def test_any_values_behind_a_right_beginning(number: Any, kind: Any, words: list[Any]) -> None:
    try:
        header = sealed(["hearsay-join", 1, number, kind, *words])
        found = decoded(header)
    except WireError:
        return
    assert msgpack.unpackb(header)[2:-1] == [found[0], found[1], *found[2]]

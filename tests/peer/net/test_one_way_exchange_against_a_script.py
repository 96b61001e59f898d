"""One end of a one-way exchange, row by row, against a scripted neighbour."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.effects import Letter, Moment
from peer.net.exchange import Delivered, Settled
from peer.net.link import STRIKES
from peer.net.session import Phase
from peer.net.transfer import sender as sender_module
from peer.net.transfer.letters import PREFIX, pack
from peer.net.transfer.receive_buffers import LETTER_LIMIT
from peer.net.wire import Ack, Chunk, Hello, Leave, Message, Nack, Offer, Ping, Pong, Welcome
from tests.peer.net.test_link_against_a_script import Scripted
from tests.support.links import CHUNK, SIZES, moments

A, B, C, D = moments(4)
NAME = PREFIX + "model"


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)
        yield


def letter(seed: int = 0, length: int = 3000) -> bytes:
    draw = np.random.default_rng(seed)
    tensor = torch.from_numpy(draw.standard_normal(length, dtype=np.float32))
    return bytes(pack(Letter("model", {"g": tensor}, {"samples": 9})))


def offer(t: Moment, value: bytes, name: str = NAME, codec: str = "letter") -> Offer:
    return Offer(t, name, len(value), CHUNK, codec)


def chunks(t: Moment, value: bytes) -> list[tuple[Chunk, bytes]]:
    bodies = [value[start : start + CHUNK] for start in range(0, len(value), CHUNK)] or [b""]
    return [(Chunk(t, i, zlib.crc32(body)), body) for i, body in enumerate(bodies)]


def say_all(scripted: Scripted, t: Moment, value: bytes) -> None:
    scripted.say(offer(t, value))
    for chunk, body in chunks(t, value):
        scripted.say(chunk, body)


def wants(scripted: Scripted, t: Moment, name: str = NAME) -> None:
    scripted.link.begin(t, name, None, scripted.now)
    scripted._collect()


def sends(scripted: Scripted, t: Moment, value: bytes | None = None) -> None:
    value = letter() if value is None else value
    scripted.link.begin(t, NAME, memoryview(value), scripted.now, wants=False)
    scripted._collect()


def reasons(scripted: Scripted) -> list[str]:
    return [event.reason for event in scripted.settled()]


# --- who only sends -------------------------------------------------------------------------------


def test_who_only_sends_is_settled_once_and_without_a_value_when_it_is_there() -> None:
    scripted = Scripted()
    sends(scripted, A)
    said = scripted.heard()
    assert said[0] == offer(A, letter())
    assert scripted.settled() == []
    for _ in range(3):
        scripted.say(Ack(A, 3, "whole"))
    assert scripted.settled() == [Settled(A, None, "")]
    assert scripted.events.count(Delivered(A)) == 1
    assert scripted.link.idle


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Ack(A, 0, "late"), "it went on without us"),
        (Ack(A, 0, "abort"), "it gave this exchange up"),
        (Leave(3, "finished"), "it has finished"),
    ],
)
def test_who_only_sends_is_told_that_it_is_not_wanted(answer: Message, reason: str) -> None:
    scripted = Scripted()
    sends(scripted, A)
    scripted.say(answer)
    scripted.say(Ack(A, 3, "whole"))  # whatever comes after
    assert scripted.settled() == [Settled(A, None, reason)]
    assert scripted.events.count(Delivered(A, in_flight=True)) == 1
    assert scripted.link.idle


def test_who_only_sends_does_not_ask_for_anything() -> None:
    scripted = Scripted()
    sends(scripted, A)
    scripted.heard()
    for _ in range(40):
        scripted.now += 1.0
        scripted.tick()
        said = scripted.heard()
        assert not any(isinstance(m, Nack) for m in said)
        for ping in [m for m in said if isinstance(m, Ping)]:
            scripted.say(Pong(ping.t, ping.number))
    assert scripted.settled() == []  # it answers, and is waited for
    scripted.wait(61.0)
    assert len(scripted.settled()) == 1
    assert reasons(scripted)[0].startswith("silent for")
    assert Ack(A, 0, "abort") in scripted.heard()


def test_a_stale_question_does_not_take_back_what_it_still_owes() -> None:
    """It has our value, and not yet sent us its own: no "late" for a NACK that comes twice."""
    scripted = Scripted()
    scripted.link.begin(A, NAME, memoryview(letter()), scripted.now)
    scripted.say(Ack(A, 3, "whole"))
    scripted.heard()
    scripted.say(Nack(A, 0))
    assert scripted.heard() == []
    say_all(scripted, A, letter(1))
    assert [bytes(s.value or b"") for s in scripted.settled()] == [letter(1)]


def test_another_process_of_its_that_asks_anew_is_told_late() -> None:
    scripted = Scripted()
    sends(scripted, A)
    scripted.say(Ack(A, 3, "whole"))
    scripted.session, scripted.seq = 77, 0
    scripted.say_hello()
    scripted.say(Welcome(scripted.me.session, 0))
    scripted.heard()
    scripted.say(Nack(A, 0))
    assert Ack(A, 0, "late") in scripted.heard()


# --- who only receives ----------------------------------------------------------------------------


def test_who_only_receives_offers_nothing_and_asks_in_time() -> None:
    scripted = Scripted()
    wants(scripted, A)
    assert scripted.heard() == []
    scripted.wait(1.9, answering=True)
    assert scripted.settled() == []
    scripted.wait(0.3)
    assert Nack(A, 0) in scripted.heard()
    say_all(scripted, A, letter())
    assert [bytes(s.value or b"") for s in scripted.settled()] == [letter()]
    assert Delivered(A) not in scripted.events


def test_who_is_known_to_be_past_it_is_asked_at_once() -> None:
    scripted = Scripted()
    scripted.say(Ping(C, 1))
    wants(scripted, A)
    scripted.heard()
    scripted.tick()
    assert scripted.heard() == [Nack(A, 0)]
    scripted.say(Ack(A, 0, "late"))
    assert reasons(scripted) == ["it went on without us"]


def test_what_was_never_begun_is_late_and_takes_no_room() -> None:
    scripted = Scripted()
    wants(scripted, C)
    scripted.heard()
    for t in (A, B):
        say_all(scripted, t, letter())
        assert scripted.heard() == [Ack(t, 0, "late")]
    say_all(scripted, C, letter(2))
    assert [bytes(s.value or b"") for s in scripted.settled()] == [letter(2)]


def test_what_came_before_and_was_never_begun_makes_room() -> None:
    scripted = Scripted()
    for t in (A, B):
        say_all(scripted, t, letter())
    scripted.say(offer(C, letter(2)))
    assert scripted.heard()[-1] == Ack(C, 0, "wait")
    wants(scripted, C)
    assert scripted.heard() == [Ack(C, 0, "more")]
    for chunk, body in chunks(C, letter(2)):
        scripted.say(chunk, body)
    assert [bytes(s.value or b"") for s in scripted.settled()] == [letter(2)]


def test_what_is_waited_for_has_room_even_behind_two_that_came_early() -> None:
    scripted = Scripted()
    wants(scripted, A)
    for t in (B, C):
        say_all(scripted, t, letter(t.exchange))
    assert Ack(D, 0, "wait") not in scripted.heard()
    scripted.say(offer(D, letter()))
    assert scripted.heard() == [Ack(D, 0, "wait")]
    say_all(scripted, A, letter(7))
    assert [bytes(s.value or b"") for s in scripted.settled()] == [letter(7)]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        Offer(A, NAME, 3000, CHUNK, "float32"),
        Offer(A, "generator", SIZES["generator"], CHUNK, "letter"),
        Offer(A, NAME, LETTER_LIMIT + 1, CHUNK, "letter"),
        Offer(A, NAME, 2**40, CHUNK, "letter"),
    ],
)
def test_an_offer_that_no_letter_can_have_is_a_strike(wrong: Offer) -> None:
    scripted = Scripted()
    wants(scripted, A)
    scripted.heard()
    scripted.say(wrong)
    assert scripted.heard() == [Ack(A, 0, "abort")]
    assert reasons(scripted) == [f"it offered {wrong.nbytes} bytes of '{wrong.net}'"]
    assert scripted.link.strikes == 1


NOT_LETTERS = {
    "noise": np.random.default_rng(0).bytes(9000),
    "nothing": b"",
    "cut off": letter()[:-64],
    "nan": letter()[:-64] + np.full(16, np.nan, dtype="<f4").tobytes(),
    "bomb": bytes([255, 0, 0, 0]) + b"\x91" * 255 + bytes(61),
    "huge": (lambda h: len(h).to_bytes(4, "little") + h + bytes(-(4 + len(h)) % 64))(
        msgpack.packb(["model", {}, [["t", "<f4", [0, 2**39, 2**39]]]])
    ),
}


@pytest.mark.parametrize("kind", NOT_LETTERS)
@pytest.mark.parametrize("second", [True, False])
def test_a_letter_that_is_none_is_asked_for_once_and_then_done_without(
    kind: str, second: bool
) -> None:
    scripted = Scripted()
    wants(scripted, A)
    content = NOT_LETTERS[kind]
    say_all(scripted, A, content)
    assert scripted.heard()[-1] == Nack(A, 0)
    assert scripted.settled() == []
    for chunk, body in chunks(A, content):
        scripted.say(chunk, body)
    assert scripted.heard()[-1] == Ack(A, 0, "abort")
    assert len(reasons(scripted)) == 1
    assert reasons(scripted)[0].startswith("its value has ")
    assert scripted.link.strikes == 1
    if second:
        wants(scripted, B)
        say_all(scripted, B, letter())
        assert [bytes(s.value or b"") for s in scripted.settled()][1:] == [letter()]


def test_three_letters_that_are_none_and_it_is_listened_to_no_more() -> None:
    scripted = Scripted()
    for t in (A, B, C)[:STRIKES]:
        wants(scripted, t)
        say_all(scripted, t, NOT_LETTERS["noise"])
        for chunk, body in chunks(t, NOT_LETTERS["noise"]):
            scripted.say(chunk, body)
    assert len(scripted.settled()) == 3
    assert scripted.link.phase is Phase.QUARANTINED
    wants(scripted, D)
    assert reasons(scripted)[3] == "it is quarantined"


# --- anything -------------------------------------------------------------------------------------

small = st.sampled_from([A, B, C, D])
anything = st.one_of(
    st.builds(offer, small, st.sampled_from([letter(), b"", letter(1, 10)])),
    st.sampled_from([c for t in (A, B, C, D) for c in chunks(t, letter())]),
    st.builds(Ack, small, st.integers(0, 4), st.sampled_from(["more", "whole", "late", "wait",
                                                              "abort"])),
    st.builds(Nack, small, st.integers(0, 4)),
    st.builds(Ping, small, st.integers(0, 3)),
    st.just(Leave(1, "finished")),
    st.just("restart"),
    st.just("begin"),
    st.sampled_from([0.1, 3.0, 70.0]),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(anything, max_size=40), st.lists(st.sampled_from("<>x"), min_size=4, max_size=4))
def test_a_neighbour_may_say_anything_and_every_exchange_is_settled_once(
    script: list[object], ways: list[str]
) -> None:
    scripted = Scripted()
    left = list(zip((A, B, C, D), ways, strict=True))
    begun: list[Moment] = []
    for what in script:
        match what:
            case "restart":
                scripted.session, scripted.seq = scripted.session + 1, 0
                me = scripted.me
                scripted.say_hello(
                    Hello(1, dict(me.fingerprint), dict(me.signature), 0, {}, ["crc32"])
                )
                scripted.say(Welcome(me.session, 0))
            case "begin" if left and len(scripted.settled()) == len(begun):
                t, way = left.pop(0)
                begun.append(t)
                payload = None if way == "<" else memoryview(letter())
                scripted.link.begin(t, NAME, payload, scripted.now, way != ">")
                scripted._collect()
            case float():
                scripted.now += what
                scripted.tick()
            case (Chunk() as chunk, bytes() as body):
                scripted.say(chunk, body)
            case Offer() | Ack() | Nack() | Ping() | Leave():
                scripted.say(what)
        settled = [event.t for event in scripted.settled()]
        assert settled in (begun, begun[:-1])
    scripted.wait(250.0)  # silence: the start timeout after a restart, or the deadline
    assert [event.t for event in scripted.settled()] == begun
    delivered = [event.t for event in scripted.events if isinstance(event, Delivered)]
    assert len(delivered) == len(set(delivered))
    for event in scripted.settled():
        if event.value is not None:
            assert not event.reason

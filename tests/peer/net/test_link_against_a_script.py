"""One end of a link, row by row of what it must do, against a scripted neighbour."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.effects import BEFORE_ALL, Moment
from peer.net.away.failure_detector import Timing
from peer.net.exchange import Delivered, Piece, Settled
from peer.net.link import STRIKES, Link, Twice
from peer.net.session import Claim, Identity, Mismatch, Phase
from peer.net.settling.commit import Past
from peer.net.transfer import sender as sender_module
from peer.net.transfer.outbox import OUTBOX
from peer.net.wire import (
    Ack,
    Chunk,
    Hello,
    Leave,
    Message,
    Nack,
    Offer,
    Ping,
    Pong,
    Reject,
    Vote,
    Welcome,
    decode,
)
from tests.support.links import CHUNK, SIZES, moments, net_at, value_of

TICK = 0.05


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Values of a few kilobytes, yet of many chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)
        yield


class Scripted:
    """One link of peer 0, and a neighbour 1 that says whatever a test has it say."""

    def __init__(
        self,
        *,
        greet: bool = True,
        checksum: bool = True,
        agrees: bool = False,
        used: Moment = BEFORE_ALL,
    ) -> None:
        self.me = Identity(0, 1000, {"graph": "ring", "seed": "0"}, {"g": "sig"})
        self.session = 31
        self.now = 100.0
        timing, past = Timing(), Past(used)
        self.link = Link(self.me, 1, SIZES, timing, checksum, self.now, agrees=agrees, past=past)
        self.events: list[Any] = []
        self.seq = 0
        if greet:
            self.say_hello()
            self.say(Welcome(self.me.session, 0))
            self.heard()
            assert self.link.phase is Phase.UP

    def say_hello(self, hello: Hello | None = None) -> None:
        me, knows = self.me, ["crc32"]
        hello = hello or Hello(1, dict(me.fingerprint), dict(me.signature), 0, {}, knows)
        self.link.hello(self.session, self._next(), hello, self.now)
        self._collect()

    def say(self, message: Message, body: bytes | None = None, session: int | None = None) -> None:
        session = self.session if session is None else session
        view = None if body is None else memoryview(bytearray(body))
        self.link.receive(session, self._next(), message, self.now, view)
        self._collect()

    def _next(self) -> int:
        self.seq += 1
        return self.seq - 1

    def begin(self, t: Moment) -> None:
        self.link.begin(t, net_at(t), memoryview(value_of(0, t)), self.now)
        self._collect()

    def wait(self, seconds: float, *, answering: bool = False) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            self.tick()
            for ping in [m for m in self.heard() if isinstance(m, Ping)] if answering else []:
                self.say(Pong(ping.t, ping.number))

    def tick(self) -> None:
        self.link.tick(self.now)
        self._collect()

    def _collect(self) -> None:
        self.events.extend(self.link.events)
        self.link.events.clear()

    def heard(self) -> list[Message]:
        """What the link has said since it was last asked."""
        said = [decode(header).message for header, _ in self.link.outbox]
        self.link.outbox.clear()
        return said

    def settled(self) -> list[Settled]:
        return [event for event in self.events if isinstance(event, Settled)]

    def offer(self, t: Moment) -> Offer:
        return Offer(t, net_at(t), SIZES[net_at(t)], CHUNK, "float32")

    def chunks(self, t: Moment, value: bytes | None = None) -> list[tuple[Chunk, bytes]]:
        value = value_of(1, t) if value is None else value
        bodies = [value[start : start + CHUNK] for start in range(0, len(value), CHUNK)]
        return [(Chunk(t, i, zlib.crc32(body)), body) for i, body in enumerate(bodies)]

    def send(self, t: Moment, value: bytes | None = None) -> None:
        self.say(self.offer(t))
        for chunk, body in self.chunks(t, value):
            self.say(chunk, body)


A, B, C, D = moments(4)


def test_a_value_that_comes_is_settled_with_once() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.send(A)
    assert [bytes(s.value or b"") for s in scripted.settled()] == [value_of(1, A)]
    said = scripted.heard()
    assert said[0] == Offer(A, "discriminator", SIZES["discriminator"], CHUNK, "float32")
    assert [m for m in said if isinstance(m, Ack)] == [Ack(A, 1, "more"), Ack(A, 2, "whole")]
    assert Delivered(A) not in scripted.events
    scripted.say(Ack(A, 2, "whole"))
    assert scripted.events.count(Delivered(A)) == 1
    assert scripted.link.idle


def test_late_is_answered_late_and_its_chunks_have_no_place() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.say(Ack(A, 0, "late"))
    assert [(s.t, s.value) for s in scripted.settled()] == [(A, None)]
    scripted.heard()
    scripted.say(scripted.offer(A))
    assert scripted.heard() == [Ack(A, 0, "late")]
    chunk, body = scripted.chunks(A)[0]
    scripted.say(chunk, body)
    assert scripted.heard() == []


def test_being_late_settles_without() -> None:
    scripted = Scripted()
    scripted.begin(B)
    scripted.say(Ack(B, 0, "late"))
    assert [(s.t, s.value) for s in scripted.settled()] == [(B, None)]
    assert scripted.events.count(Delivered(B, in_flight=True)) == 1
    assert scripted.link.phase is Phase.UP


def test_one_next_is_kept_and_the_one_beyond_waits_until_there_is_room() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.heard()
    scripted.say(scripted.offer(A))
    scripted.send(B)
    assert Ack(B, 6, "whole") in scripted.heard()
    scripted.say(scripted.offer(C))
    assert scripted.heard() == [Ack(C, 0, "wait")]
    chunk, body = scripted.chunks(C)[0]
    scripted.say(chunk, body)
    for chunk, body in scripted.chunks(A):
        scripted.say(chunk, body)
    scripted.heard()
    scripted.begin(B)
    assert [s.t for s in scripted.settled()] == [A, B]
    assert bytes(scripted.settled()[-1].value or b"") == value_of(1, B)
    assert Ack(C, 0, "more") in scripted.heard()
    for chunk, body in scripted.chunks(C):
        scripted.say(chunk, body)
    scripted.begin(C)
    assert bytes(scripted.settled()[-1].value or b"") == value_of(1, C)


def test_told_to_wait_we_send_nothing_until_told_to_go_on() -> None:
    scripted = Scripted()
    scripted.begin(B)
    scripted.heard()
    scripted.say(Ack(B, 0, "wait"))
    scripted.say(Ack(A, 0, "more"))  # of another exchange
    assert [m for m in scripted.heard() if isinstance(m, Chunk)] == []
    scripted.say(Ack(B, 0, "more"))
    assert [m.index for m in scripted.heard() if isinstance(m, Chunk)] == list(range(6))


def test_a_duplicate_is_dropped_and_acknowledged_again() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.send(B)  # buffered
    scripted.heard()
    scripted.say(scripted.offer(B))
    assert scripted.heard() == [Ack(B, 6, "whole")]
    spoilt = scripted.chunks(B, bytes(len(value_of(1, B))))
    for chunk, body in spoilt:  # in place already: may not touch what is there
        scripted.say(chunk, body)
    scripted.send(A)
    scripted.begin(B)
    assert bytes(scripted.settled()[-1].value or b"") == value_of(1, B)


def test_a_duplicate_of_a_value_already_used_is_acknowledged_again_and_not_called_late() -> None:
    # Its ACK was lost. "late" would have the neighbour do without us, though we did not without it.
    scripted = Scripted()
    scripted.begin(A)
    scripted.send(A)
    assert len(scripted.settled()) == 1
    scripted.heard()
    scripted.say(scripted.offer(A))
    assert scripted.heard() == [Ack(A, 0, "whole")]


def test_a_value_already_used_is_late_for_a_new_process_that_can_have_no_value_of_ours() -> None:
    # Our own value went to the process before it, and is no more: "whole" would have it wait.
    scripted = Scripted()
    scripted.begin(A)
    scripted.send(A)
    scripted.say(Ack(A, 2, "whole"))
    scripted.session = 32
    scripted.say_hello()
    scripted.say(Welcome(scripted.me.session, 0))
    scripted.heard()
    scripted.say(scripted.offer(A))
    assert scripted.heard() == [Ack(A, 0, "late")]


def test_chunks_behind_a_gap_are_asked_for_from_where_they_are_missing() -> None:
    scripted = Scripted()
    scripted.begin(B)
    scripted.say(scripted.offer(B))
    chunks = scripted.chunks(B)
    scripted.say(*chunks[0])
    scripted.heard()
    gaps = scripted.link.gaps
    scripted._next()  # chunk 1 is lost: too large for libzmq, say
    scripted.say(*chunks[2])
    assert Nack(B, 1) in scripted.heard()
    assert scripted.link.gaps == gaps + 1
    for chunk in chunks[1:]:
        scripted.say(*chunk)
    assert bytes(scripted.settled()[0].value or b"") == value_of(1, B)


def test_a_nack_is_answered_from_where_it_asks() -> None:
    scripted = Scripted()
    scripted.begin(B)
    assert [m.index for m in scripted.heard() if isinstance(m, Chunk)] == list(range(6))
    scripted.say(Nack(B, 4))
    assert [m.index for m in scripted.heard() if isinstance(m, Chunk)] == [4, 5]
    scripted.say(Nack(B, 6))  # there is no such chunk
    assert scripted.heard() == []
    scripted.say(Nack(C, 0))  # an exchange that has not begun here
    assert scripted.heard() == []
    scripted.say(Nack(A, 0))  # one that is over: our value for it will never come
    assert scripted.heard() == [Ack(A, 0, "late")]


def spoilt(kind: str, body: bytes) -> bytes | None:
    match kind:
        case "flip":
            return bytes([body[0] ^ 1]) + body[1:]
        case "short":
            return body[:-1]
        case "long":
            return body + b"\0"
        case "empty":
            return b""
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["flip", "short", "long", "empty"])
def test_a_corrupt_chunk_is_asked_for_once_and_then_the_value_done_without(kind: str) -> None:
    scripted = Scripted()
    scripted.begin(B)
    scripted.say(scripted.offer(B))
    scripted.heard()
    chunks = scripted.chunks(B)
    scripted.say(*chunks[0])
    chunk, body = chunks[1]
    scripted.say(chunk, spoilt(kind, body))
    assert scripted.heard() == [Ack(B, 1, "more"), Nack(B, 1)]
    assert scripted.settled() == []
    scripted.say(chunk, spoilt(kind, body))
    assert set(scripted.heard()) == {Ack(B, 0, "abort")}
    assert [(s.t, s.value) for s in scripted.settled()] == [(B, None)]
    assert scripted.link.strikes == 1
    assert scripted.link.phase is Phase.UP
    scripted.say(scripted.offer(B))  # its next try is too late
    assert [type(m) for m in scripted.heard()] == [Ack]
    scripted.begin(C)
    scripted.send(C)
    assert bytes(scripted.settled()[-1].value or b"") == value_of(1, C)


@pytest.mark.parametrize("kind", ["flip", "short", "long"])
def test_a_corrupt_chunk_sent_again_right_is_taken(kind: str) -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.say(scripted.offer(A))
    chunks = scripted.chunks(A)
    scripted.say(chunks[0][0], spoilt(kind, chunks[0][1]))
    for chunk in chunks:
        scripted.say(*chunk)
    assert bytes(scripted.settled()[0].value or b"") == value_of(1, A)
    assert scripted.link.strikes == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("checksum", [True, False])
def test_a_value_with_a_float_that_is_none_is_never_settled_with(
    bad: float, checksum: bool
) -> None:
    scripted = Scripted(checksum=checksum)
    scripted.begin(B)
    floats = np.frombuffer(value_of(1, B), dtype="<f4").copy()
    floats[2000] = bad
    scripted.send(B, floats.tobytes())
    assert Nack(B, 0) in scripted.heard()
    scripted.send(B, floats.tobytes())
    assert Ack(B, 0, "abort") in scripted.heard()
    assert [(s.t, s.value) for s in scripted.settled()] == [(B, None)]
    scripted.begin(C)
    scripted.send(C)
    assert bytes(scripted.settled()[-1].value or b"") == value_of(1, C)


def test_three_strikes_and_it_is_listened_to_no_more() -> None:
    scripted = Scripted()
    for strike, t in enumerate((A, B, C), 1):
        scripted.begin(t)
        bad = bytes(SIZES[net_at(t)] - 4) + np.float32(np.nan).tobytes()
        scripted.send(t, bad)
        scripted.send(t, bad)
        assert scripted.link.strikes == strike
        assert (scripted.link.phase is Phase.QUARANTINED) is (strike == STRIKES)
    assert [(s.t, s.value) for s in scripted.settled()] == [(A, None), (B, None), (C, None)]
    scripted.begin(D)
    assert [(s.t, s.value) for s in scripted.settled()][-1] == (D, None)
    assert Delivered(D) in scripted.events
    scripted.heard()
    scripted.send(D)
    scripted.say_hello()
    assert scripted.heard() == []
    assert scripted.link.phase is Phase.QUARANTINED


def test_nothing_of_a_quarantined_neighbours_is_used_even_if_it_came_before() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.send(B)  # whole, waiting for its exchange
    for wrong in (C, D, Moment(5, 0)):
        scripted.say(Offer(wrong, net_at(wrong), 12, CHUNK, "float32"))
    assert scripted.link.phase is Phase.QUARANTINED
    scripted.begin(B)
    assert [(s.t, s.value) for s in scripted.settled()] == [(A, None), (B, None)]
    assert scripted.link.idle


def test_another_process_of_a_quarantined_neighbours_is_heard() -> None:
    scripted = Scripted()
    scripted.begin(A)
    for wrong in (B, C, D):
        scripted.say(Offer(wrong, net_at(wrong), 12, CHUNK, "float32"))
    scripted.session = 32
    scripted.say_hello()
    scripted.say(Welcome(scripted.me.session, 0))
    assert scripted.link.phase is Phase.UP
    scripted.begin(B)
    scripted.send(B)
    assert bytes(scripted.settled()[-1].value or b"") == value_of(1, B)


@pytest.mark.parametrize(
    "wrong",
    [
        Offer(A, "discriminator", SIZES["discriminator"] + 4, CHUNK, "float32"),
        Offer(A, "discriminator", 2**40, CHUNK, "float32"),
        Offer(A, "discriminator", 0, CHUNK, "float32"),
        Offer(A, "critic", SIZES["discriminator"], CHUNK, "float32"),
        Offer(A, "discriminator", SIZES["discriminator"], CHUNK, "bf16"),
    ],
    ids=["longer", "huge", "empty", "unknown net", "codec"],
)
def test_an_offer_that_does_not_fit_is_a_strike(wrong: Offer) -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.heard()
    scripted.say(wrong)
    assert Ack(A, 0, "abort") in scripted.heard()
    assert [(s.t, s.value) for s in scripted.settled()] == [(A, None)]
    assert scripted.link.strikes == 1


def test_the_value_of_another_net_is_never_settled_with() -> None:
    # Of a size that we know, but not what this exchange is about: it would crash the combination.
    scripted = Scripted()
    scripted.begin(A)
    value = value_of(1, B)
    scripted.say(Offer(A, net_at(B), len(value), CHUNK, "float32"))
    for i in range(0, len(value), CHUNK):
        body = value[i : i + CHUNK]
        scripted.say(Chunk(A, i // CHUNK, zlib.crc32(body)), body)
    assert [s for s in scripted.settled() if s.value is not None] == []
    scripted.wait(120.0)
    assert [(s.t, s.value) for s in scripted.settled()] == [(A, None)]


def test_the_value_of_another_net_that_came_early_is_never_settled_with() -> None:
    scripted = Scripted()
    value = value_of(1, B)
    scripted.say(Offer(A, net_at(B), len(value), CHUNK, "float32"))
    for i in range(0, len(value), CHUNK):
        body = value[i : i + CHUNK]
        scripted.say(Chunk(A, i // CHUNK, zlib.crc32(body)), body)
    scripted.begin(A)
    assert [s for s in scripted.settled() if s.value is not None] == []


def pieces(scripted: Scripted) -> list[tuple[int, bytes]]:
    return [(e.start, bytes(e.body)) for e in scripted.events if isinstance(e, Piece)]


def in_pieces(value: bytes) -> list[tuple[int, bytes]]:
    return [(start, value[start : start + CHUNK]) for start in range(0, len(value), CHUNK)]


def test_the_rest_of_a_value_comes_in_pieces_once_asked_for() -> None:
    scripted = Scripted()
    scripted.say(scripted.offer(B))
    for chunk, body in scripted.chunks(B)[:2]:  # before we begin
        scripted.say(chunk, body)
    scripted.begin(B)
    first = scripted.link.stream()
    assert first is not None
    assert (first.start, bytes(first.body)) == (0, value_of(1, B)[: 2 * CHUNK])
    for chunk, body in scripted.chunks(B)[2:]:
        scripted.say(chunk, body)
        scripted.say(chunk, body)  # twice is once
    assert pieces(scripted) == in_pieces(value_of(1, B))[2:]
    assert scripted.settled() == [Settled(B, None, sender=scripted.session)]
    assert Ack(B, 6, "whole") in scripted.heard()


def test_only_what_is_waited_for_comes_in_pieces() -> None:
    scripted = Scripted()
    scripted.begin(A)
    assert scripted.link.stream() is None
    scripted.send(B)
    scripted.send(A)
    assert pieces(scripted) == in_pieces(value_of(1, A))
    scripted.begin(B)
    assert scripted.link.stream() is None  # it is here
    assert bytes(scripted.settled()[-1].value or b"") == value_of(1, B)


def test_a_value_with_a_bad_float_in_it_begins_anew_in_pieces() -> None:
    scripted = Scripted()
    scripted.begin(B)
    scripted.link.stream()
    good = value_of(1, B)
    scripted.send(B, np.float32(np.nan).tobytes() + good[4:])
    assert scripted.settled() == []
    scripted.events.clear()
    for chunk, body in scripted.chunks(B):
        scripted.say(chunk, body)
    assert pieces(scripted) == in_pieces(good)
    assert scripted.settled() == [Settled(B, None, sender=scripted.session)]


def test_chunks_that_cut_a_float_are_kept() -> None:
    scripted = Scripted()
    scripted.begin(B)
    scripted.link.stream()
    value, cut = value_of(1, B), CHUNK + 2
    scripted.say(Offer(B, net_at(B), len(value), cut, "float32"))
    for index, start in enumerate(range(0, len(value), cut)):
        body = value[start : start + cut]
        scripted.say(Chunk(B, index, zlib.crc32(body)), body)
    assert pieces(scripted) == []
    assert bytes(scripted.settled()[-1].value or b"") == value


def test_messages_of_another_session_are_ignored() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.heard()
    for message in (
        scripted.offer(A),
        Ack(A, 0, "abort"),
        Nack(A, 0),
        Leave(3, "finished"),
        Ping(A, 1),
    ):
        scripted.say(message, session=99)
    assert scripted.heard() == []
    assert scripted.settled() == []
    assert scripted.link.phase is Phase.UP
    scripted.say(scripted.offer(A))
    scripted.heard()
    chunk, body = scripted.chunks(A)[0]
    scripted.say(chunk, body, session=99)
    assert scripted.heard() == []
    scripted.say(chunk, body)
    assert Ack(A, 1, "more") in scripted.heard()


def test_nothing_is_heard_before_a_hello() -> None:
    scripted = Scripted(greet=False)
    scripted.begin(A)
    scripted.send(A)
    scripted.say(Leave(3, "finished"))
    assert scripted.settled() == []
    assert scripted.link.phase is Phase.UNKNOWN
    assert all(isinstance(m, Hello) for m in scripted.heard())


def test_an_abort_takes_back_what_was_not_used_yet() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.send(B)
    scripted.say(Ack(B, 0, "abort"))
    scripted.send(A)
    scripted.begin(B)
    assert [s.t for s in scripted.settled()] == [A]
    scripted.say(Ack(B, 0, "abort"))
    assert [(s.t, s.value is None) for s in scripted.settled()] == [(A, False), (B, True)]


def test_giving_up_tells_the_neighbour() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.heard()
    scripted.link._settlement.do_without("for a reason")
    assert scripted.heard() == [Ack(A, 0, "abort")]


def test_a_value_of_one_who_left_does_not_keep_ours_in_memory() -> None:
    # It stopped in the middle of an exchange: its value is here, ours has nowhere to go.
    scripted = Scripted()
    scripted.begin(A)
    scripted.send(A)
    scripted.say(Ack(A, 2, "whole"))
    scripted.send(B)
    scripted.say(Leave(1, "finished"))
    scripted.begin(B)
    scripted.wait(1.0)
    assert [s.t for s in scripted.settled()] == [A, B]
    assert Delivered(B) in scripted.events
    assert scripted.link.idle


def test_pings_when_idle_and_an_answer_to_every_ping() -> None:
    scripted = Scripted()
    scripted.wait(0.9)
    assert scripted.heard() == []
    scripted.link.tick(scripted.now + 0.2)
    assert [type(m) for m in scripted.heard()] == [Ping]
    scripted.begin(A)
    scripted.heard()
    scripted.say(Ping(B, 7))
    assert scripted.heard() == [Pong(A, 7)]


def test_an_unanswered_ping_is_followed_by_a_hello() -> None:
    # Our connection may have been replaced by one that the neighbour does not know us by.
    scripted = Scripted()
    said = []
    for _ in range(80):
        scripted.now += TICK
        scripted.say(scripted.offer(D))  # it talks, but does not answer
        scripted.link.tick(scripted.now)
        said += [m for m in scripted.heard() if isinstance(m, Ping | Hello)]
    assert [type(m) for m in said[:2]] == [Ping, Hello]


def test_hellos_are_patient() -> None:
    scripted = Scripted(greet=False)
    times = []
    for _ in range(round(4.5 / TICK)):
        scripted.now += TICK
        scripted.tick()
        times += [scripted.now for m in scripted.heard() if isinstance(m, Hello)]
    assert np.diff(times).tolist() == pytest.approx([0.25, 0.5, 1.0, 1.0, 1.0], abs=2.1 * TICK)


def test_every_header_we_send_is_numbered_without_gaps() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.send(A)
    scripted.wait(3.0)
    scripted.begin(B)
    seqs = [decode(header).seq for header, _ in scripted.link.outbox]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    sessions = {decode(header).session for header, _ in scripted.link.outbox}
    assert sessions == {scripted.me.session}


@pytest.mark.parametrize(
    "flood",
    [Ping(A, 1), Nack(A, 0), Offer(A, "discriminator", 8, CHUNK, "bf16"), Vote(B, 1)],
    ids=lambda flood: type(flood).__name__,
)
def test_what_we_owe_to_one_who_asks_and_never_listens_does_not_grow(flood: Message) -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.heard()
    for _ in range(3 * OUTBOX):  # and nothing is taken off the outbox meanwhile
        scripted.say(flood)
    assert len(scripted.link.outbox) <= OUTBOX
    scripted.heard()
    scripted.say(Ping(B, 7))  # it listens again, and is answered
    assert any(isinstance(m, Pong) and m.number == 7 for m in scripted.heard())


def test_a_vote_that_is_not_kept_moves_the_mean_by_that_transfer_and_no_more() -> None:
    scripted = Scripted(agrees=True)
    scripted.begin(A)
    scripted.send(A)
    scripted.say(Ack(A, 6, "whole"))
    scripted.say(Vote(A, scripted.me.session))
    assert Ack(A, 0, "commit") in scripted.heard()
    scripted.say(Ack(A, 0, "abort"))  # it takes back what it has voted for
    scripted.say(Vote(A, scripted.me.session))
    scripted.say(Ack(A, 0, "commit"))
    assert [(s.t, bytes(s.value or b"")) for s in scripted.settled()] == [(A, value_of(1, A))]
    assert scripted.heard() == [Ack(A, 0, "commit")]  # what was used, was used
    scripted.begin(B)
    scripted.say(Ack(B, 0, "commit"))  # it decides what is ours to decide
    assert [s.t for s in scripted.settled()] == [A]
    scripted.say(Ack(B, 0, "abort"))
    assert [(s.t, s.value) for s in scripted.settled()][1:] == [(B, None)]


anything = st.one_of(
    st.builds(Hello, st.just(1), st.just({"graph": "ring", "seed": "0"}), st.just({"g": "sig"}),
              st.integers(0, 3)),
    st.builds(Welcome, st.sampled_from([1000, 1]), st.integers(0, 3)),
    st.builds(Offer, st.sampled_from(moments(5)), st.sampled_from([*SIZES, "x"]),
              st.sampled_from([*SIZES.values(), 0]), st.just(CHUNK), st.just("float32")),
    st.builds(Chunk, st.sampled_from(moments(5)), st.integers(0, 7),
              st.just(zlib.crc32(b"\0" * CHUNK))),
    st.builds(Ack, st.sampled_from(moments(5)), st.sampled_from([0, 1, 6, 2**32 - 1]),
              st.sampled_from(["more", "whole", "late", "wait", "abort"])),
    st.builds(Nack, st.sampled_from(moments(5)), st.integers(0, 9)),
    st.builds(Ping, st.sampled_from(moments(5)), st.integers(0, 9)),
    st.builds(Pong, st.sampled_from(moments(5)), st.integers(0, 9)),
    st.builds(Leave, st.integers(0, 9)),
)  # fmt: skip
bodies = st.sampled_from(
    [None, b"", b"\0" * CHUNK, b"\0" * 400, b"\0" * (CHUNK + 1), b"\x7f" * CHUNK]
)


@given(st.lists(st.tuples(anything, bodies, st.sampled_from([31, 31, 31, 32])), max_size=60))
@settings(max_examples=150)
def test_a_neighbour_may_say_anything_in_any_order(
    said: list[tuple[Message, bytes | None, int]],
) -> None:
    scripted = Scripted()
    todo = deque(moments(5))
    open_ = todo.popleft()
    scripted.begin(open_)
    for message, body, session in said:
        scripted.now += 0.3
        if isinstance(message, Hello):
            scripted.session = session
            scripted.say_hello(message)
        else:
            scripted.say(message, body, session)
        scripted.tick()
        for settled in scripted.settled()[5 - len(todo) - 1 :]:
            assert settled.t == open_
            assert settled.value is None or bytes(settled.value) == bytes(SIZES[net_at(open_)])
            if todo:
                open_ = todo.popleft()
                scripted.begin(open_)
        scripted.heard()
    ends = [event.t for event in scripted.settled()]
    assert ends == sorted(set(ends))
    delivered = [event.t for event in scripted.events if isinstance(event, Delivered)]
    assert len(delivered) == len(set(delivered))
    scripted.wait(130.0)
    assert scripted.settled()[-1].t == open_ or ends[-1:] == [open_]


# --- time and other processes


def test_skipped_time_is_no_silence_of_the_neighbours() -> None:
    scripted = Scripted()
    scripted.begin(Moment(0, 0))
    scripted.wait(0.1)
    scripted.now += 200.0
    scripted.link.session.skip_time(200.0)
    scripted.tick()
    assert scripted.link.phase is Phase.UP
    assert scripted.settled() == []
    scripted.wait(6.0)  # but this is
    assert scripted.link.phase is Phase.SUSPECT


def test_skipped_time_does_not_count_towards_the_start_timeout() -> None:
    scripted = Scripted(greet=False)
    scripted.begin(Moment(0, 0))
    scripted.now += 200.0
    scripted.link.session.skip_time(200.0)
    scripted.tick()
    assert scripted.settled() == []
    scripted.wait(121.0)
    assert [s.value for s in scripted.settled()] == [None]


def test_a_claim_to_be_a_neighbour_that_answers_is_wrong() -> None:
    scripted = Scripted()
    session = scripted.link.session
    assert session.claim(scripted.session, scripted.now) is Claim.RIGHT
    scripted.heard()
    assert session.claim(9, scripted.now) is Claim.OPEN
    (question,) = [m for m in scripted.heard() if isinstance(m, Ping)]
    scripted.say(Ping(A, 7))  # what it says by itself may have been said long ago
    assert session.claim(9, scripted.now) is Claim.OPEN
    assert scripted.heard() == [Pong(session.at, 7)]  # asked once
    scripted.say(Pong(A, question.number))
    assert session.claim(9, scripted.now) is Claim.WRONG
    scripted.wait(60.0, answering=True)
    assert session.claim(9, scripted.now) is Claim.WRONG


def test_a_claim_to_be_a_neighbour_that_does_not_answer_is_right() -> None:
    scripted = Scripted()
    session = scripted.link.session
    began = scripted.now
    while (claim := session.claim(9, scripted.now)) is Claim.OPEN:
        scripted.wait(TICK)
    assert claim is Claim.RIGHT
    assert scripted.now - began == pytest.approx(Timing().retry, abs=2 * TICK)
    assert scripted.link.phase is Phase.UP  # it has said nothing yet


def test_who_is_not_up_may_be_anybody() -> None:
    assert Scripted(greet=False).link.session.claim(9, 100.0) is Claim.RIGHT
    scripted = Scripted()
    scripted.wait(6.0)
    assert scripted.link.phase is Phase.SUSPECT
    assert scripted.link.session.claim(9, scripted.now) is Claim.RIGHT


def test_that_another_process_has_our_id_is_told_and_changes_nothing() -> None:
    scripted = Scripted()
    scripted.begin(A)
    scripted.say(Reject(scripted.me.session, "twice", []))
    assert scripted.events[-1] == Twice()
    assert scripted.link.phase is Phase.UP
    scripted.send(A)
    assert [s.reason for s in scripted.settled()] == [""]
    scripted.heard()
    scripted.link.warn_of_double()
    assert scripted.heard() == [Reject(scripted.session, "twice", [])]


def test_a_reject_alone_is_enough() -> None:
    # It knows a part that we do not: its HELLO is lost, its REJECT comes.
    scripted = Scripted()
    scripted.begin(Moment(0, 0))
    scripted.say(Reject(scripted.me.session + 1, "mismatch", ["seed"]))
    assert scripted.link.phase is Phase.UP  # of another session: not for us
    scripted.say(Reject(scripted.me.session, "mismatch", ["seed"]))
    assert scripted.link.phase is Phase.REFUSED
    assert Mismatch(("seed",)) in scripted.events
    assert [s.value for s in scripted.settled()] == [None]


def test_a_reject_of_many_parts_can_be_read_by_those_it_is_for() -> None:
    scripted = Scripted(greet=False)
    scripted.say_hello(Hello(1, {f"{i:060}": "" for i in range(30)}, {}, 0))
    rejects = [m for m in scripted.heard() if isinstance(m, Reject)]  # heard() decodes
    assert len(rejects) == 1
    assert len(rejects[0].parts) >= 8
    assert scripted.link.phase is Phase.REFUSED

"""A value in chunks: sent with credit, received in any order, kept until it is wanted."""

from __future__ import annotations

import zlib
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peer.effects import Moment
from peer.net.transfer.checksum import KNOWN
from peer.net.transfer.chunks import SLOWEST_RETRY, Checksums, chunk_count, chunk_size
from peer.net.transfer.incoming import Incoming
from peer.net.transfer.outgoing import CREDIT, Outgoing
from peer.net.transfer.receive_buffers import ReceiveBuffers
from peer.net.wire import CHUNK_LARGEST, CHUNK_SMALLEST, Ack, Chunk, Offer
from tests.support.links import agreed, moments

T = Moment(0, 0)


def after(t: Moment) -> Moment:
    """A moment before which nothing but what is up to ``t`` lies."""
    return Moment(t.round, t.exchange + 1)


def value_of(nbytes: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(nbytes)


def offer_of(nbytes: int, chunk: int, t: Moment = T, net: str = "generator") -> Offer:
    return Offer(t, net, nbytes, chunk, "float32")


def outgoing_of(value: bytes, chunk: int, retry: float = 2.0) -> Outgoing:
    return Outgoing(offer_of(len(value), chunk), memoryview(value), retry)


def incoming_of(offer: Offer) -> Incoming:
    return Incoming(offer, memoryview(bytearray(b"\xee" * offer.nbytes)))


def take(incoming: Incoming, chunk: Chunk, body: bytes | memoryview) -> bool:
    """Receive one chunk as a link does; returns whether it was the next one, and sound."""
    if not incoming.is_next(chunk, memoryview(body), agreed("crc32")):
        return False
    incoming.add(memoryview(body), 0.0)
    return True


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speed", "chunk"),
    [
        (0.0, 256 * 1024),  # unknown
        (1e3, 256 * 1024),
        (5e6, 256 * 1024),
        (20 * 512 * 1024.0, 512 * 1024),  # a twentieth of a second's worth
        (20 * (1024 * 1024 - 1.0), 512 * 1024),  # rounded down to a power of two
        (20 * 1024 * 1024.0, 1024 * 1024),
        (100e6, 4 * 1024 * 1024),
        (1e12, 4 * 1024 * 1024),
    ],
)
def test_chunks_grow_with_the_links_speed(speed: float, chunk: int) -> None:
    assert chunk_size(speed) == chunk


@given(st.floats(0, 1e15), st.floats(0, 1e15))
def test_chunk_sizes_are_in_range_and_monotonic(slow: float, fast: float) -> None:
    slow, fast = sorted((slow, fast))
    assert CHUNK_SMALLEST <= chunk_size(slow) <= chunk_size(fast) <= CHUNK_LARGEST


@given(st.integers(0, 10**7), st.integers(1, 10**5))
def test_chunk_count_covers_the_value_and_no_more(nbytes: int, chunk: int) -> None:
    count = chunk_count(nbytes, chunk)
    assert (count - 1) * chunk < max(nbytes, 1) <= count * chunk


# --- a value from end to end ----------------------------------------------------------------------


@given(st.integers(0, 2000), st.integers(1, 300), st.sampled_from(["", *KNOWN]))
@settings(max_examples=200)
def test_chunks_in_order_are_the_value(nbytes: int, chunk: int, name: str) -> None:
    checksum = agreed(name)
    value = value_of(nbytes)
    outgoing, incoming = outgoing_of(value, chunk), incoming_of(offer_of(nbytes, chunk))
    indices = []
    while not incoming.is_whole():
        sent = list(outgoing.chunks(checksum))
        assert sent, "out of credit although everything was acknowledged"
        for piece, body in sent:
            assert piece.checksum == (KNOWN[name](body) if name else 0)
            assert incoming.is_next(piece, body, checksum)
            incoming.add(body, 0.0)
            indices.append(piece.index)
        outgoing.acknowledge(incoming.received, 0.0)
    assert bytes(incoming.buffer) == value
    assert indices == list(range(chunk_count(nbytes, chunk)))
    assert list(outgoing.chunks(checksum)) == []


def test_nothing_is_copied_on_the_way_out() -> None:
    value = bytearray(value_of(1000))
    outgoing = Outgoing(offer_of(1000, 400), memoryview(value), 2.0)
    bodies = [body for _, body in outgoing.chunks(agreed("crc32"))]
    value[500] ^= 0xFF
    assert b"".join(bodies) == bytes(value)


@given(st.integers(1, 3000), st.integers(10, 100), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_losses_duplicates_and_corruption_delay_the_value_and_change_nothing(
    nbytes: int, chunk: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    value = value_of(nbytes, seed)
    outgoing, incoming = outgoing_of(value, chunk), incoming_of(offer_of(nbytes, chunk))
    for _ in range(3000):
        for piece, body in outgoing.chunks(agreed("crc32")):
            fate = draw.integers(5)
            carried = bytearray(body)
            if fate == 0:
                continue
            if fate == 1:
                carried[draw.integers(len(carried))] ^= 1 << draw.integers(8)
            if fate == 2:
                carried = carried[:-1]
            take(incoming, piece, carried)
            if fate == 3:
                take(incoming, piece, carried)
        outgoing.acknowledge(incoming.received, 0.0)
        if incoming.is_whole():
            break
        outgoing.go_back(incoming.received)
    assert bytes(incoming.buffer) == value


# --- credit ---------------------------------------------------------------------------------------


class Credit(RuleBasedStateMachine):
    """Whatever the neighbour says, no more than CREDIT chunks are ever on their way."""

    COUNT = 50

    def __init__(self) -> None:
        super().__init__()
        self.outgoing = outgoing_of(value_of(self.COUNT * 8), 8)

    @rule()
    def pump(self) -> None:
        for piece, body in self.outgoing.chunks(agreed("crc32")):
            assert self.outgoing.offer.nbytes > piece.index * 8
            assert bytes(body) == value_of(self.COUNT * 8)[piece.index * 8 : piece.index * 8 + 8]
            assert piece.index < self.outgoing.acknowledged + CREDIT
            assert not self.outgoing.waiting

    @rule(received=st.one_of(st.integers(0, COUNT + 5), st.just(2**32 - 1)))
    def acknowledge(self, received: int) -> None:
        before = self.outgoing.acknowledged
        waited = self.outgoing.waiting
        self.outgoing.acknowledge(received, 0.0)
        assert not self.outgoing.waiting
        assert waited or self.outgoing.acknowledged >= before

    @rule(index=st.integers(0, COUNT + 5))
    def go_back(self, index: int) -> None:
        sent = self.outgoing.sent
        self.outgoing.go_back(index)
        assert self.outgoing.sent == min(sent, index)

    @precondition(lambda self: self.outgoing.sent > 0)
    @rule()
    def wait(self) -> None:
        self.outgoing.waiting = True
        assert list(self.outgoing.chunks(agreed("crc32"))) == []

    @invariant()
    def within_credit(self) -> None:
        assert 0 <= self.outgoing.acknowledged <= self.outgoing.sent <= self.COUNT
        assert self.outgoing.sent - self.outgoing.acknowledged <= CREDIT


TestCredit = Credit.TestCase
TestCredit.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_sixteen_chunks_and_then_as_many_as_are_acknowledged() -> None:
    outgoing = outgoing_of(value_of(1000), 10)
    assert [piece.index for piece, _ in outgoing.chunks(agreed("crc32"))] == list(range(16))
    assert list(outgoing.chunks(agreed("crc32"))) == []
    outgoing.acknowledge(3, 0.0)
    assert [piece.index for piece, _ in outgoing.chunks(agreed("crc32"))] == [16, 17, 18]
    outgoing.acknowledge(2, 0.0)  # old news
    assert list(outgoing.chunks(agreed("crc32"))) == []


def test_going_back_sends_the_same_again() -> None:
    value = value_of(1000)
    outgoing = outgoing_of(value, 10)
    first = [(piece, bytes(body)) for piece, body in outgoing.chunks(agreed("crc32"))]
    outgoing.acknowledge(10, 0.0)
    outgoing.go_back(5)
    again = [(piece, bytes(body)) for piece, body in outgoing.chunks(agreed("crc32"))]
    assert [piece.index for piece, _ in again] == list(range(5, 21))
    assert again[: 16 - 5] == first[5:]


def test_what_waits_is_sent_from_where_the_go_ahead_says() -> None:
    outgoing = outgoing_of(value_of(1000), 10)
    list(outgoing.chunks(agreed("crc32")))
    outgoing.waiting = True
    assert list(outgoing.chunks(agreed("crc32"))) == []
    outgoing.acknowledge(0, 0.0)
    assert [piece.index for piece, _ in outgoing.chunks(agreed("crc32"))] == list(range(16))


# --- offering again -------------------------------------------------------------------------------


def test_offered_again_after_twice_the_time_up_to_half_a_minute() -> None:
    outgoing = outgoing_of(value_of(100), 10, retry=2.0)
    now, waits = 0.0, []
    for _ in range(7):
        outgoing.offered(now)
        waits.append(outgoing.retry_at - now)
        now = outgoing.retry_at
    assert waits == [2, 4, 8, 16, SLOWEST_RETRY, SLOWEST_RETRY, SLOWEST_RETRY]


def test_progress_puts_the_next_offer_off_and_makes_it_prompt_again() -> None:
    outgoing = outgoing_of(value_of(100), 10, retry=2.0)
    outgoing.offered(0.0)
    outgoing.offered(2.0)
    list(outgoing.chunks(agreed("crc32")))
    outgoing.acknowledge(1, 5.0)
    assert outgoing.retry_at == 7.0
    outgoing.acknowledge(1, 6.5)  # that is no progress
    assert outgoing.retry_at == 7.0


def test_speed_is_bytes_over_the_time_since_the_offer() -> None:
    outgoing = outgoing_of(value_of(1000), 100)
    outgoing.offered(10.0)
    assert outgoing.speed(12.0) == pytest.approx(500.0)
    assert outgoing.speed(10.0) <= 1e9  # no division by zero


def test_offering_again_does_not_make_the_link_look_faster() -> None:
    # Ten seconds under way and offered again: an ACK a moment later says nothing of 4 MiB chunks,
    # which ZeroMQ's heartbeat would kill on a slow link.
    outgoing = outgoing_of(value_of(10_000), 1000)
    outgoing.offered(0.0)
    outgoing.offered(10.0)
    assert outgoing.speed(10.001) == pytest.approx(1000, rel=0.01)


# --- receiving ------------------------------------------------------------------------------------


def test_only_the_next_chunk_is_sound() -> None:
    incoming = incoming_of(offer_of(25, 10))
    assert incoming.count == 3

    def sound(index: int, length: int) -> bool:
        return incoming.is_next(Chunk(T, index, 0), memoryview(bytes(length)), agreed(""))

    assert [sound(index, 10) for index in range(4)] == [True, False, False, False]
    incoming.received = 2
    assert sound(2, 5)
    assert not sound(2, 10)
    assert not sound(1, 10)
    incoming.received = 3
    assert incoming.is_whole()
    assert not any(sound(index, length) for index in range(5) for length in (0, 5, 10))


@pytest.mark.parametrize("length", [0, 9, 11, 4096])
def test_a_body_of_another_length_is_not_sound(length: int) -> None:
    incoming = incoming_of(offer_of(25, 10))
    body = memoryview(value_of(10))
    right, wrong = Chunk(T, 0, zlib.crc32(body)), memoryview(value_of(length))
    assert incoming.is_next(right, body, agreed("crc32"))
    assert not incoming.is_next(right, wrong, agreed("crc32"))
    assert not incoming.is_next(right, wrong, agreed(""))


def test_every_flipped_bit_is_found() -> None:
    body = memoryview(bytearray(value_of(64)))
    incoming = incoming_of(offer_of(64, 64))
    chunk = Chunk(T, 0, zlib.crc32(body))
    assert incoming.is_next(chunk, body, agreed("crc32"))
    for bit in range(8 * 64):
        body[bit // 8] ^= 1 << bit % 8
        assert not incoming.is_next(chunk, body, agreed("crc32"))
        body[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_float_that_is_none_is_found(bad: float) -> None:
    values = np.linspace(-3, 3, 100, dtype="<f4")
    incoming = Incoming(offer_of(400, 64), values.data.cast("B"))
    assert incoming.fault() == ""
    for place in (0, 50, 99):
        kept = values[place]
        values[place] = bad
        assert incoming.fault() == "NaN or Inf"
        values[place] = kept
    assert incoming.fault() == ""


@pytest.mark.parametrize("chunk", [64, 66, 97, 400])  # floats may lie across two pieces
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_float_that_is_none_is_found_as_pieces_come(bad: float, chunk: int) -> None:
    offer = offer_of(400, chunk)
    for place in (0, 15, 16, 50, 99):
        values = np.linspace(-3, 3, 100, dtype="<f4")
        incoming = incoming_of(offer)
        for wrong in (True, False):  # then, sent again, the right ones
            values[place] = bad if wrong else 1.0
            for piece, body in outgoing_of(values.tobytes(), chunk).chunks(agreed("crc32")):
                assert take(incoming, piece, body)
            assert incoming.is_whole()
            assert incoming.fault() == ("NaN or Inf" if wrong else "")
            incoming.start_again()
            assert incoming.received == 0


@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
def test_finite_values_may_have_a_sum_that_is_not(bad: float | None) -> None:
    values = np.full(100, 3e38, dtype="<f4")
    if bad is not None:
        values[50] = bad
    incoming = Incoming(offer_of(400, 64), values.data.cast("B"))
    assert incoming.fault() == ("" if bad is None else "NaN or Inf")
    values[::2] *= -1  # Inf of one sign may meet Inf of the other
    assert incoming.fault() == ("" if bad is None else "NaN or Inf")


# --- the buffers ----------------------------------------------------------------------------------


SIZES = {"generator": 400, "discriminator": 200}


def finish(buffers: ReceiveBuffers, t: Moment) -> None:
    incoming = buffers[t]
    assert incoming is not None
    incoming.received = incoming.count


def address(memory: memoryview) -> int:
    return int(np.frombuffer(memory, dtype=np.uint8).ctypes.data)


@pytest.mark.parametrize(
    ("offer", "fits"),
    [
        (offer_of(400, 100), True),
        (offer_of(200, 100, net="discriminator"), True),
        (offer_of(401, 100), False),
        (offer_of(200, 100), False),  # the other net's size
        (offer_of(0, 100), False),
        (offer_of(2**40, 100), False),
        (offer_of(400, 100, net="critic"), False),
        (Offer(T, "generator", 400, 100, "bf16"), False),
    ],
)
def test_only_values_of_our_own_nets_fit(offer: Offer, fits: bool) -> None:
    assert ReceiveBuffers(SIZES).fits(offer) is fits


def test_two_have_room_and_the_third_waits_until_one_is_used() -> None:
    buffers = ReceiveBuffers(SIZES)
    a, b, c = moments(3)
    assert buffers.accept(offer_of(400, 100, a))
    assert buffers.accept(offer_of(400, 100, b))
    assert not buffers.accept(offer_of(400, 100, c))
    assert buffers[c] is None
    finish(buffers, a)
    buffers.lend(a)
    assert buffers.tidy(after(a)) == Ack(c, 0, "more")
    third = buffers[c]
    assert third is not None
    assert third.received == 0
    assert buffers.tidy(after(a)) is None  # said once


def test_an_offer_that_waited_too_long_is_forgotten() -> None:
    buffers = ReceiveBuffers(SIZES)
    a, b, c, d = moments(4)
    for t in (a, b, c):
        buffers.accept(offer_of(400, 100, t))
    assert buffers.tidy(after(d)) is None
    assert list(buffers) == []


def test_what_is_lent_stays_as_it_is_until_tidied() -> None:
    buffers = ReceiveBuffers({"generator": 400})
    a, b, c = moments(3)
    buffers.accept(offer_of(400, 100, a))
    finish(buffers, a)
    lent = buffers.lend(a)
    lent[:] = b"\x07" * 400
    for t in (b, c):
        assert buffers.accept(offer_of(400, 100, t))
        other = buffers[t]
        assert other is not None
        assert address(other.buffer) != address(lent)
        other.buffer[:] = b"\xff" * 400
    assert bytes(lent) == b"\x07" * 400


def test_memory_is_used_again() -> None:
    buffers = ReceiveBuffers({"generator": 400})
    seen = set()
    for t in moments(40):
        assert buffers.accept(offer_of(400, 100, t))
        incoming = buffers[t]
        assert incoming is not None
        seen.add(address(incoming.buffer))
        finish(buffers, t)
        buffers.lend(t)
        buffers.tidy(after(t))
    assert len(seen) == 1
    buffers.accept(offer_of(400, 100, Moment(50, 0)))
    buffers.drop(Moment(50, 0))
    buffers.accept(offer_of(400, 100, Moment(51, 0)))
    assert {address(incoming.buffer) for incoming in buffers} == seen


def test_a_lost_sender_takes_its_pieces_with_it_but_not_what_is_whole() -> None:
    buffers = ReceiveBuffers(SIZES)
    a, b = moments(2)
    buffers.accept(offer_of(400, 100, a))
    buffers.accept(offer_of(400, 100, b))
    finish(buffers, a)
    buffers.drop_unfinished()
    assert buffers.has_whole(a)
    assert buffers[b] is None
    assert [incoming.offer.t for incoming in buffers] == [a]


class BuffersMachine(RuleBasedStateMachine):
    """Any order of offers, arrivals, aborts and exchanges: two values at most, never one twice."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers = ReceiveBuffers(SIZES)
        self.settled = Moment(-1, -1)
        self.lent: tuple[int, bytes, memoryview] | None = None
        self.memory: dict[str, set[int]] = {net: set() for net in SIZES}
        self.queue: deque[Moment] = deque(moments(60))

    @rule(ahead=st.integers(0, 3), net=st.sampled_from(sorted(SIZES)))
    def offer(self, ahead: int, net: str) -> None:
        t = self.queue[ahead]
        if self.buffers[t] is not None:
            return
        had_room = len(list(self.buffers)) < 2
        assert self.buffers.accept(offer_of(SIZES[net], 50, t, net)) is had_room
        incoming = self.buffers[t]
        assert (incoming is not None) is had_room
        if incoming is not None:
            assert len(incoming.buffer) == SIZES[net]
            assert incoming.received == 0
            self.memory[net].add(address(incoming.buffer))

    @rule(ahead=st.integers(0, 3))
    def arrive(self, ahead: int) -> None:
        incoming = self.buffers[self.queue[ahead]]
        if incoming is not None:
            incoming.buffer[:] = bytes([ahead + 1]) * len(incoming.buffer)
            incoming.received = incoming.count

    @rule(ahead=st.integers(0, 3))
    def abort(self, ahead: int) -> None:
        self.buffers.drop(self.queue[ahead])
        assert self.buffers[self.queue[ahead]] is None

    @rule()
    def restart(self) -> None:
        self.buffers.drop_unfinished()
        assert all(incoming.is_whole() for incoming in self.buffers)

    @precondition(lambda self: len(self.queue) > 5)
    @rule()
    def begin(self) -> None:
        self.lent = None
        go_ahead = self.buffers.tidy(after(self.settled))
        for incoming in self.buffers:
            self.memory[incoming.offer.net].add(address(incoming.buffer))
        if go_ahead is not None:
            assert self.buffers[go_ahead.t] is not None
            assert (go_ahead.received, go_ahead.verdict) == (0, "more")
        t = self.settled = self.queue.popleft()
        if self.buffers.has_whole(t):
            buffer = self.buffers.lend(t)
            self.lent = (address(buffer), bytes(buffer), buffer)
        else:
            self.buffers.drop(t)

    @invariant()
    def two_values_at_most(self) -> None:
        values = list(self.buffers)
        assert len(values) <= 2
        addresses = [address(incoming.buffer) for incoming in values]
        if self.lent is not None:
            addresses.append(self.lent[0])
            assert bytes(self.lent[2]) == self.lent[1]
        assert len(set(addresses)) == len(addresses)

    @invariant()
    def three_buffers_a_net_at_most(self) -> None:
        assert all(len(seen) <= 3 for seen in self.memory.values())


TestShelf = BuffersMachine.TestCase
TestShelf.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_a_checksum_is_worked_out_once_for_all_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    summed: list[int] = []

    def crc32(body: memoryview) -> int:
        summed.append(len(body))
        return zlib.crc32(body)

    monkeypatch.setitem(KNOWN, "crc32", crc32)
    value = memoryview(bytes(range(250)) * 4)
    sums: Checksums = {}
    found = []
    for chunk in (400, 400, 500):  # one neighbour's link is faster
        outgoing = Outgoing(offer_of(1000, chunk), value, 2.0, sums)
        pieces = outgoing.chunks(agreed("crc32"))
        found.append([(piece.checksum, bytes(body)) for piece, body in pieces])
    assert summed == [400, 400, 200, 500, 500]
    assert found[0] == found[1]
    assert all(zlib.crc32(body) == crc for pieces in found for crc, body in pieces)


def test_neighbours_that_check_differently_get_each_its_own_checksums() -> None:
    value, sums = memoryview(value_of(1000)), Checksums()
    for name in ("crc32", "xxh3", ""):
        outgoing = Outgoing(offer_of(1000, 400), value, 2.0, sums)
        for piece, body in outgoing.chunks(agreed(name)):
            assert piece.checksum == (KNOWN[name](body) if name else 0)


def test_a_value_that_had_to_wait_and_came_meanwhile_is_not_thrown_away() -> None:
    # Told to wait, its sender offers it again; by then there is room, and it comes. When its
    # exchange begins, the offer that waited must not make room for it a second time.
    buffers = ReceiveBuffers({"g": 8})
    first, second, third = (Offer(Moment(r, 0), "g", 8, 4096, "float32") for r in range(3))
    assert buffers.accept(first)
    assert buffers.accept(second)
    assert not buffers.accept(third)
    buffers.drop(first.t)
    assert buffers.accept(third)
    incoming = buffers[third.t]
    assert incoming is not None
    incoming.add(memoryview(bytes(8)), 0.0)
    assert buffers.tidy(third.t) is None
    assert buffers.has_whole(third.t)

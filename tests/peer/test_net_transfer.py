"""One value on its way: chunks, credit, and room for two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peer.effects import Moment
from peer.net.transfer import (
    CREDIT,
    SLOWEST_RETRY,
    Incoming,
    Outgoing,
    Shelf,
    chunk_count,
    chunk_size,
)
from peer.net.wire import CHUNK_LARGEST, CHUNK_SMALLEST, Ack, Chunk, Offer

T = Moment(0, 0)


def _bytes(nbytes: int, seed: int = 0) -> memoryview:
    draw = np.random.default_rng(np.random.SeedSequence([seed, nbytes]))
    return draw.integers(0, 256, nbytes, dtype=np.uint8).data


def _offer(nbytes: int, chunk: int = 4096, t: Moment = T, net: str = "generator") -> Offer:
    return Offer(t, net, nbytes, chunk, "float32")


def _room(offer: Offer) -> Incoming:
    return Incoming(offer, memoryview(bytearray(offer.nbytes)))


def _copy(incoming: Incoming, chunk: Chunk, body: memoryview, checksum: bool = True) -> bool:
    """Receive a chunk into its place; whether it was the next one, and sound."""
    place = incoming.place(chunk.index)
    if place is None:
        return False
    place[:] = body
    if not incoming.sound(chunk, len(body), checksum):
        return False
    incoming.received += 1
    return True


# --- chunks ---------------------------------------------------------------------------------------


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_chunks_grow_with_the_speed_within_their_range(one: float, other: float) -> None:
    slow, fast = sorted((one, other))

    assert CHUNK_SMALLEST <= chunk_size(slow) <= chunk_size(fast) <= CHUNK_LARGEST
    assert chunk_size(slow).bit_count() == 1


@pytest.mark.parametrize(
    ("bytes_per_second", "size"),
    [(0, 2**18), (1e6, 2**18), (20 * 2**19 - 20, 2**18), (20 * 2**19, 2**19), (1e9, 2**22)],
)
def test_a_chunk_is_a_twentieth_of_a_second(bytes_per_second: float, size: int) -> None:
    assert chunk_size(bytes_per_second) == size


@given(st.integers(0, 2**20), st.integers(1, 2**18))
def test_the_count_covers_the_value_with_no_chunk_to_spare(nbytes: int, chunk: int) -> None:
    count = chunk_count(nbytes, chunk)

    assert count * chunk >= nbytes
    assert count == 1 or (count - 1) * chunk < nbytes


@given(st.integers(0, 200_000), st.integers(4096, 70_000), st.booleans())
@settings(max_examples=60)
def test_what_is_cut_is_put_together_again(nbytes: int, chunk: int, checksum: bool) -> None:
    offer, payload = _offer(nbytes, chunk), _bytes(nbytes)
    outgoing, incoming = Outgoing(offer, payload, 2.0), _room(offer)

    while not incoming.is_whole():
        sent = list(outgoing.chunks(checksum))
        assert 0 < len(sent) <= CREDIT
        assert all(_copy(incoming, piece, body, checksum) for piece, body in sent)
        outgoing.acknowledge(incoming.received, 0.0)

    assert bytes(incoming.buffer) == bytes(payload)
    assert incoming.received == chunk_count(nbytes, chunk)
    assert list(outgoing.chunks(checksum)) == []


def test_bodies_are_views_of_the_payload_itself() -> None:
    payload = _bytes(10_000)
    outgoing = Outgoing(_offer(10_000), payload, 2.0)

    bodies = [body for _, body in outgoing.chunks(True)]

    assert [len(body) for body in bodies] == [4096, 4096, 1808]
    assert all(body.obj is payload.obj for body in bodies)


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.sampled_from(["ack", "back", "wait"]), st.integers(0, 80)), max_size=40),
)
@settings(max_examples=300)
def test_credit_is_never_exceeded(count: int, events: list[tuple[str, int]]) -> None:
    outgoing = Outgoing(_offer(4096 * count), _bytes(4096 * count), 2.0)
    for event, index in events:
        sent = [piece.index for piece, _ in outgoing.chunks(False)]
        assert sent == list(range(outgoing.sent - len(sent), outgoing.sent))
        assert 0 <= outgoing.acknowledged <= outgoing.sent <= count
        assert outgoing.sent - outgoing.acknowledged <= CREDIT
        if event == "ack":
            outgoing.acknowledge(index, 1.0)
        elif event == "back":
            outgoing.go_back(index)
        else:
            outgoing.waiting = True
            assert list(outgoing.chunks(False)) == []


def test_going_back_sends_again_from_there() -> None:
    outgoing = Outgoing(_offer(40 * 4096), _bytes(40 * 4096), 2.0)
    assert len(list(outgoing.chunks(False))) == CREDIT
    outgoing.acknowledge(CREDIT, 0.0)
    assert len(list(outgoing.chunks(False))) == CREDIT

    outgoing.go_back(5)

    assert [piece.index for piece, _ in outgoing.chunks(False)] == list(range(5, 5 + CREDIT))


def test_going_back_beyond_what_was_sent_goes_nowhere() -> None:
    outgoing = Outgoing(_offer(40 * 4096), _bytes(40 * 4096), 2.0)
    list(outgoing.chunks(False))

    outgoing.go_back(39)

    assert (outgoing.sent, outgoing.acknowledged) == (CREDIT, 0)


def test_an_acknowledgement_of_what_was_never_sent_gives_no_credit() -> None:
    outgoing = Outgoing(_offer(40 * 4096), _bytes(40 * 4096), 2.0)
    list(outgoing.chunks(False))

    outgoing.acknowledge(2**32 - 1, 0.0)

    assert outgoing.acknowledged == CREDIT
    assert [piece.index for piece, _ in outgoing.chunks(False)] == list(range(16, 32))


def test_room_after_waiting_starts_from_the_first_chunk() -> None:
    outgoing = Outgoing(_offer(3 * 4096), _bytes(3 * 4096), 2.0)
    assert len(list(outgoing.chunks(False))) == 3
    outgoing.waiting = True

    outgoing.acknowledge(0, 0.0)

    assert not outgoing.waiting
    assert [piece.index for piece, _ in outgoing.chunks(False)] == [0, 1, 2]


def test_offers_are_repeated_ever_more_seldom_until_there_is_progress() -> None:
    outgoing = Outgoing(_offer(3 * 4096), _bytes(3 * 4096), 2.0)
    list(outgoing.chunks(False))
    waits = []
    for _ in range(7):
        outgoing.offered(100.0)
        waits.append(outgoing.retry_at - 100.0)
    outgoing.acknowledge(1, 200.0)

    assert waits == [2, 4, 8, 16, SLOWEST_RETRY, SLOWEST_RETRY, SLOWEST_RETRY]
    assert outgoing.retry_at == 202.0


def test_speed_counts_from_the_last_offer() -> None:
    outgoing = Outgoing(_offer(4096), _bytes(4096), 2.0)
    outgoing.offered(10.0)
    outgoing.offered(20.0)

    assert outgoing.speed(20.5) == 8192.0
    assert outgoing.speed(20.0) <= 4096 / 1e-6


# --- one value, received --------------------------------------------------------------------------


def test_only_the_next_chunk_has_a_place() -> None:
    incoming = _room(_offer(10_000))
    incoming.received = 1

    place = incoming.place(1)

    assert place is not None
    assert len(place) == 4096
    assert [incoming.place(index) for index in (0, 2, 3, 2**32 - 1)] == [None] * 4
    incoming.received = 3
    assert incoming.is_whole()
    assert incoming.place(3) is None


@given(st.integers(0, 8 * 4096 - 1))
@settings(max_examples=60)
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    offer, payload = _offer(4096), _bytes(4096)
    (chunk, body), *rest = Outgoing(offer, payload, 2.0).chunks(True)
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8
    incoming = _room(offer)

    assert rest == []
    assert not _copy(incoming, chunk, memoryview(flipped))
    assert incoming.received == 0
    assert _copy(incoming, chunk, body)
    assert incoming.is_whole()


@pytest.mark.parametrize("filled", [0, 1, 4095, 4097, 2**22])
@pytest.mark.parametrize("checksum", [True, False])
def test_a_body_of_another_length_is_noticed(filled: int, checksum: bool) -> None:
    offer, payload = _offer(8192), _bytes(8192)
    chunk, body = next(Outgoing(offer, payload, 2.0).chunks(True))
    incoming = _room(offer)
    place = incoming.place(0)
    assert place is not None
    place[:] = body

    assert not incoming.sound(chunk, filled, checksum)
    assert incoming.sound(chunk, 4096, checksum)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 511, 1023])
def test_nan_and_inf_are_noticed_wherever_they_are(bad: float, place: int) -> None:
    values = np.ones(1024, dtype="<f4")
    offer = _offer(4096)

    assert Incoming(offer, values.data.cast("B")).finite()
    values[place] = bad
    assert not Incoming(offer, values.data.cast("B")).finite()


# --- room for two ---------------------------------------------------------------------------------

SIZES = {"generator": 8192, "discriminator": 4096}


def _at(round: int, net: str = "generator") -> Offer:
    return _offer(SIZES[net], 4096, Moment(round, 0), net)


def test_nothing_that_is_not_expected_fits() -> None:
    shelf = Shelf(SIZES)

    assert shelf.fits(_at(0))
    assert shelf.fits(_at(0, "discriminator"))
    assert not shelf.fits(_offer(8196))
    assert not shelf.fits(_offer(4096))
    assert not shelf.fits(_offer(8192, net="critic"))
    assert not shelf.fits(Offer(T, "generator", 8192, 4096, "bfloat16"))


def test_the_third_waits_and_is_let_in_when_the_first_is_over() -> None:
    shelf = Shelf(SIZES)
    assert [shelf.accept(_at(k)) for k in range(3)] == [True, True, False]

    assert shelf.tidy(Moment(-1, -1)) is None
    assert shelf[Moment(2, 0)] is None
    assert shelf.tidy(Moment(0, 0)) == Ack(Moment(2, 0), 0, "more")

    assert [incoming.offer for incoming in shelf] == [_at(1), _at(2)]
    assert shelf.tidy(Moment(1, 0)) is None


def test_an_offer_that_waited_until_it_was_over_is_forgotten() -> None:
    shelf = Shelf(SIZES)
    assert [shelf.accept(_at(k)) for k in range(3)] == [True, True, False]

    assert shelf.tidy(Moment(2, 0)) is None
    assert list(shelf) == []


def test_a_lent_value_keeps_its_memory_until_tidied() -> None:
    shelf = Shelf(SIZES)
    shelf.accept(_at(0))
    first = shelf[Moment(0, 0)]
    assert first is not None
    first.received = first.count

    lent = shelf.lend(Moment(0, 0))
    shelf.accept(_at(1))
    second = shelf[Moment(1, 0)]
    assert second is not None
    assert second.buffer.obj is not lent.obj

    shelf.tidy(Moment(0, 0))
    shelf.accept(_at(2))
    third = shelf[Moment(2, 0)]
    assert third is not None
    assert third.buffer.obj is lent.obj, "memory is used again"


def test_a_new_process_loses_what_was_half_received_only() -> None:
    shelf = Shelf(SIZES)
    shelf.accept(_at(0))
    shelf.accept(_at(1))
    shelf.accept(_at(2))
    whole = shelf[Moment(0, 0)]
    assert whole is not None
    whole.received = whole.count

    shelf.drop_unfinished()

    assert [incoming.offer for incoming in shelf] == [_at(0)]
    assert shelf.has_whole(Moment(0, 0))
    assert shelf.tidy(Moment(0, 0)) is None, "its waiting offer went with it"


class _AnyOrder(RuleBasedStateMachine):
    """Offers, values, drops and exchanges in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf(SIZES)
        self.settled = Moment(-1, -1)
        self.memory: dict[int, object] = {}  # every buffer ever seen, by its identity

    @rule(ahead=st.integers(1, 4), net=st.sampled_from(sorted(SIZES)))
    def offer(self, ahead: int, net: str) -> None:
        offer = _at(self.settled.round + ahead, net)
        if self.shelf[offer.t] is None:
            room = len(list(self.shelf)) < 2
            assert self.shelf.accept(offer) is room

    @rule(ahead=st.integers(1, 4))
    def come_whole(self, ahead: int) -> None:
        incoming = self.shelf[Moment(self.settled.round + ahead, 0)]
        if incoming is not None:
            incoming.received = incoming.count
            assert self.shelf.has_whole(incoming.offer.t)

    @rule(ahead=st.integers(1, 4))
    def drop(self, ahead: int) -> None:
        self.shelf.drop(Moment(self.settled.round + ahead, 0))

    @rule()
    def drop_unfinished(self) -> None:
        self.shelf.drop_unfinished()
        assert all(incoming.is_whole() for incoming in self.shelf)

    @rule()
    def settle(self) -> None:
        t = Moment(self.settled.round + 1, 0)
        if self.shelf.has_whole(t):
            assert len(self.shelf.lend(t)) in SIZES.values()
        self.settled = t
        go_ahead = self.shelf.tidy(t)
        assert all(incoming.offer.t > t for incoming in self.shelf)
        if go_ahead is not None:
            assert go_ahead.t > t
            assert self.shelf[go_ahead.t] is not None

    @invariant()
    def never_more_than_two(self) -> None:
        coming = list(self.shelf)
        assert len(coming) <= Shelf.ROOM
        buffers = {id(incoming.buffer.obj) for incoming in coming}
        assert len(buffers) == len(coming), "each has its own memory"
        for incoming in coming:
            assert len(incoming.buffer) == incoming.offer.nbytes
            self.memory[id(incoming.buffer.obj)] = incoming.buffer.obj
        # at most two coming and one lent, for each net
        assert len(self.memory) <= 3 * len(SIZES)


TestAnyOrder = _AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40)

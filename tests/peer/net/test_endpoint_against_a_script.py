"""An endpoint alone, row by row, among scripted neighbours, strangers and liars."""

from __future__ import annotations

import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.effects import Moment
from peer.net.admission import STRANGERS, TAKEN, Note
from peer.net.away.failure_detector import Timing
from peer.net.commands import Begin, Finish, Part
from peer.net.endpoint import GRACE, Endpoint
from peer.net.events import Arriving, Event, Failed, InPhase, Outcome, Redial
from peer.net.header.seal import sealed
from peer.net.session import Phase
from peer.net.transfer import sender as sender_module
from peer.net.transfer.send_buffers import Released
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
    Welcome,
    decode,
    encode,
)
from tests.support.network_in_memory import (
    BRISK,
    CHUNK,
    SIZES,
    TICK,
    Memory,
    address_of,
    identity,
    make_endpoint,
    value_of,
)

A = Moment(0, 0)
PATIENT = Timing()
NET = "discriminator"


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Values of a few kilobytes, yet of many chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)
        yield


# --- alone, against a script ----------------------------------------------------------------------


class Alone:
    """Peer 0's endpoint, with scripted neighbours of sessions 1001, 1002, ..."""

    def __init__(self, neighbours: Iterable[int] = (1, 2), timing: Timing = PATIENT) -> None:
        self.endpoint: Endpoint = make_endpoint(identity(0), neighbours, timing)
        self.now = 0.0
        self._seqs: Counter[int] = Counter()

    def hear(
        self, message: Message, connection: bytes, session: int, authenticated: int | None = None,
        body: bytes | None = None,
    ) -> list[Event]:  # fmt: skip
        header = encode(session, self._seqs[session], message)
        self._seqs[session] += 1
        view = None if body is None else memoryview(bytearray(body))
        self.endpoint.receive(connection, authenticated, header, view, self.now)
        return self.events()

    def hear_from(self, k: int, message: Message, body: bytes | None = None) -> list[Event]:
        return self.hear(message, b"to %d" % k, 1000 + k, body=body)

    def connect(self, *neighbours: int) -> None:
        for k in neighbours:
            self.hear_from(k, greeting(k))
            self.hear_from(k, Welcome(1000, 0))
            assert self.endpoint.links[k].phase is Phase.UP
            self.said(k)

    def hear_value(self, k: int, t: Moment, step: int = 0) -> list[Event]:
        value = value_of(k, step, NET)
        events = self.hear_from(k, Offer(t, NET, len(value), CHUNK, "float32"))
        for i in range(2):
            body = value[i * CHUNK : (i + 1) * CHUNK]
            events += self.hear_from(k, Chunk(t, i, zlib.crc32(body)), body)
        return events

    def begin(self, t: Moment, *neighbours: int, step: int = 0, pieces: bool = False) -> Memory:
        data = bytearray(value_of(0, step, NET))
        memory = Memory(data, {(k, t) for k in neighbours}, len(data))
        parts = {k: Part(t, NET, memory) for k in neighbours}
        self.endpoint.begin(Begin(parts, pieces), self.now)
        return memory

    def wait(self, seconds: float) -> list[Event]:
        events, end = [], self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + TICK)
            self.endpoint.tick(self.now)
            events += self.events()
        return events

    def events(self) -> list[Event]:
        events = list(self.endpoint.events)
        self.endpoint.events.clear()
        return events

    def said(self, k: int) -> list[Message]:
        """What is to go to a neighbour, taken off."""
        return [decode(header).message for header, _ in self.frames(k).get(k, [])]

    def frames(self, only: int | None = None) -> dict[int, list[tuple[bytes, bytes]]]:
        frames = {}
        for k, outbox in self.endpoint.outboxes:
            if only in (None, k):
                frames[k] = [(header, bytes(body or b"")) for header, body in outbox]
                outbox.clear()
        return frames


def greeting(peer: int, **parts: str) -> Hello:
    me = identity(peer, **parts)
    return Hello(peer, dict(me.fingerprint), dict(me.signature), 0, checksums=["crc32"])


def of_kind(kind: type, events: Iterable[object]) -> list[object]:
    return [event for event in events if isinstance(event, kind)]


# --- outcomes, pieces and releases ----------------------------------------------------------------


def test_the_last_outstanding_value_comes_in_pieces_and_only_that() -> None:
    alone = Alone((1, 2))
    alone.connect(1, 2)
    alone.begin(A, 1, 2, pieces=True)
    assert not of_kind(Arriving, alone.hear_value(2, A))
    events = alone.hear_value(1, A)
    pieces = [event for event in events if isinstance(event, Arriving)]
    assert {event.neighbour for event in pieces} == {1}
    assert b"".join(bytes(event.piece.body) for event in pieces) == value_of(1, 0, NET)
    assert all(bytes(event.others[2]) == value_of(2, 0, NET) for event in pieces)
    (outcome,) = [event for event in events if isinstance(event, Outcome)]
    assert outcome.received.keys() == {2}
    assert outcome.missing == set()
    assert events.index(outcome) > events.index(pieces[-1])
    assert not of_kind(Outcome, alone.wait(100.0))


def test_pieces_of_who_then_dies_leave_it_missing() -> None:
    alone = Alone((1,), BRISK)
    alone.connect(1)
    alone.begin(A, 1, pieces=True)
    alone.hear_from(1, Offer(A, NET, SIZES[NET], CHUNK, "float32"))
    body = value_of(1, 0, NET)[:CHUNK]
    events = alone.hear_from(1, Chunk(A, 0, zlib.crc32(body)), body)
    assert len(of_kind(Arriving, events)) == 1
    later = alone.wait(3 * BRISK.deadline)
    assert of_kind(Outcome, later) == [Outcome({}, {1})]


def test_a_payload_is_released_once_by_every_neighbour_and_not_before() -> None:
    alone = Alone((1, 2, 3), BRISK)
    alone.connect(1, 2)  # 3 does not come
    alone.begin(A, 1, 2, 3)
    assert not of_kind(Released, alone.events())
    assert not of_kind(Released, alone.hear_value(1, A) + alone.hear_from(1, Ack(A, 1, "more")))
    whole = alone.hear_from(1, Ack(A, 2, "whole"))
    assert of_kind(Released, whole) == [Released(1, A, in_flight=False)]
    assert not of_kind(Released, alone.hear_from(1, Ack(A, 2, "whole")))
    later = alone.wait(4 * BRISK.start_timeout)
    released = of_kind(Released, later)
    assert sorted(released, key=lambda each: each.neighbour) == [
        Released(2, A, in_flight=True),  # its chunks were handed out
        Released(3, A, in_flight=False),  # nothing ever was
    ]
    assert of_kind(Outcome, later)[0].missing == {2, 3}


def test_a_payload_is_released_where_the_neighbour_is_done_without_from_the_beginning() -> None:
    alone = Alone((1,), BRISK)
    alone.connect(1)
    alone.wait(BRISK.suspect + 2 * TICK)
    assert alone.endpoint.links[1].phase in (Phase.SUSPECT, Phase.DOWN)
    alone.begin(A, 1)
    events = alone.events()
    assert of_kind(Outcome, events) == [Outcome({}, {1})]
    assert of_kind(Released, events) == [Released(1, A, in_flight=False)]
    assert not of_kind(Released, alone.wait(20.0))


def test_a_payload_that_is_still_written_leaves_chunk_by_chunk() -> None:
    alone = Alone((1, 2))
    alone.connect(1)
    value = value_of(0, 0, "generator")
    memory = Memory(bytearray(value), {(1, A), (2, A)}, 0)
    parts = {k: Part(A, "generator", memory) for k in (1, 2)}
    alone.endpoint.begin(Begin(parts), 0.0)
    offer = Offer(A, "generator", len(value), CHUNK, "float32")
    assert alone.said(1) == [offer]
    got = []
    for written, count in ((100, 0), (CHUNK - 1, 0), (CHUNK, 1), (3 * CHUNK + 8, 2), (5 * CHUNK, 2),
                           (len(value) - 1, 0), (len(value), 1)):  # fmt: skip
        memory.written = written
        alone.endpoint.resume()
        frames = alone.frames()
        assert 2 not in frames or not any(body for _, body in frames[2])  # it is not there yet
        assert len(frames.get(1, [])) == count
        got += frames.get(1, [])
    assert [decode(header).message for header, _ in got] == [
        Chunk(A, i, zlib.crc32(value[i * CHUNK : (i + 1) * CHUNK])) for i in range(6)
    ]
    assert b"".join(body for _, body in got) == value
    alone.hear_from(2, greeting(2))
    alone.hear_from(2, Welcome(1000, 0))
    assert b"".join(body for _, body in alone.frames()[2]) == value


# --- strangers and liars --------------------------------------------------------------------------


def test_strangers_are_named_a_few_times_counted_always_and_never_answered() -> None:
    alone = Alone()
    notes = []
    for peer in [*range(10, 50), *range(10, 50)]:
        notes += of_kind(Note, alone.hear(greeting(peer), b"%d" % peer, 5000 + peer))
    assert alone.endpoint.admission.foreign == 80
    named = [note.line for note in notes if "greets us" in note.line]
    assert [int(line.split()[1]) for line in named] == list(range(10, 10 + STRANGERS))
    assert len(notes) == STRANGERS + 1  # and that there are such messages, once
    assert alone.frames() == {}
    alone.hear(Ping(A, 1), b"10", 5010)  # its HELLO bound nothing
    assert alone.endpoint.admission.foreign == 81
    alone.connect(1, 2)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9) |
    st.binary(max_size=9) | st.floats(),
    lambda each: st.lists(each, max_size=6) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=12,
)  # fmt: skip
almost = st.tuples(
    st.sampled_from(["hearsay", b"hearsay", "hearsaz"]), st.sampled_from([0, 1, 2, True]),
    st.integers(-1, 12), junk, junk, st.lists(junk, max_size=6),
).map(lambda each: sealed([*each[:5], *each[5]]))  # fmt: skip


@given(st.lists(st.binary(max_size=3000) | junk.map(msgpack.packb) | almost, max_size=8))
@settings(max_examples=80)
def test_garbage_is_counted_said_once_and_disturbs_nobody(headers: list[bytes]) -> None:
    alone = Alone()
    alone.connect(1, 2)
    alone.begin(A, 1, 2)
    before = alone.frames()
    assert before.keys() == {1, 2}
    notes = []
    for i, header in enumerate([b"", *headers]):
        body = memoryview(b"x" * i) if i % 2 else None
        alone.endpoint.receive(b"elsewhere", None, header, body, 0.0)
        notes += alone.events()
    assert alone.endpoint.admission.foreign == 1 + len(headers)
    assert len(notes) == 1
    assert isinstance(notes[0], Note)
    assert alone.frames() == {}
    events = [*alone.hear_value(1, A), *alone.hear_value(2, A)]
    (outcome,) = [event for event in events if isinstance(event, Outcome)]
    assert {k: bytes(v) for k, v in outcome.received.items()} == {
        k: value_of(k, 0, NET) for k in (1, 2)
    }


def test_a_connection_that_nobody_greeted_by_says_nothing() -> None:
    alone = Alone()
    alone.connect(1)
    for message in (
        Ping(A, 1),
        Welcome(1000, 0),
        Reject(1000, "mismatch", ["seed"]),
        Leave(3, "finished"),
    ):
        assert not of_kind(InPhase, alone.hear(message, b"new", 1001))
    assert alone.endpoint.admission.foreign == 4
    assert alone.frames() == {}
    assert alone.endpoint.links[1].phase is Phase.UP


@pytest.mark.parametrize("authenticated", [2, -1])
def test_a_greeting_that_contradicts_curve_is_ignored(authenticated: int) -> None:
    alone = Alone()
    alone.hear(greeting(1), b"c", 1001, authenticated)
    alone.hear(Welcome(1000, 0), b"c", 1001, authenticated)
    assert alone.endpoint.admission.foreign == 2
    assert alone.frames() == {}
    assert {link.phase for link in alone.endpoint.links.values()} == {Phase.UNKNOWN}
    alone.hear(greeting(1), b"c", 1001, 1)
    alone.hear(Welcome(1000, 0), b"c", 1001, 1)
    assert alone.endpoint.links[1].phase is Phase.UP


@pytest.mark.parametrize("authenticated", [2, -1])
def test_later_messages_must_be_the_authenticated_neighbours(authenticated: int) -> None:
    alone = Alone()
    for k in (1, 2):
        alone.hear(greeting(k), b"to %d" % k, 1000 + k, k)
        alone.hear(Welcome(1000, 0), b"to %d" % k, 1000 + k, k)
    alone.frames()
    assert not of_kind(InPhase, alone.hear(Leave(1, "finished"), b"to 1", 1001, authenticated))
    alone.hear(Ping(A, 1), b"to 1", 1001, authenticated)
    assert alone.endpoint.admission.foreign == 2
    assert alone.frames() == {}
    alone.hear(Ping(A, 7), b"to 1", 1001, 1)
    assert any(isinstance(m, Pong) and m.number == 7 for m in alone.said(1))
    assert alone.endpoint.admission.foreign == 2


def test_in_plain_text_a_second_claimant_of_a_living_neighbours_id_is_ignored() -> None:
    alone = Alone()
    alone.connect(1, 2)
    assert not of_kind(InPhase, alone.hear(greeting(1), b"thief", 6666))
    assert alone.endpoint.admission.foreign == 0  # who it is, is not known yet
    assert [type(m) for m in alone.said(1)] == [Ping]  # the first is asked whether it is there
    alone.begin(A, 1)
    alone.frames()
    assert not of_kind(Outcome, alone.hear(Leave(1, "finished"), b"thief", 6666))
    (outcome,) = of_kind(Outcome, alone.hear_value(1, A))  # by the connection that it greeted by
    assert bytes(outcome.received[1]) == value_of(1, 0, NET)


@pytest.mark.parametrize("authenticated", [None, 1])
def test_a_restarted_neighbour_is_let_in_once_the_old_process_does_not_answer(
    authenticated: int | None,
) -> None:
    alone = Alone()
    alone.connect(1, 2)
    alone.wait(1.0)
    assert not of_kind(InPhase, alone.hear(greeting(1), b"again", 2001, authenticated))
    assert alone.endpoint.links[1].session.number == 1001
    alone.wait(PATIENT.retry + 0.1)
    events = alone.hear(greeting(1), b"again", 2001, authenticated)
    assert InPhase(1, Phase.UNKNOWN) in events
    assert InPhase(1, Phase.UP) in alone.hear(Welcome(1000, 0), b"again", 2001, authenticated)
    assert alone.endpoint.links[2].session.number == 1002
    assert not of_kind(
        InPhase, alone.hear(Leave(1, "finished"), b"to 1", 1001, authenticated)
    )  # the old one's


moments = st.builds(Moment, st.integers(-1, 2), st.integers(-1, 2))
small = st.integers(0, 4)
lies = st.one_of(
    st.builds(Offer, moments, st.sampled_from([*SIZES, "@model", "x"]),
              st.sampled_from([0, 5, *SIZES.values(), 2**40]), st.sampled_from([CHUNK, 5000]),
              st.sampled_from(["float32", "letter", "bf16"])),
    st.builds(Chunk, moments, small, st.sampled_from([0, zlib.crc32(b"\0" * CHUNK)])),
    st.builds(Ack, moments, small, st.sampled_from(["more", "whole", "late", "wait", "abort"])),
    st.builds(Nack, moments, small), st.builds(Ping, moments, small),
    st.builds(Pong, moments, small),
    st.builds(Leave, small, st.sampled_from(["finished", "stopped", "crashed"])),
    st.builds(Welcome, st.sampled_from([1000, 7]), small),
    st.builds(Reject, st.just(7), st.just("mismatch"), st.just(["seed"])),
)  # fmt: skip
bodies = st.none() | st.just(b"\0" * CHUNK) | st.binary(max_size=20)


@given(st.lists(st.tuples(lies, bodies), max_size=12), st.booleans())
@settings(max_examples=150)
def test_a_neighbour_that_lies_harms_only_its_own_link(
    told: list[tuple[Message, bytes | None]], pieces: bool
) -> None:
    alone = Alone(timing=BRISK)
    alone.connect(1, 2)
    alone.begin(A, 1, 2, pieces=pieces)
    events = []
    for message, body in told:
        events += alone.hear_from(1, message, body)
    events += alone.events() + alone.hear_value(2, A)
    events += alone.hear_from(2, Ack(A, 2, "whole")) + alone.wait(3 * BRISK.deadline)
    (outcome,) = [event for event in events if isinstance(event, Outcome)]
    assert 2 not in outcome.missing
    if 2 in outcome.received:
        assert bytes(outcome.received[2]) == value_of(2, 0, NET)
    else:
        came = [e.piece for e in events if isinstance(e, Arriving) and e.neighbour == 2]
        assert b"".join(bytes(p.body) for p in came) == value_of(2, 0, NET)
    released = Counter(event.neighbour for event in events if isinstance(event, Released))
    assert released == {1: 1, 2: 1}


@pytest.mark.parametrize("first", ["greeting", "welcome", "ping"])
def test_the_first_message_on_a_new_connection_is_a_greeting(first: str) -> None:
    alone = Alone((1,), BRISK)
    alone.connect(1)
    while not of_kind(Redial, alone.wait(TICK)):
        assert alone.now < 30.0, "it is never dialled again"
        alone.frames()
    # before time passes again, the neighbour is heard by its own connection, which never broke
    message = {"greeting": greeting(1), "welcome": Welcome(1000, 0), "ping": Ping(A, 1)}[first]
    alone.hear_from(1, message)
    alone.wait(0.5)
    assert isinstance(alone.said(1)[0], Hello)


def test_time_in_which_we_stood_still_is_not_a_neighbours_silence() -> None:
    alone = Alone((1,))
    alone.connect(1)
    alone.begin(A, 1)
    alone.now += 100.0
    alone.endpoint.skip_time(100.0)
    events = alone.wait(PATIENT.suspect - 2 * TICK)
    assert not of_kind(Outcome, events)
    assert not of_kind(InPhase, events)
    later = alone.wait(PATIENT.deadline)
    assert of_kind(Outcome, later) == [Outcome({}, {1})]


# --- another experiment next door -----------------------------------------------------------------


def test_another_experiment_fails_the_run_once_after_the_grace_and_is_told() -> None:
    alone = Alone()
    alone.connect(2)
    alone.wait(0.5)
    alone.begin(A, 1, 2)
    events = alone.hear_from(1, greeting(1, graph="star", seed="9"))
    (reject,) = of_kind(Reject, alone.said(1))
    assert (reject.session, sorted(reject.parts)) == (1001, ["graph", "seed"])
    events += alone.hear_value(2, A)
    events += alone.wait(GRACE - TICK)
    assert not of_kind(Failed, events)
    (failed,) = of_kind(Failed, alone.wait(2 * TICK))
    line = str(failed.problem)
    assert "peer 1 " in line
    assert address_of(1) in line
    assert "graph, seed differ" in line
    later = alone.wait(200.0)
    assert not of_kind(Failed, later)
    assert not of_kind(Outcome, [*events, *later])


def test_other_images_under_the_same_file_are_not_blamed_on_the_file() -> None:
    alone = Alone()
    alone.connect(1)
    alone.wait(0.5)
    alone.begin(A, 1)
    events = alone.hear_from(1, greeting(1, images="9"))
    (failed,) = of_kind(Failed, [*events, *alone.wait(GRACE + TICK)])
    line = str(failed.problem)
    assert "images differ; give every peer the same images, or say data.partition: own" in line


def test_a_neighbour_that_says_that_our_id_is_taken_is_believed_at_any_time() -> None:
    alone = Alone()
    alone.connect(1, 2)
    alone.begin(A, 1, 2)
    events = [*alone.hear_value(1, A), *alone.hear_value(2, A)]
    assert len(of_kind(Outcome, events)) == 1
    reject = encode(1001, 0, Reject(1000, TAKEN, []))
    alone.endpoint.receive_answer(1, reject, alone.now)
    (failed,) = of_kind(Failed, alone.wait(1.0))
    assert isinstance(failed, Failed)
    assert "another process is peer 0 already, says peer 1" in str(failed.problem)


def test_being_refused_fails_the_run_too_and_two_of_them_fail_it_once() -> None:
    alone = Alone()
    alone.hear_from(1, greeting(1))
    alone.hear_from(1, Reject(1000, "mismatch", ["algorithm"]))
    alone.hear_from(2, greeting(2, seed="9"))
    (failed,) = of_kind(Failed, alone.wait(10.0))
    assert "peer 1 " in str(failed.problem)
    assert "algorithm differ" in str(failed.problem)


# --- taking leave ---------------------------------------------------------------------------------


def owing(patience: float) -> Alone:
    """Two neighbours' values are here, ours is at 1 only, 3 never came, and we leave."""
    alone = Alone((1, 2, 3))
    alone.connect(1, 2)
    alone.begin(A, 1, 2)
    alone.hear_value(1, A)
    assert of_kind(Outcome, alone.hear_value(2, A))
    alone.hear_from(1, Ack(A, 2, "whole"))
    alone.frames()
    alone.endpoint.finish(Finish(7, patience), alone.now)
    return alone


def test_what_is_owed_is_sent_before_we_leave() -> None:
    alone = owing(patience=4.0)
    alone.wait(2.5)  # 2 has said nothing, and is offered our value again
    said = {k: alone.said(k) for k in (1, 2)}
    assert Leave(7, "finished") not in said[1] + said[2]
    assert not alone.endpoint.has_left(alone.now)
    events = alone.hear_from(2, Ack(A, 2, "whole"))
    assert of_kind(Released, events) == [Released(2, A, in_flight=False)]
    assert not alone.endpoint.has_left(alone.now)  # it is said, but has not left
    frames = alone.frames()
    for k in (1, 2):
        assert decode(frames[k][-1][0]).message == Leave(7, "finished")
    assert Leave(7, "finished") not in [decode(header).message for header, _ in frames.get(3, [])]
    assert alone.endpoint.has_left(alone.now)


def test_patience_ends_and_what_was_owed_is_released() -> None:
    alone = owing(patience=4.0)
    assert not of_kind(Released, alone.wait(4.0 - TICK))
    assert Leave(7, "finished") not in [decode(header).message for header, _ in alone.frames()[2]]
    events = alone.wait(3 * TICK)
    assert of_kind(Released, events) == [Released(2, A, in_flight=True)]
    assert not alone.endpoint.has_left(alone.now)
    alone.wait(GRACE - 4 * TICK)
    assert not alone.endpoint.has_left(alone.now)  # nobody takes what we say
    alone.wait(5 * TICK)
    assert alone.endpoint.has_left(alone.now)
    assert Leave(7, "finished") in alone.said(1)
    assert Leave(7, "finished") in alone.said(2)


def test_a_release_at_the_end_of_patience_is_told_before_we_have_left() -> None:
    alone = owing(patience=4.0)
    events: deque[Event] = deque()
    while not alone.endpoint.has_left(alone.now):
        events.extend(alone.wait(TICK))
        alone.frames()  # it leaves at once
    assert of_kind(Released, events) == [Released(2, A, in_flight=True)]

"""The state table of an exchange: as it is written, as the program has it, as a link follows it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest

from peer.effects import Moment
from peer.net import exchange as exchange_module
from peer.net.exchange import TRANSITIONS, Cause, Delivered, Exchange, Settled, State
from peer.net.transfer import sender as sender_module
from peer.net.wire import Ack, Chunk, Leave, Vote
from tests.peer.net.test_link_against_a_script import CHUNK, A, B, Scripted, net_at, value_of


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)


def written() -> dict[State, dict[Cause, State]]:
    """The second table of the module's docstring, read by its columns."""
    text = exchange_module.__doc__ or ""
    rule = "  ".join(["=" * 9] * 8 + ["=" * 8])
    heading, rows = text.split(rule)[1:3]
    columns = [match.start() for match in re.finditer(r"=+", rule)] + [len(rule) + 1]
    places = list(itertools.pairwise(columns))

    def cells(line: str) -> list[str]:
        return [line[a:b].strip() for a, b in places]

    lines = [cells(line) for line in heading.strip("\n").splitlines()]
    names = ["".join(parts) for parts in zip(*lines, strict=True)][1:]
    table: dict[State, dict[Cause, State]] = {}
    for line in rows.strip("\n").splitlines():
        state, *then = cells(line)
        found = zip(names, then, strict=True)
        table[State[state]] = {Cause[name]: State[to] for name, to in found if to}
    return table


def test_the_table_that_is_read_is_the_one_that_runs() -> None:
    assert written() == TRANSITIONS
    assert set(TRANSITIONS) == set(State)


# --- the link, state by state and cause by cause --------------------------------------------------


def awaiting() -> Scripted:
    scripted = Scripted()
    scripted.begin(A)
    return scripted


def streaming() -> Scripted:
    scripted = awaiting()
    assert scripted.link.stream() is None  # nothing has come yet
    return scripted


def holding() -> Scripted:
    scripted = Scripted(agrees=True)  # it decides, and has not got the neighbour's vote
    scripted.begin(A)
    scripted.send(A)
    return scripted


def sending() -> Scripted:
    scripted = Scripted()
    value = memoryview(value_of(0, A))
    scripted.link.begin(A, net_at(A), value, scripted.now, wants=False)
    scripted._collect()
    return scripted


def settled() -> Scripted:
    scripted = awaiting()
    scripted.send(A)
    return scripted


REACHED: dict[State, Callable[[], Scripted]] = {
    State.AWAITING: awaiting,
    State.STREAMING: streaming,
    State.HOLDING: holding,
    State.SENDING: sending,
    State.SETTLED: settled,
}


def begin(scripted: Scripted) -> None:
    scripted.begin(B)


def begin_one_way(scripted: Scripted) -> None:
    value = memoryview(value_of(0, B))
    scripted.link.begin(B, net_at(B), value, scripted.now, wants=False)


def stream(scripted: Scripted) -> None:
    scripted.link.stream()


def value(scripted: Scripted) -> None:
    scripted.send(scripted.link.exchange.t)
    scripted.say(Vote(scripted.link.exchange.t, scripted.me.session))


def hold(scripted: Scripted) -> None:
    scripted.link.agrees = True
    scripted.link.exchange.is_mutual = scripted.link.exchange.state is not State.SENDING
    scripted.send(scripted.link.exchange.t)


def restart(scripted: Scripted) -> None:
    scripted.session += 1
    scripted.seq = 0
    scripted.say_hello()


def delivered(scripted: Scripted) -> None:
    scripted.say(Ack(scripted.link.exchange.t, 2, "whole"))


def without(scripted: Scripted) -> None:
    scripted.say(Leave(1, "finished"))


CAUSED: dict[Cause, Callable[[Scripted], None]] = {
    Cause.BEGIN: begin,
    Cause.BEGIN_ONE_WAY: begin_one_way,
    Cause.STREAM: stream,
    Cause.HOLD: hold,
    Cause.VALUE: value,
    Cause.RESTART: restart,
    Cause.DELIVERED: delivered,
    Cause.WITHOUT: without,
}
BEGINNINGS = {Cause.BEGIN, Cause.BEGIN_ONE_WAY}


def test_every_state_and_every_cause_is_tried() -> None:
    assert set(REACHED) == set(State)
    assert set(CAUSED) == set(Cause)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("state", State)
def test_a_link_does_what_the_table_says(state: State, cause: Cause) -> None:
    scripted = REACHED[state]()
    assert scripted.link.exchange.state is state
    then = TRANSITIONS[state].get(cause)
    if then is None and cause in BEGINNINGS:
        with pytest.raises(KeyError):  # the exchange before must be settled: the caller's fault
            CAUSED[cause](scripted)
        return
    CAUSED[cause](scripted)
    assert scripted.link.exchange.state is (then or state)


@pytest.mark.parametrize("cause", [Cause.VALUE, Cause.DELIVERED, Cause.WITHOUT])
@pytest.mark.parametrize("state", State)
def test_an_exchange_is_told_to_be_settled_once(state: State, cause: Cause) -> None:
    scripted = REACHED[state]()
    for _ in range(2):
        CAUSED[cause](scripted)
    told = [event for event in scripted.events if isinstance(event, Settled)]
    is_settled = state is State.SETTLED or TRANSITIONS[state].get(cause) is State.SETTLED
    assert [event.t for event in told] == [A] * is_settled
    assert scripted.events.count(Delivered(A)) <= 1


def test_what_an_exchange_is_past() -> None:
    first = Exchange()
    assert first.is_settled
    assert not first.is_past(A)
    exchange = first.next(A, "net", True, now=5.0, ask_after=2.0, retry=3.0)
    assert (exchange.state, exchange.ask_at, exchange.ask_after) == (State.AWAITING, 7.0, 3.0)
    assert not exchange.is_past(A)
    assert exchange.awaits(A)
    assert not exchange.awaits(B)
    exchange.advance(Cause.VALUE)
    assert exchange.is_past(A)
    assert not exchange.is_past(B)
    assert not exchange.awaits(A)
    following = exchange.next(B, "net", False, now=6.0, ask_after=2.0, retry=3.0)
    assert following.state is State.SENDING
    assert following.is_past(A)
    assert not following.is_past(B)
    assert following.is_past(Moment(-1, -1))


def test_a_chunk_of_a_settled_exchange_changes_nothing() -> None:
    scripted = settled()
    before = len(scripted.events)
    for chunk, body in scripted.chunks(A):
        scripted.say(Chunk(A, chunk.index, chunk.checksum), body)
    assert scripted.link.exchange.state is State.SETTLED
    assert len(scripted.events) == before

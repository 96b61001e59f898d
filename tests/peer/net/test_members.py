"""Who takes part, told from peer to peer: by endpoints alone, in virtual time."""

from __future__ import annotations

import zlib

import msgpack
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.effects import Moment
from peer.net.admission import Note
from peer.net.commands import Admit, Begin, Part, Propose
from peer.net.endpoint import Endpoint
from peer.net.events import Outcome
from peer.net.link import Link
from peer.net.members.roster import Known
from peer.net.transfer.send_buffers import Released
from peer.net.wire import Members, decode, encode
from tests.support.network_in_memory import BRISK, SIZES, identity, make_endpoint
from topology.membership import Change, Membership

NET = "discriminator"


class Wires:
    """Endpoints whose messages go from one to the next, or are lost by a seed."""

    def __init__(self, graph: nx.Graph[int], loss: float = 0.0, seed: int = 0) -> None:
        self.ends = {k: make_endpoint(identity(k), graph[k]) for k in graph}
        for end in self.ends.values():
            end.roster.base = graph
        self.now, self.loss, self.draw = 0.0, loss, np.random.default_rng(seed)
        self.events: dict[int, list[object]] = {k: [] for k in graph}

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 0.05
            for end in self.ends.values():
                end.tick(self.now)
            for _ in range(4):  # what is said is answered
                self.deliver()

    def deliver(self) -> None:
        for k, end in self.ends.items():
            for neighbour, outbox in list(end.outboxes):
                while outbox:
                    header, body = outbox.popleft()
                    if self.draw.random() >= self.loss:
                        whom = self.ends[neighbour]
                        whom.receive(b"%d" % k, None, header, body, self.now)
            while end.events:
                self.events[k].append(end.events.popleft())

    def say(self, kind: str, peer: int, by: int, round: int = 0) -> Change:
        made: list[Change] = []
        self.ends[by].propose(Propose(kind, peer, round, made.append), self.now)  # type: ignore[arg-type]
        return made[0]

    def members(self) -> set[Membership]:
        return {end.roster.members for end in self.ends.values()}

    def begin(self, round: int, epochs: dict[int, int]) -> None:
        """Whoever is named begins the exchange of that round with all its neighbours."""
        for k, epoch in epochs.items():
            value, end = memoryview(bytes(SIZES[NET])), self.ends[k]
            parts = {n: Part(Moment(round, 0), NET, value, True, epoch) for n in end.links}
            end.begin(Begin(parts), self.now)

    def outcomes(self, k: int) -> list[Outcome]:
        return [each for each in self.events[k] if isinstance(each, Outcome)]

    def notes(self, k: int) -> list[str]:
        return [each.line for each in self.events[k] if isinstance(each, Note)]


def line(count: int) -> nx.Graph[int]:
    return nx.path_graph(count)


@given(st.integers(2, 6), st.sampled_from([0.0, 0.3]), st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_everybody_comes_to_know_the_same_whatever_is_lost(
    count: int, loss: float, seed: int
) -> None:
    wires = Wires(line(count), loss, seed)
    wires.pass_time(1.0)
    wires.say("leave", count - 1, by=count - 1, round=7)
    wires.pass_time(0.5)
    wires.say("forget", 0, by=count - 1)  # while the first may still be on its way
    wires.pass_time(30.0)
    (known,) = wires.members()
    assert {change.kind for change in known.changes} == {"leave", "forget"}
    for k in range(count):
        told = [each.news for each in wires.events[k] if isinstance(each, Known)]
        assert sum(map(len, told)) == 2  # each is told once


def test_news_is_there_before_any_value_that_is_sent_after_it() -> None:
    """At the far end of a line, before the round that it names, by values alone."""
    wires = Wires(line(4))
    wires.pass_time(1.0)
    wires.begin(0, dict.fromkeys(range(4), 0))
    change = wires.say("leave", 0, by=0)
    assert change.round == 5  # the round at hand, one begun, and three hops
    for _ in range(4):
        wires.deliver()
    assert all(end.roster.members.changes == (change,) for end in wires.ends.values())


def test_nobody_is_told_anything_where_nothing_ever_changes() -> None:
    wires = Wires(line(3))
    wires.pass_time(1.0)
    sent: list[object] = []
    for end in wires.ends.values():
        for _ in range(100):
            end.tick(wires.now)
        sent += [decode(header).message for _, outbox in end.outboxes for header, _ in outbox]
    assert not [message for message in sent if isinstance(message, Members)]


def test_two_that_know_different_things_do_without_each_other() -> None:
    """Weights of two graphs would not be those of both ends; the round after, all is well."""
    wires = Wires(line(3))
    wires.pass_time(1.0)
    wires.begin(0, {0: 7, 1: 7, 2: 0})
    wires.pass_time(1.0)
    assert [set(each.received) for each in wires.outcomes(1)] == [{0}]
    assert wires.outcomes(1)[0].missing == {2}
    assert wires.outcomes(2)[0].missing == {1}
    assert "one of us has not heard yet who takes part" in " ".join(wires.notes(2))
    wires.begin(1, {0: 7, 1: 7, 2: 7})
    wires.pass_time(1.0)
    assert set(wires.outcomes(1)[1].received) == {0, 2}
    assert set(wires.outcomes(2)[1].received) == {1}


def test_who_waits_for_one_that_is_forgotten_is_let_go_as_soon_as_it_hears() -> None:
    """1 waits for 2, which answers every question and begins nothing."""
    wires = Wires(line(3))
    wires.pass_time(1.0)
    wires.begin(9, {0: 0, 1: 0})
    wires.pass_time(3.0)
    assert not wires.outcomes(1)
    change = wires.say("forget", 2, by=0)
    assert change.round > 9
    for k in (0, 1):  # the round at hand is one of those without it
        wires.ends[k].roster.members = Membership.of([Change(9, 2, "forget", 0)])
    wires.pass_time(0.2)
    (outcome,) = wires.outcomes(1)
    assert set(outcome.received) == {0}
    assert outcome.missing == {2}


TRUE = Membership.of([Change(5, 1, "leave", 1)])


@pytest.mark.parametrize(
    ("words", "mark", "damage"),
    [
        ([[5, 1, "leave", 0, []]], None, False),  # in another's name
        ([[5, 1, "forget", 1, []]], None, False),
        ([[5, 5000, "join", 5000, [0]]], None, False),  # an id far beyond all
        (TRUE.to_words(), "0123456789abcdef", False),  # under another mark
        (TRUE.to_words(), None, True),
        (b"\xc1", None, False),
        ({"a": 1}, None, False),
    ],
)
def test_what_is_forged_or_damaged_is_refused_and_said(
    words: object, mark: str | None, damage: bool
) -> None:
    wires = Wires(line(2))
    wires.pass_time(1.0)
    body = words if isinstance(words, bytes) else msgpack.packb(words)
    crc = zlib.crc32(body)
    if damage:
        body = bytes([body[0] ^ 4]) + body[1:]
    said = Members(mark or TRUE.mark, crc)
    tell(wires.ends[0], 1, said, body, wires.now)
    wires.pass_time(0.1)
    assert wires.ends[0].roster.members == Membership()
    assert "peer 1 tells of who takes part, and" in " ".join(wires.notes(0))


def test_who_has_not_greeted_tells_nothing() -> None:
    """Another connection, another session, or a neighbour that runs another experiment."""
    wires = Wires(line(2))
    wires.pass_time(1.0)
    body = msgpack.packb(TRUE.to_words())
    said = Members(TRUE.mark, zlib.crc32(body))
    end = wires.ends[0]
    end.receive(b"stranger", None, encode(1001, 9, said), memoryview(body), wires.now)
    end.receive(b"1", None, encode(77, 9, said), memoryview(body), wires.now)
    assert end.roster.members == Membership()
    end.links[1].session.refuse(("graph",))
    tell(end, 1, said, body, wires.now)
    assert end.roster.members == Membership()


def tell(end: Endpoint, by: int, said: Members, body: bytes, now: float) -> None:
    """A message that ``by``, whose connection is known, says out of turn."""
    session = end.links[by].session.number
    assert session is not None
    end.receive(b"%d" % by, None, encode(session, 99, said), memoryview(body), now)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_who_was_forgotten_asks_and_comes_back_in_a_round_that_lies_ahead(loss: float) -> None:
    wires = Wires(line(4))
    wires.pass_time(1.0)
    gone = wires.say("forget", 3, by=0, round=4)
    wires.pass_time(1.0)
    wires.loss = loss
    wires.ends[3].roster.wish((), wires.now)
    wires.pass_time(30.0)
    (members,) = wires.members()
    back = members.joining(3)
    assert back is not None
    assert (back.by, back.links) == (2, ())
    assert len(members.changes) == 2  # however often it asked
    assert back.round > gone.round
    at = wires.ends[2].links[3].session.listens_in
    assert at == back.round  # 2 knows in which round it only listens


def test_a_newcomer_has_links_to_those_that_let_it_in() -> None:
    """4 would have one to 3, too, which does not know it."""
    wires = Wires(nx.Graph([(0, 1), (1, 2), (2, 3)]))
    late = make_endpoint(identity(4), [0, 2, 3])
    late.roster.base = nx.path_graph(4)
    for k in (0, 2):
        link = Link(wires.ends[k].links[1].me, 4, SIZES, BRISK, True, 0.0)
        wires.ends[k].admit(Admit(link, "tcp://10.0.0.4:4000", None), 0.0)
        assert list(wires.ends[k].links) == sorted(wires.ends[k].links)
    wires.ends[4], wires.events[4] = late, []
    late.roster.wish((0, 2, 3), 0.0)
    wires.pass_time(8.0)
    assert wires.members() == {Membership()}  # 3 may still come
    wires.pass_time(8.0)
    (members,) = wires.members()
    joining = members.joining(4)
    assert joining is not None
    assert joining.links == (0, 2)
    graph = members.graph(late.roster.base, joining.round)
    assert set(graph[4]) == {0, 2}


def test_an_exchange_with_one_that_is_not_let_in_here_is_done_without_it() -> None:
    wires = Wires(line(2))
    wires.pass_time(1.0)
    value = memoryview(bytes(SIZES[NET]))
    for k, other in ((0, 1), (1, 0)):
        parts = {n: Part(Moment(0, 0), NET, value) for n in (other, *([7] if k == 0 else []))}
        wires.ends[k].begin(Begin(parts), wires.now)
    wires.pass_time(1.0)
    (outcome,) = wires.outcomes(0)
    assert (set(outcome.received), outcome.missing) == ({1}, {7})
    released = [each.neighbour for each in wires.events[0] if isinstance(each, Released)]
    assert sorted(released) == [1, 7]

"""What peers tell of themselves comes to all: by endpoints alone, in virtual time."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Iterator

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.net.status.account import LIMIT, Account
from peer.net.status.flood import EVERY, EXPIRES, FURTHEST, Flood
from peer.net.status.overheard import Overheard
from peer.net.wire import Status, decode
from tests.support.network_in_memory import identity, make_endpoint


class World:
    """Peers whose messages go from one to the next, or are lost by a seed."""

    def __init__(self, graph: nx.Graph[int], loss: float = 0.0, seed: int = 0) -> None:
        self.graph, self.loss, self.now = graph, loss, 0.0
        self.draw = np.random.default_rng(seed)
        self.ends = {k: self.endpoint(k) for k in graph}
        self.floods = {k: self.flood(k) for k in graph}
        self.rounds = dict.fromkeys(graph, 0)
        self.away: set[int] = set()
        self.sent: list[tuple[float, int, int, Status]] = []

    def endpoint(self, k: int, session: int | None = None) -> object:
        end = make_endpoint(identity(k, session), self.graph[k], now=self.now)
        end.roster.base = self.graph
        return end

    def flood(self, k: int) -> Flood:
        flood = Flood(self.ends[k].roster, self.ends[k].links)

        def source(now: float, state: str) -> Iterator[tuple[str, bytes]]:
            yield "account", Account(round=self.rounds[k], state=state).to_bytes()

        flood.source = source
        return flood

    def restart(self, k: int, session: int) -> None:
        self.ends[k] = self.endpoint(k, session)
        self.floods[k] = self.flood(k)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 0.05
            for k in self.graph:
                if k not in self.away:
                    self.ends[k].tick(self.now)
                    self.floods[k].look(self.now)
            for _ in range(4):
                self.deliver()

    def deliver(self) -> None:
        for k, end in self.ends.items():
            for neighbour, outbox in list(end.outboxes):
                while outbox:
                    header, body = outbox.popleft()
                    message = decode(header).message
                    if isinstance(message, Status):
                        self.sent.append((self.now, k, neighbour, message))
                    gone = {k, neighbour} & self.away
                    if not gone and self.draw.random() >= self.loss:
                        self.ends[neighbour].receive(b"%d" % k, None, header, body, self.now)
        for k, end in self.ends.items():
            while end.events:
                match end.events.popleft():
                    case Overheard(neighbour, status, body):
                        self.floods[k].receive(neighbour, status, body, self.now)
                    case event if getattr(getattr(event, "phase", None), "value", "") == "up":
                        self.floods[k].connected(event.neighbour)

    def round_of(self, origin: int, at: int) -> int | None:
        entry = self.floods[at].known.get((origin, "account"))
        return None if entry is None else entry.said.round

    def age(self, origin: int, at: int) -> float:
        return self.now - self.floods[at].known[origin, "account"].made


def line(count: int) -> nx.Graph[int]:
    return nx.path_graph(count)


@given(st.integers(2, 6), st.sampled_from([0.0, 0.3]), st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_everybody_comes_to_know_of_everybody_whatever_is_lost(
    count: int, loss: float, seed: int
) -> None:
    world = World(line(count), loss, seed)
    world.pass_time(30)
    world.rounds = {k: 100 + k for k in world.rounds}
    world.pass_time(60)
    for at in world.graph:
        assert [world.round_of(k, at) for k in world.graph] == [100 + k for k in world.graph]


def test_ages_are_added_up_on_the_way() -> None:
    world = World(line(4))
    world.pass_time(20)
    world.away = {0}
    made = {at: world.floods[at].known[0, "account"].made for at in (1, 2, 3)}
    world.pass_time(40)
    for at in (1, 2, 3):
        assert abs(made[at] - made[1]) < 0.2
        assert world.age(0, at) > 39
        assert world.age(2, 1) < 2 * EVERY


def test_each_origin_is_passed_on_once_an_interval_at_most_and_not_back() -> None:
    world = World(nx.cycle_graph(5))
    world.pass_time(100)
    times: dict[tuple[int, int, int], list[float]] = {}
    for now, sender, receiver, status in world.sent:
        assert status.peer != receiver
        times.setdefault((sender, receiver, status.peer), []).append(now)
    for each in times.values():
        assert min(np.diff(each)) >= EVERY / 2 - 1e-6
        assert len(each) <= 100 / EVERY + 2


def test_a_large_network_tells_less_often() -> None:
    world = World(nx.star_graph(49))
    assert world.floods[0].every == 2 * EVERY
    world.pass_time(60)
    told = [now for now, sender, _, status in world.sent if sender == status.peer == 1]
    assert len(told) <= 7


def test_values_come_first_where_something_waits() -> None:
    world = World(line(2))
    world.pass_time(10)
    flood, link = world.floods[0], world.ends[0].links[1]
    link.outbox.append((b"a chunk that the socket does not take", None))
    for seconds in range(1, 200):
        flood.look(world.now + seconds)
    assert len(link.outbox) == 1


def test_who_was_started_anew_is_believed_at_once() -> None:
    """Its numbers begin where those of the process before ended, as its neighbours tell it."""
    world = World(line(4))
    world.rounds[0] = 500
    world.pass_time(300)
    world.rounds[0] = 3
    world.restart(0, session=77)
    world.pass_time(3 * EVERY)
    assert [world.round_of(0, at) for at in (1, 2, 3)] == [3, 3, 3]


def test_why_a_peer_leaves_is_told_before_it_goes() -> None:
    world = World(line(3))
    world.pass_time(10)
    world.floods[0].leave("finished", world.now)
    for _ in range(100):
        world.deliver()
    world.away = {0}
    world.pass_time(EVERY)
    assert world.floods[2].known[0, "account"].said.state == "finished"


def test_what_others_would_not_read_is_not_told_and_ends_nothing() -> None:
    world = World(line(2))

    def source(now: float, state: str) -> Iterator[tuple[str, bytes]]:
        yield "account", Account(measure="m" * 65).to_bytes()

    world.floods[0].source = source
    world.pass_time(12)
    assert world.round_of(0, 1) is None
    assert world.floods[0].refused == 3
    assert world.round_of(1, 0) == 0  # and hears of others


# --- a neighbour that lies ------------------------------------------------------------------------


def lie(
    world: World, by: int, to: int, peer: int, number: int, body: bytes | None = None, age: int = 0
) -> None:
    body = Account(round=666).to_bytes() if body is None else body
    status = Status(peer, "account", number, age, zlib.crc32(body))
    world.floods[to].receive(by, status, memoryview(body), world.now)


def test_of_a_neighbour_that_is_up_it_alone_is_believed() -> None:
    world = World(nx.complete_graph(3))
    world.pass_time(10)
    lie(world, by=2, to=0, peer=1, number=10**6)
    assert world.round_of(1, 0) == 0


def test_a_lie_of_somebody_further_away_is_over_with_the_next_that_is_told() -> None:
    world = World(line(4))
    world.pass_time(20)
    lie(world, by=1, to=0, peer=3, number=1000)
    assert world.round_of(3, 0) == 666
    world.pass_time(EXPIRES * EVERY + 3 * EVERY)
    assert world.round_of(3, 0) == 0  # its own number is far lower
    lie(world, by=1, to=3, peer=3, number=10**6)  # of the listener itself
    world.pass_time(2 * EVERY)
    assert world.floods[3].known[3, "account"].number > 10**6  # it goes on behind the lie
    lie(world, by=1, to=3, peer=3, number=FURTHEST + 1)
    world.pass_time(2 * EVERY)
    assert world.floods[3].known[3, "account"].number < 10**6 + 100


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x90", Account().to_bytes() + b"\0", b"\0" * (LIMIT + 1)]
)
def test_what_is_none_is_dropped_and_counted(body: bytes) -> None:
    world = World(line(3))
    world.pass_time(10)
    lie(world, by=1, to=0, peer=2, number=1000, body=body)
    assert world.floods[0].refused == 1
    assert world.round_of(2, 0) == 0


def test_a_damaged_body_is_dropped_and_counted() -> None:
    world = World(line(3))
    body = Account().to_bytes()
    wrong = Status(2, "account", 9, 0, zlib.crc32(body) ^ 1)
    world.floods[0].receive(1, wrong, memoryview(body), 0.0)
    assert (world.floods[0].refused, world.round_of(2, 0)) == (1, None)


def test_a_lying_neighbour_cannot_make_memory_grow() -> None:
    world = World(line(3))
    world.pass_time(10)

    def lies(count: int) -> None:
        for k in range(count):
            lie(world, by=1, to=0, peer=k, number=10**6 + k)
            lie(world, by=1, to=0, peer=2, number=10**7 + k)

    lies(2000)
    tracemalloc.start()
    lies(20_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 50_000
    assert len(world.floods[0].known) == 3
    assert world.floods[0].refused >= 20_000 - 3

"""Patience with slow neighbours: the pure object, and endpoints that wait by it in virtual time."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.effects import Moment
from peer.experiment import reaching
from peer.net.away.patience import ENOUGH, LEAST, MOST, REFILL, Pace, Patience
from tests.support.network_in_memory import BRISK, NetworkInMemory, two_way

SLOW = 9


class Alone:
    """One peer with two neighbours, of whom 1 is as quick as itself, and ``SLOW`` is not."""

    def __init__(self) -> None:
        self.patience = Patience([1, SLOW])
        self.now = 0.0
        self.count = 0
        self.beyond = 0.0  # seconds waited for the slow one beyond what was usual
        self.capacities: list[float] = []

    def exchange(self, own: float, slow: float) -> bool:
        """Work for ``own`` seconds, then swap; returns whether the slow one was waited for."""
        before, patience = self.now, self.patience
        self.now += own
        t = Moment(self.count, 0)
        self.count += 1
        patience.begin("net", {1: t, SLOW: t}, self.now)
        self.capacities.append(patience.capacity)
        usual = max(self.now, before + patience.usual)
        patience.come(1, self.now)
        comes_at = max(self.now, before + slow)
        ends_at = max(self.now, patience.ends_at(SLOW))
        waits = comes_at <= ends_at
        self.now = comes_at if waits else ends_at
        if not waits:
            assert patience.is_over({SLOW}, self.now)
        assert patience.is_over({SLOW}, self.now - 1e-6) == (ends_at <= self.now - 1e-6)
        (patience.come if waits else patience.without)(SLOW, self.now)
        patience.end(self.now)
        self.beyond += max(0.0, self.now - usual)
        return waits


durations = st.lists(
    st.tuples(st.floats(0.01, 20.0), st.floats(0.0, 500.0)), min_size=1, max_size=60
)


@given(durations)
def test_what_is_waited_beyond_the_usual_is_one_capacity_and_a_twentieth_of_the_time(
    taken: list[tuple[float, float]],
) -> None:
    alone = Alone()
    alone.exchange(*taken[0])  # the first exchange is that of the start time-out
    free, began = alone.beyond, alone.now
    for own, slow in taken:
        alone.exchange(own, slow)
        passed = alone.now - began
        assert alone.beyond - free <= max(alone.capacities) + REFILL * passed + 1e-6


@given(durations)
def test_a_capacity_has_bounds(taken: list[tuple[float, float]]) -> None:
    alone = Alone()
    for own, slow in taken:
        alone.exchange(own, slow)
    assert all(LEAST <= capacity <= MOST for capacity in alone.capacities)
    assert alone.capacities[:ENOUGH] == [MOST] * min(ENOUGH, len(taken))


def test_a_neighbour_ten_times_slower_is_waited_for_until_the_bucket_is_empty() -> None:
    alone = Alone()
    for _ in range(2 * ENOUGH):
        assert alone.exchange(1.0, 1.0)
    assert alone.patience.capacity == pytest.approx(10.0)
    assert alone.patience.usual == pytest.approx(1.0)
    assert [alone.exchange(1.0, 10.0) for _ in range(4)] == [True, False, False, False]
    assert alone.beyond == pytest.approx(10.0, abs=0.1)  # a second has filled it a little


def test_passing_time_fills_the_bucket_again() -> None:
    alone = Alone()
    for _ in range(2 * ENOUGH):
        alone.exchange(1.0, 1.0)
    waits = [alone.exchange(1.0, 1e6) for _ in range(3)]
    assert waits == [False] * 3
    emptied = alone.beyond
    assert emptied == pytest.approx(10.0, abs=0.2)
    for _ in range(16):
        alone.exchange(1.0, 1e6)
    assert alone.beyond == emptied  # a tenth of it is not there yet
    for _ in range(10):
        alone.exchange(1.0, 1e6)
    assert emptied + 0.9 < alone.beyond < emptied + 1.3


def test_who_is_as_quick_as_the_others_again_is_waited_for_again() -> None:
    alone = Alone()
    for _ in range(2 * ENOUGH):
        alone.exchange(1.0, 1.0)
    alone.exchange(1.0, 1e6)
    assert not alone.exchange(1.0, 1.1)  # as soon as it is the only one
    assert alone.exchange(1.0, 0.9)  # it was there in time
    assert alone.exchange(1.0, 1.05)


def test_what_is_usual_is_the_lower_median_of_what_is_long() -> None:
    pace = Pace()
    for seconds in range(1, 11):
        pace.note("net", None, seconds)
        pace.note("net", 1, 3 * seconds)
        pace.note("net", 2, 2 * seconds)
        pace.note("net", 3, 100.0 if seconds < 4 else 0.0)  # of which too little is known elsewhere
    assert pace.percentile("net", None) == 9
    assert pace.usual("net") == 18  # of 9, 18, 27, 100
    assert pace.usual("another") is None


def test_who_waits_for_somebody_else_or_sends_is_no_slow_one() -> None:
    patience = Patience([1])
    now = 0.0
    for count in range(2 * ENOUGH):
        patience.begin("net", {1: Moment(count, 0)}, now)
        patience.come(1, now)
        patience.end(now)
        now += 1.0
    patience.begin("net", {1: Moment(2 * ENOUGH, 0)}, now)
    assert patience.came_to(1) == Moment(2 * ENOUGH - 1, 0)
    end = patience.ends_at(1)
    patience.excuse(1, now + 100.0)
    assert patience.ends_at(1) == pytest.approx(end + 100.0, abs=1.01)
    patience.come(1, now + 150.0)  # it is beyond all patience, but begins
    for later in (now + 150.0, now + 1000.0):
        patience.come(1, later)
        assert patience.ends_at(1) == later + patience.capacity  # as long as it is in touch


def test_a_letters_only_neighbour_and_who_never_came_are_waited_for() -> None:
    patience = Patience([1, 2])
    patience.begin("net", {1: Moment(0, 0)}, 0.0)
    assert patience.ends_at(1) == math.inf
    patience.come(1, 5.0)
    patience.end(5.0)
    patience.begin("letter", {1: Moment(0, 1)}, 6.0, is_all=True)
    assert patience.ends_at(1) == math.inf
    patience.without(1, 7.0)
    patience.begin("letter", {1: Moment(0, 2)}, 6.0)
    assert patience.ends_at(1) < math.inf


def test_what_is_written_down_is_the_same_patience() -> None:
    one = Alone()
    for own, slow in [(1.0, 1.0)] * 8 + [(1.0, 30.0)] * 5:
        one.exchange(own, slow)
    other = Alone()
    other.patience.load(one.patience.dump())
    other.now, other.count = one.now, one.count
    for own, slow in [(1.0, 1.5), (1.0, 0.5), (1.0, 3.0), (2.0, 1.0)]:
        assert one.exchange(own, slow) == other.exchange(own, slow)
    assert one.now == other.now
    assert one.patience.dump() == other.patience.dump()


def test_the_longest_deadline_is_the_fixed_one() -> None:
    assert reaching.LONGEST == MOST


# --- endpoints ------------------------------------------------------------------------------------


def seconds_of(network: NetworkInMemory, peer: int) -> list[float]:
    host = network.hosts[peer]
    return [host.results[s].at for s in sorted(host.results)]


@pytest.mark.parametrize("graph", ["ring", "complete"])
def test_a_neighbour_ten_times_slower_costs_the_others_one_capacity(graph: str) -> None:
    edges = list((nx.cycle_graph(5) if graph == "ring" else nx.complete_graph(5)).edges)
    speeds = dict.fromkeys(range(5), 0.2) | {2: 2.0}
    network = NetworkInMemory(
        edges, two_way(edges, 600), compute=speeds, is_patient=True, timing=BRISK
    )
    quick = [0, 1, 3, 4]
    network.run(400.0, lambda: all(network.hosts[k].is_done for k in quick))
    calm = NetworkInMemory(edges, two_way(edges, 600), compute=speeds | {2: 0.2}, is_patient=True)
    calm.run(400.0)
    for k in quick:
        took, without = seconds_of(network, k), seconds_of(calm, k)
        assert without[-1] < 200.0
        # all of a bucket while little was known
        assert took[-1] - without[-1] <= MOST + REFILL * took[-1]
        # and later, a twentieth
        later, calmly = took[-1] - took[200], without[-1] - without[200]
        assert later <= 1.05 * calmly + 2.5
        of = {s for s, result in network.hosts[k].results.items() if result.missing - {2}}
        assert len(of) < 10  # the slow one is known for it, its neighbours are not
    assert not any(calm.hosts[k].results[s].missing for k in quick for s in range(600))


def test_a_neighbour_that_stands_still_but_answers_costs_one_capacity() -> None:
    edges = list(nx.cycle_graph(5).edges)
    speeds = dict.fromkeys(range(5), 0.2)
    network = NetworkInMemory(edges, two_way(edges, 900), compute=speeds, is_patient=True)
    network.wait(10.0)
    host = network.hosts[2]
    stood = host.step
    host.begin_at += 60.0  # its I/O thread lives; its compute thread does not
    network.wait(60.0)
    assert host.step == stood
    for k in (0, 1, 3, 4):
        gaps = np.diff(seconds_of(network, k))
        assert max(gaps) < 10 * 0.3 + 1.0
        assert len(gaps) > 150
    network.wait(60.0)
    for k in (1, 3):  # it is back
        values = [2 in r.values for s, r in sorted(network.hosts[k].results.items())]
        assert sum(values[-50:]) > 40


def test_a_neighbour_that_runs_a_tenth_of_the_time_is_a_slow_one() -> None:
    """What it said last before it stood still says nothing of the time since."""
    edges = list(nx.cycle_graph(5).edges)
    speeds = dict.fromkeys(range(5), 0.1)
    network = NetworkInMemory(edges, two_way(edges, 2000), compute=speeds, is_patient=True)
    network.wait(10.0)
    before = network.hosts[0].step
    for beat in range(80):
        network.at(10.0 + 0.5 * beat, lambda: network.freeze(2))
        network.at(10.0 + 0.5 * beat + 0.44, lambda: network.thaw(2))
    network.wait(40.0)
    assert network.hosts[0].step - before > 3 * before

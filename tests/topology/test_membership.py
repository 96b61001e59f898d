"""Who takes part in which round: graphs and weights under any history of changes."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology import Change, Membership, build_schedule, kind_of_weights, neighbour_weights
from topology.membership import KINDS, MOST_CHANGES, rounds_ahead
from topology.weights import sparse_weights

SPECS = (
    "ring", "path", "star", "complete", {"schedule": "random-matching"},
    {"cycle": ["ring", "path"]}, {"schedule": "one-peer-exponential", "every": 2},
)  # fmt: skip
RULES = ("metropolis", "laplacian", {"rule": "lazy-metropolis"})


@st.composite
def histories(draw: st.DrawFn, peers: int) -> Membership:
    """Changes of listed peers and of newcomers, in any order, true or not."""
    ids = st.integers(0, peers + 2)
    found = []
    for _ in range(draw(st.integers(0, 8))):
        peer, kind = draw(ids), draw(st.sampled_from(KINDS))
        by = draw(ids.filter(lambda k, p=peer: k != p)) if kind == "forget" else peer
        links = draw(st.sets(ids.filter(lambda k, p=peer: k != p))) if kind == "join" else ()
        found.append(Change(draw(st.integers(0, 12)), peer, kind, by, tuple(sorted(links))))
    return Membership.of(found)


@given(st.data(), st.sampled_from(SPECS), st.integers(2, 7))
def test_in_every_round_weights_are_symmetric_doubly_stochastic_and_not_negative(
    data: st.DataObject, spec: object, peers: int
) -> None:
    schedule = data.draw(histories(peers)).schedule(build_schedule(spec, peers, 3))  # type: ignore[arg-type]
    for round in range(14):
        graph = schedule.graph(round)
        matrix = sparse_weights(graph, "metropolis")
        dense = matrix.toarray()
        assert kind_of_weights(matrix) == "symmetric"
        assert dense.min() >= 0
        assert np.abs(dense.sum(axis=0) - 1).max() < 1e-12
        for k in graph:  # what a peer computes of itself is its column
            ours = neighbour_weights(graph, "metropolis", k)
            assert all(dense[each, k] == weight for each, weight in ours.items())
            if not schedule.takes_part(k, round):
                assert ours == {}


@given(st.data(), st.sampled_from(SPECS), st.integers(2, 7))
def test_the_mean_stays_through_any_history(data: st.DataObject, spec: object, peers: int) -> None:
    """Who is gone keeps what it had: what the others have together does not move by its going."""
    schedule = data.draw(histories(peers)).schedule(build_schedule(spec, peers, 3))  # type: ignore[arg-type]
    w = np.random.default_rng(0).normal(size=(len(schedule.union()), 5))  # (ids, parameters)
    for round in range(14):
        graph = schedule.graph(round)
        here = [k for k in graph if schedule.takes_part(k, round)]
        before, gone = w[here].sum(axis=0), np.delete(w, here, axis=0)
        size = len(graph)
        w[:size] = sparse_weights(graph, "metropolis").T @ w[:size]
        assert np.abs(w[here].sum(axis=0) - before).max() < 1e-12
        assert np.array_equal(np.delete(w, here, axis=0), gone)


@given(st.data(), st.integers(2, 6))
def test_sets_of_changes_join_in_any_order(data: st.DataObject, peers: int) -> None:
    one, two, three = (data.draw(histories(peers)) for _ in range(3))
    assert one.joined(two) == two.joined(one)
    assert one.joined(two).joined(three) == one.joined(two.joined(three))
    assert one.joined(one) is one
    assert Membership.from_words(one.to_words(), peers + 3) == one


@given(st.data(), st.integers(2, 6))
def test_an_epoch_is_a_number_of_what_is_in_effect(data: st.DataObject, peers: int) -> None:
    """Who has not heard of what lies ahead is in the same epoch; of what has come, in another."""
    members = data.draw(histories(peers))
    for round in range(13):
        known = Membership.of(c for c in members.changes if c.round <= round)
        assert known.epoch(round) == members.epoch(round)
        for missed in known.changes:
            behind = Membership.of(set(members.changes) - {missed})
            assert behind.epoch(round) != members.epoch(round)
    assert Membership().epoch(5) == 0


def test_without_changes_nothing_is_another() -> None:
    base = build_schedule("ring", 5, 0)
    assert Membership().schedule(base) is base
    later = Membership.of([Change(9, 3, "leave", 3)]).schedule(base)
    assert later.graph(8) is base.graph(8)


def test_who_leaves_loses_its_links_and_the_others_weigh_as_if_it_had_never_been() -> None:
    schedule = Membership.of([Change(4, 3, "leave", 3)]).schedule(build_schedule("ring", 5, 0))
    path = nx.path_graph([4, 0, 1, 2])
    for k in path:
        of_path = neighbour_weights(path, "metropolis", k)
        assert neighbour_weights(schedule.graph(4), "metropolis", k) == of_path
    assert (schedule.takes_part(3, 3), schedule.takes_part(3, 4)) == (True, False)


def test_who_joins_has_the_links_that_it_names_or_those_of_the_file() -> None:
    base = build_schedule("ring", 5, 0)
    history = [
        Change(2, 5, "join", 5, (0, 3)),
        Change(4, 3, "forget", 0),
        Change(8, 3, "join", 3),
        Change(9, 2, "join", 2, (0,)),
    ]
    schedule = Membership.of(history).schedule(base)
    assert set(schedule.graph(1)) == set(range(5))
    assert not schedule.takes_part(5, 1)
    assert set(schedule.graph(2).neighbors(5)) == {0, 3}
    assert set(schedule.graph(4).neighbors(5)) == {0}  # 3 is gone
    assert set(schedule.graph(8).neighbors(3)) == {2, 4, 5}  # and back where it was
    assert set(schedule.graph(9).neighbors(2)) == {0}


@given(st.integers(2, 30), st.sampled_from(["ring", "path", "star", "complete"]))
def test_news_has_time_to_come_to_everybody(peers: int, family: str) -> None:
    """By values alone, one hop a round, nobody begins that round without having heard."""
    graph = build_schedule(family, peers, 0).union()
    for first in range(peers):
        heard, round = {first}, 0
        ahead = rounds_ahead(graph, first)
        while len(heard) < peers:
            round += 1  # a value of this round is sent after the news was said
            heard |= {k for each in heard for k in graph.neighbors(each)}
        assert round < ahead


@pytest.mark.parametrize(
    "words",
    [
        None, {}, [1], [[1, 2, "leave", 2]], [[1, 2, "leave", 3, []]], [[1, 2, "forget", 2, []]],
        [[-1, 2, "leave", 2, []]], [[2**32, 2, "leave", 2, []]], [[1, 9, "leave", 9, []]],
        [[1, 2, "leave", 2, [3]]], [[1, 2, "join", 2, [2]]], [[1, 2, "join", 2, [9]]],
        [[1, 2, "join", 2, "3"]], [[1, 2, "stay", 2, []]], [[True, 2, "leave", 2, []]],
        [[1, 2.0, "leave", 2.0, []]], [[1, 2, "leave", 2, []]] * (MOST_CHANGES + 1),
    ],
)  # fmt: skip
def test_what_is_no_history_is_refused(words: object) -> None:
    with pytest.raises(ValueError, match=" "):
        Membership.from_words(words, 9)

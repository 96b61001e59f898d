"""Peers that see only their neighbours agree on one list of classes, or refuse each other."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.data import Description, Images
from peer.data.agreement import MOST_PEERS, Agreed, Agreement, Statement, mark_of
from peer.data.classes import by_number_then_text

LATE = 10.0
ALPHABET = ("cat", "dog", "emu", "2", "10", "Owl", "yak")


def described(names: Sequence[str], shape: tuple[int, int, int] = (1, 8, 8)) -> Description:
    labels = np.arange(len(names)) if names else None
    pixels = np.zeros((max(1, len(names)), *shape), dtype=np.float32)
    return Description.of(Images(pixels, labels, class_names=tuple(names)))


def agreement(
    me: int, names: Sequence[str], workers: Iterable[int] = range(3), **keys: Any
) -> Agreement:
    return Agreement(me, described(names), workers, **{"until": LATE} | keys)


def tell(speaker: Agreement, listener: Agreement) -> str:
    """One HELLO as a session has it: over the wire, judged, learned; what is objected to it."""
    words = msgpack.unpackb(msgpack.packb(speaker.statement.to_words()))
    said = Statement.from_words(words)
    assert mark_of(words) == said.mark == speaker.statement.mark
    problem = listener.objection(speaker.me, said)
    if problem:
        listener.withdraw(said)
    else:
        listener.learn(said)
    return problem


# --- the same list, whoever hears what first ------------------------------------------------------


@st.composite
def networks(draw: st.DrawFn) -> tuple[nx.Graph[int], dict[int, tuple[str, ...]], int | None, int]:
    """A connected graph, classes by peer, the server if there is one, and a seed."""
    count = draw(st.integers(1, 7))
    graph: nx.Graph[int] = nx.empty_graph(count)
    for k in range(1, count):
        graph.add_edge(k, draw(st.integers(0, k - 1)))
    if count > 1:
        more = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
        graph.add_edges_from((a, b) for a, b in draw(st.lists(more, max_size=6)) if a != b)
    some = st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=4, unique=True)
    names = {k: tuple(draw(some)) for k in range(count)}
    server = draw(st.sampled_from([None, 0])) if count > 1 else None
    return graph, names, server, draw(st.integers(0, 2**16))


def gossip(agreements: dict[int, Agreement], edges: list[tuple[int, int]], seed: int) -> set[Any]:
    """Statements are heard late, twice, in any order; in the end, all are; who objected to whom."""
    draw = random.Random(seed)
    under_way: list[tuple[int, int, Statement]] = []
    refused = set()

    def hear(a: int, b: int, said: Statement) -> None:
        listener = agreements[b]
        if listener.objection(a, said):
            refused.add((a, b))
            listener.withdraw(said)
        elif (a, b) not in refused:
            listener.learn(said)

    for _ in range(8 * len(edges)):
        a, b = draw.choice(edges)
        under_way.append((a, b, agreements[a].statement))
        if draw.random() < 0.7:
            hear(*draw.choice(under_way))
    for _ in range(2 * len(agreements)):
        for a, b in edges:
            hear(a, b, agreements[a].statement)
    return refused


def both_ways(graph: nx.Graph[int], peers: Iterable[int]) -> list[tuple[int, int]]:
    return [e for a, b in graph.subgraph(peers).edges for e in ((a, b), (b, a))]


@given(networks())
def test_all_come_to_the_same_list_in_any_order(network: Any) -> None:
    graph, names, server, seed = network
    workers = [k for k in graph if k != server]
    peers = {k: agreement(k, names[k], workers) for k in graph}
    waiting = [each for each in peers.values() if each.classes is None]
    if waiting:
        assert gossip(peers, both_ways(graph, graph), seed) == set()
    union = {name for k in workers for name in names[k]}
    expected = tuple(sorted(union, key=by_number_then_text))
    assert {each.classes for each in peers.values()} == {expected}
    for each in peers.values():
        assert each.look(0.0) == (Agreed(expected) if each in waiting else None)
        assert each.look(LATE) is None


@given(networks(), st.data())
def test_with_late_comers_neighbours_have_one_list_or_refuse_each_other(
    network: Any, data: st.DataObject
) -> None:
    graph, names, server, seed = network
    workers = [k for k in graph if k != server]
    peers = {k: agreement(k, names[k], workers) for k in graph}
    early = data.draw(st.sets(st.sampled_from(sorted(graph))))
    if first := both_ways(graph, early):
        gossip(peers, first, seed)
    for k in early:  # perhaps in several parts that do not hear of each other
        peers[k].look(LATE)
    before = {k: peers[k].classes for k in early}
    edges = both_ways(graph, graph)
    refused = gossip(peers, edges, seed + 1) if edges else set()
    assert {k: peers[k].classes for k in early} == before
    for k, each in peers.items():
        if each.classes is not None and k in workers:
            assert set(names[k]) <= set(each.classes)
    for a, b in edges:
        if (a, b) in refused or (b, a) in refused:
            assert peers[a].classes != peers[b].classes
        else:
            assert peers[a].classes == peers[b].classes


# --- one after the other --------------------------------------------------------------------------


def test_names_travel_through_peers_that_are_no_neighbours() -> None:
    one, two, three = (agreement(k, [name]) for k, name in enumerate(("owl", "cat", "10")))
    assert tell(one, two) == tell(two, three) == ""
    assert three.classes == ("10", "cat", "owl")
    assert two.classes is one.classes is None
    assert tell(three, two) == tell(two, one) == ""
    assert one.classes == two.classes == three.classes


def test_time_enough_and_the_list_is_fixed_with_those_that_are_there() -> None:
    one, two = agreement(0, ["cat"]), agreement(1, ["dog"])
    tell(one, two)
    two.skip_time(2.0)  # it stood still
    assert two.look(LATE + 1.9) is None
    assert two.look(LATE + 2.0) == Agreed(("cat", "dog"), (2,))
    assert two.look(LATE + 9.0) is None
    tell(two, one)
    assert one.look(0.0) == Agreed(("cat", "dog"))  # long before its own time is over


def test_a_late_comer_takes_the_list_over_or_is_refused_at_both_ends() -> None:
    old = agreement(0, ["cat", "dog"], range(4))
    assert old.look(LATE) == Agreed(("cat", "dog"), (1, 2, 3))
    new = agreement(1, ["dog"], range(4))
    assert tell(new, old) == tell(old, new) == ""
    assert new.classes == ("cat", "dog")
    other = agreement(2, ["owl", "dog"], range(4))
    third = agreement(3, ["yak"], range(4))
    tell(third, other)  # what it has heard of others is not held against it
    assert tell(other, old) == ""
    advice = "list all classes in one order at every peer, data.classes: [cat, dog, owl]"
    assert tell(old, other) == (
        "data.path: peer 2 has 2 classes ('dog', 'owl'), and peer 0 has 2 classes ('cat', 'dog'); "
        + advice
    )
    assert tell(new, other) == (
        "data.path: peer 2 has 2 classes ('dog', 'owl'), and peer 1 has agreed on 2 classes "
        "('cat', 'dog'); " + advice
    )
    assert tell(other, old) == (  # it tells its own alone by now
        "data.path: peer 0 has 2 classes ('cat', 'dog'), and peer 2 has 2 classes ('dog', 'owl'); "
        + advice
    )


def test_two_parts_of_a_network_that_agreed_apart_refuse_each_other() -> None:
    one, two = agreement(0, ["cat"]), agreement(1, ["dog"])
    one.look(LATE)
    two.look(LATE)
    for a, b in ((one, two), (two, one)):
        assert "data.classes: [cat, dog]" in tell(a, b)
    assert (one.classes, two.classes) == (("cat",), ("dog",))


def test_who_was_started_anew_keeps_its_list() -> None:
    again = agreement(0, ["cat"], classes=("cat", "dog"))
    assert again.look(LATE) is None
    fresh = agreement(1, ["dog"])
    assert tell(again, fresh) == tell(fresh, again) == ""
    assert fresh.classes == again.classes == ("cat", "dog")
    other = agreement(2, ["cat"], classes=("cat", "emu"))
    assert "data.classes: [cat, dog, emu]" in tell(other, again)


def test_a_server_has_no_classes_of_its_own_and_takes_part() -> None:
    server = agreement(0, ["bat"], [1, 2])
    one, two = agreement(1, ["cat"], [1, 2]), agreement(2, ["dog"], [1, 2])
    assert tell(server, one) == tell(one, server) == tell(two, server) == tell(server, one) == ""
    assert server.classes == one.classes == ("cat", "dog")


# --- whom to do without ---------------------------------------------------------------------------


@pytest.mark.parametrize("has_agreed", [False, True])
def test_classes_here_and_none_there(has_agreed: bool) -> None:
    one, two = agreement(0, ["cat"]), agreement(1, [], classes=())
    if has_agreed:
        one.look(LATE)
    line = (
        "data.path: peer 0 has images in classes, and peer 1 without; sort all of them into "
        "classes, or none"
    )
    assert tell(one, two) == tell(two, one) == line
    assert tell(two, agreement(2, [], classes=())) == ""


def test_other_shapes() -> None:
    one, two = agreement(0, ["cat"]), Agreement(1, described(["dog"], (3, 8, 8)), range(2))
    assert tell(one, two).startswith("data.path: peer 1 has images of 8x8 with 3 channels, and pe")
    assert tell(two, one).startswith("data.path: peer 0 has images of 8x8 with 1 channel, and pee")
    assert (one.classes, two.classes) == (None, None)


MANY = tuple(f"class number {k:03d}" for k in range(100))


def test_too_many_names_to_tell_must_be_the_same_or_listed() -> None:
    one, two = agreement(0, MANY, range(2)), agreement(1, MANY, range(2))
    assert tell(one, two) == tell(two, one) == ""
    assert one.classes == two.classes == MANY
    one, two = agreement(0, MANY, range(2)), agreement(1, MANY[1:], range(2))
    for a, b in ((one, two), (two, one)):
        line = tell(a, b)
        assert "their names fill more than 1024 bytes, too many to tell: list all" in line
        assert "data.classes: [" in line
    assert one.classes is None
    one.look(LATE)  # and who has agreed on as many cannot tell a late comer
    assert "too many to tell" in tell(two, one)
    assert "too many to tell" in tell(one, agreement(1, MANY[1:3], range(2)))
    assert "too many to tell" in tell(agreement(1, MANY[1:3], range(2)), one)


def test_a_union_that_grows_too_large_is_refused_at_both_ends() -> None:
    one, two = agreement(0, MANY[:50]), agreement(1, MANY[50:])
    for a, b in ((one, two), (two, one)):
        assert MANY[0] in tell(a, b)
        assert MANY[-1] in tell(a, b)


# --- what a stranger may say ----------------------------------------------------------------------

GOOD = agreement(0, ["cat"]).statement.to_words()


@pytest.mark.parametrize(
    "words",
    [
        None,
        [],
        {},
        {key: value for key, value in GOOD.items() if key != "of"},
        GOOD | {"of": 1},
        GOOD | {"of": ""},
        GOOD | {"of": "-1"},
        GOOD | {"of": "f" * (MOST_PEERS // 4 + 1)},
        GOOD | {"agreed": 2},
        GOOD | {"agreed": []},
        GOOD | {"shape": [1, 2]},
        described(["a\x07"]).to_words() | {"of": "1", "agreed": 0},
        described(["a", "a"]).to_words() | {"of": "1", "agreed": 0},
    ],
)
def test_words_of_a_stranger_are_refused(words: Any) -> None:
    with pytest.raises(ValueError, match=r"statement|shape|names"):
        Statement.from_words(words)


def test_the_largest_statement_leaves_room_in_a_header() -> None:
    own = described(MANY[:53])
    assert own.is_small
    said = Statement(own, frozenset(range(MOST_PEERS)), True)
    assert len(msgpack.packb(said.to_words())) <= 1536
    assert Statement.from_words(said.to_words()) == said

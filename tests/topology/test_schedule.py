"""Graphs that change: what each round has, and that every process finds the same."""

import math
import os
import subprocess
import sys
import zlib
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology import (
    RULES,
    UserError,
    build_graph,
    build_schedule,
    check_weights,
    kind_of_weights,
    neighbour_weights,
    schedule_eigenvalue,
    second_eigenvalue,
    sparse_weights,
)

SYMMETRIC = sorted(RULES.keys() - {"uniform"})
ROUNDS = 12


def rounds_of(spec, peers, seed=0, rounds=ROUNDS):
    schedule = build_schedule(spec, peers, seed)
    return [list(schedule.graph(round).edges) for round in range(rounds)]


def eigenvalue(schedule, rule="metropolis"):
    return schedule_eigenvalue(sparse_weights(graph, rule) for graph in schedule.one_period())


@st.composite
def specs(draw, peers):
    """What may stand under graph: for so many peers, changing or not."""
    pairs = st.tuples(st.integers(0, peers - 1), st.integers(0, peers - 1))
    links = st.lists(pairs.filter(lambda pair: pair[0] != pair[1]), max_size=20)
    parts = st.fixed_dictionaries({"edges": links})
    families = st.sampled_from(["ring", "star", "erdos-renyi", "barabasi-albert", "wheel"])
    every = {"every": draw(st.integers(1, 3))}
    kind = draw(st.sampled_from(["static", "cycle", "matching", "one-peer"]))
    if kind == "static":
        return draw(families)
    if kind == "cycle":
        some = draw(st.lists(st.one_of(parts if peers > 1 else families, families), max_size=4))
        return {"cycle": [*some, draw(families)], **every}
    if kind == "matching":
        return {"schedule": "random-matching", "of": draw(families), **every}
    return {"schedule": "one-peer-exponential", **every}


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**40), st.data())
def test_every_round_is_a_graph_of_all_peers_within_the_union(peers, seed, data):
    spec = data.draw(specs(peers))
    schedule, again = (build_schedule(spec, peers, seed) for _ in range(2))
    union = schedule.union()
    assert nx.is_connected(union)
    assert list(union) == list(range(peers))
    seen = set()
    for round in reversed(range(ROUNDS)):
        graph = schedule.graph(round)
        assert list(graph) == list(range(peers))
        assert list(graph.edges) == sorted(graph.edges)
        assert graph.edges <= union.edges
        assert nx.number_of_selfloops(graph) == 0
        seen |= set(graph.edges)
        if schedule.period:
            assert nx.utils.graphs_equal(graph, schedule.graph(round + schedule.period))
    for round in range(ROUNDS):  # in another order, from another schedule
        assert list(again.graph(round).edges) == list(schedule.graph(round).edges)
    if schedule.period and schedule.period <= ROUNDS:
        assert seen == set(union.edges)
    assert again.facts() == schedule.facts()


@settings(deadline=None)
@given(st.integers(1, 14), st.integers(0, 2**40), st.integers(0, 100), st.data())
def test_a_rounds_weights_keep_the_mean(peers, seed, round, data):
    schedule = build_schedule(data.draw(specs(peers)), peers, seed)
    graph = schedule.graph(round)
    for rule in SYMMETRIC:
        check_weights(schedule, rule)
        weights = sparse_weights(graph, rule).toarray()
        assert (weights >= 0).all()
        np.testing.assert_array_equal(weights, weights.T)
        np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=0, atol=1e-14)
        assert kind_of_weights(weights) == "symmetric"
        for k in graph:
            found = neighbour_weights(graph, rule, k)
            assert found == {other: weights[other, k] for other in sorted(graph[k])}


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(0, 2**70), st.integers(0, 2**40))
def test_random_matchings_are_matchings_that_nothing_can_be_added_to(peers, seed, round):
    spec = {"schedule": "random-matching", "of": "erdos-renyi"}
    schedule = build_schedule(spec, peers, seed)
    base = build_graph("erdos-renyi", peers, seed)
    assert list(schedule.union().edges) == list(base.edges)
    assert nx.is_maximal_matching(base, set(schedule.graph(round).edges))


def in_order(base, seed, round):
    """A link at a time, as the definition has it."""
    links = sorted(base.edges)
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"schedule"), round))
    words = sequence.generate_state(len(links), np.uint64).tolist()
    matched, taken = [], set()
    for _, link in sorted(zip(words, links, strict=True)):
        if not taken & set(link):
            matched.append(link)
            taken |= set(link)
    return sorted(matched)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**40), st.integers(0, 1000))
def test_random_matchings_take_links_in_random_order(peers, seed, round):
    for spec in ("complete", "barabasi-albert", "path"):
        base = build_graph(spec, peers, seed)
        schedule = build_schedule({"schedule": "random-matching", "of": spec}, peers, seed)
        expected = in_order(base, seed, 0 if schedule.static else round)
        assert list(schedule.graph(round).edges) == expected


def test_random_matchings_are_the_same_on_every_machine():
    """All peers draw the same matchings from the same file, so these may never change."""
    assert rounds_of({"schedule": "random-matching"}, 6, rounds=3) == [
        [(0, 4), (1, 2), (3, 5)],
        [(0, 1), (2, 4), (3, 5)],
        [(0, 2), (1, 3), (4, 5)],
    ]


PRINT = """
from topology import build_schedule, sparse_weights
for spec in ({"schedule": "random-matching", "of": "barabasi-albert"}, "watts-strogatz",
             {"cycle": ["erdos-renyi", {"family": "random-regular", "seed": 5}]}):
    schedule = build_schedule(spec, 20, 7)
    for round in (0, 1, 1000):
        graph = schedule.graph(round)
        print(list(graph.edges), sparse_weights(graph, "laplacian").data.tobytes().hex())
    print(schedule.facts())
"""


def test_the_same_bits_in_any_process():
    printed = {
        subprocess.run(
            [sys.executable, "-c", PRINT],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert len(printed.pop().splitlines()) == 12


def test_every_link_of_the_base_is_drawn_sooner_or_later():
    schedule = build_schedule({"schedule": "random-matching", "of": "ring"}, 6, 0)
    drawn = [tuple(schedule.graph(round).edges) for round in range(300)]
    assert {link for links in drawn for link in links} == set(schedule.union().edges)
    assert len(set(drawn)) == 5  # two of three links, three of two


def test_the_seed_of_a_matching_is_the_experiments_or_its_own():
    spec = {"schedule": "random-matching"}
    assert rounds_of(spec, 8, seed=1) != rounds_of(spec, 8, seed=2)
    assert rounds_of({**spec, "seed": 2}, 8, seed=1) == rounds_of(spec, 8, seed=2)
    facts = [build_schedule(spec | {"seed": seed}, 8, 0).facts() for seed in (1, 2)]
    assert facts[0] != facts[1]


def test_what_a_schedule_forgot_it_draws_again():
    schedule = build_schedule({"schedule": "random-matching"}, 8, 0)
    first = schedule.graph(0)
    assert schedule.graph(0) is first
    for round in range(1, 50):
        schedule.graph(round)
    assert schedule.graph(0) is not first
    assert nx.utils.graphs_equal(schedule.graph(0), first)


def test_one_peer_exponential_of_a_power_of_two():
    pairs = [[(0, 1), (2, 3), (4, 5), (6, 7)], [(0, 2), (1, 3), (4, 6), (5, 7)]]
    pairs.append([(0, 4), (1, 5), (2, 6), (3, 7)])
    assert rounds_of({"schedule": "one-peer-exponential"}, 8, rounds=7) == [
        *pairs,
        *pairs,
        pairs[0],
    ]
    union = build_schedule({"schedule": "One_Peer_Exponential"}, 8, 0).union()
    assert list(union.edges) == list(build_graph("hypercube", 8, 0).edges)


def test_one_peer_exponential_of_any_number():
    assert rounds_of({"schedule": "one-peer-exponential"}, 5, rounds=3) == [
        [(0, 1), (2, 3)],
        [(0, 2), (1, 3)],
        [(0, 4)],
    ]


@pytest.mark.parametrize("rule", SYMMETRIC)
@pytest.mark.parametrize("peers", [2, 4, 8, 64])
def test_one_period_of_a_power_of_two_is_the_exact_mean(peers, rule):
    """Ying et al. (2021): log2(peers) rounds of one partner each, whichever they begin with."""
    schedule = build_schedule({"schedule": "one-peer-exponential"}, peers, 0)
    assert schedule.period == math.log2(peers)
    for begin in range(schedule.period):
        values = np.random.default_rng(0).integers(0, 64, peers).astype(float)
        expected = values.mean()
        for round in range(begin, begin + schedule.period):
            values = sparse_weights(schedule.graph(round), rule).T @ values
        np.testing.assert_array_equal(values, expected)
    assert eigenvalue(schedule, rule) == 0.0


@pytest.mark.parametrize(("peers", "expected"), [(3, 1 / 4), (5, 3 / 8), (6, 1 / 4), (9, 7 / 16)])
def test_one_pass_of_one_peer_exponential_in_closed_form(peers, expected):
    """Peers 0 to 2^m - 1 reach their mean; one of them then halves with each of the rest."""
    schedule = build_schedule({"schedule": "one-peer-exponential"}, peers, 0)
    assert eigenvalue(schedule) == pytest.approx(expected, abs=1e-12)


def test_one_pass_of_one_peer_exponential_more_than_halves_the_distance():
    for peers in range(2, 70):
        schedule = build_schedule({"schedule": "one-peer-exponential"}, peers, 0)
        assert eigenvalue(schedule) < 0.5
        assert schedule.period == math.ceil(math.log2(peers))


def test_cycles_take_turns():
    cycle = ["ring", {"edges": [[0, 2]]}, {"edges": []}]
    ring = [(0, 1), (0, 3), (1, 2), (2, 3)]
    turns = [ring, [(0, 2)], []]
    assert rounds_of({"cycle": cycle}, 4, rounds=5) == [*turns, *turns[:2]]
    assert rounds_of({"cycle": cycle, "every": 2}, 4, rounds=7) == [
        *(turn for turn in turns for _ in range(2)),
        ring,
    ]
    schedule = build_schedule({"cycle": cycle, "every": 2}, 4, 0)
    assert schedule.period == 6
    assert not schedule.static
    assert list(schedule.union().edges) == [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)]


def test_a_round_nobody_speaks_in_keeps_everything():
    schedule = build_schedule({"cycle": ["ring", {"edges": []}]}, 4, 0)
    for rule in RULES:
        np.testing.assert_array_equal(sparse_weights(schedule.graph(1), rule).toarray(), np.eye(4))
        assert neighbour_weights(schedule.graph(1), rule, 2) == {}


def test_metropolis_goes_by_the_degrees_of_the_round():
    schedule = build_schedule({"cycle": ["star", {"edges": [[0, 1]]}]}, 5, 0)
    assert neighbour_weights(schedule.graph(0), "metropolis", 0) == dict.fromkeys(range(1, 5), 0.2)
    assert neighbour_weights(schedule.graph(1), "metropolis", 0) == {1: 0.5}


def test_cycles_of_parts_agree_in_the_long_run():
    """Two matchings of a path of four: the eigenvalues of their product are 1, 1/2 and 0 twice."""
    halves = {"cycle": [{"edges": [[0, 1], [2, 3]]}, {"edges": [[1, 2]]}]}
    schedule = build_schedule(halves, 4, 0)
    alone = [second_eigenvalue(sparse_weights(graph)) for graph in schedule.one_period()]
    assert alone == pytest.approx([1, 1], abs=1e-12)
    assert eigenvalue(schedule) == pytest.approx(0.5, abs=1e-12)


def test_the_eigenvalue_of_one_graph_is_its_own():
    ring = build_schedule("ring", 5, 0)
    assert eigenvalue(ring) == second_eigenvalue(sparse_weights(build_graph("ring", 5, 0)))
    thrice = build_schedule({"cycle": ["ring"] * 3}, 5, 0)
    assert eigenvalue(thrice) == pytest.approx(eigenvalue(ring) ** 3)
    with pytest.raises(ValueError, match="at least one matrix"):
        schedule_eigenvalue([])


@pytest.mark.parametrize(
    "spec", ["ring", {"edges": [[0, 1], [1, 2]]}, {"cycle": ["ring"], "every": 4}]
)
def test_one_graph_is_static(spec):
    schedule = build_schedule(spec, 3, 0)
    assert schedule.static
    assert schedule.period == 1
    assert schedule.graph(10**9) is schedule.graph(0)
    assert list(schedule.graph(0).edges) == list(schedule.union().edges)
    assert schedule.facts() == [list(edge) for edge in schedule.union().edges]


def test_two_schedules_of_the_same_links_are_told_apart():
    a, b = {"edges": [[0, 1]]}, {"edges": [[1, 2]]}
    specs = [{"cycle": [a, b]}, {"cycle": [b, a]}, {"cycle": [a, b], "every": 2}]
    specs += ["path", {"schedule": "random-matching", "of": "path"}]
    assert len({str(build_schedule(spec, 3, 0).facts()) for spec in specs}) == 5


@pytest.mark.parametrize(
    "spec",
    [
        "ring",
        {"schedule": "one-peer-exponential"},
        {"schedule": "random-matching"},
        {"cycle": ["ring", "star"]},
    ],
)
def test_one_peer_is_always_alone(spec):
    schedule = build_schedule(spec, 1, 0)
    for round in (0, 1, 2):
        assert list(schedule.graph(round)) == [0]
        assert list(schedule.graph(round).edges) == []
    if schedule.period:
        assert eigenvalue(schedule) == 0.0


def test_files_in_a_cycle_start_from_the_folder(tmp_path):
    (tmp_path / "path.txt").write_text("0 1\n1 2\n", encoding="utf-8")
    schedule = build_schedule({"cycle": [{"file": "path.txt"}, "ring"]}, 3, 0, tmp_path)
    assert list(schedule.graph(0).edges) == [(0, 1), (1, 2)]


def test_rounds_are_numbered_from_0():
    with pytest.raises(ValueError, match=r"^rounds are numbered from 0, not -1$"):
        build_schedule("ring", 3, 0).graph(-1)


def test_what_is_drawn_for_ever_has_no_period():
    schedule = build_schedule({"schedule": "random-matching"}, 4, 0)
    assert schedule.period is None
    with pytest.raises(ValueError, match="no period"):
        schedule.one_period()


ALL_KINDS = "family, edges, file, schedule, cycle"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"cylce": []},
            rf"^graph: needs exactly one of {ALL_KINDS}, found cylce; did you .*'cycle'",
        ),
        (
            {"cycle": [], "schedule": "x"},
            r"^graph: needs exactly one of .*, found schedule and cyc",
        ),
        ({"cycle": []}, r"^graph\.cycle: must be a list of graphs, such as \[ring, .*, not \[\]$"),
        ({"cycle": "ring"}, r"^graph\.cycle: must be a list of graphs, .*, not 'ring'$"),
        ({"cycle": ["ring"], "evry": 2}, r"^graph\.evry: .* beside cycle; did you mean 'every'\?$"),
        (
            {"cycle": ["ring"], "every": 0},
            r"^graph\.every: must be a whole number, at least 1, not",
        ),
        (
            {"cycle": ["rign"]},
            r"^graph\.cycle\[0\]: there is no family 'rign'; did you mean 'ring'",
        ),
        (
            {"cycle": ["ring", {"family": "star", "centre": 9}]},
            r"^graph\.cycle\[1\]\.centre: must be",
        ),
        ({"cycle": ["ring", {"cycle": ["ring"]}]}, r"^graph\.cycle\[1\]: needs exactly one of fam"),
        (
            {"cycle": [{"edges": [[0, 1]]}, {"edges": [[1, 2]]}]},
            r"^graph\.cycle: all links together fall into 2 parts, the smallest being peer 3;",
        ),
        (
            {"schedule": "one-peer"},
            r"^graph\.schedule: there is no schedule 'one-peer'.*or use cyc",
        ),
        ({"schedule": "random_macthing"}, r"'random_macthing'; did you mean 'random-matching'\?"),
        ({"schedule": 3}, r"^graph\.schedule: must be a name, not 3$"),
        (
            {"schedule": "one-peer-exponential", "of": "ring"},
            r"^graph\.of: there is no such setting",
        ),
        ({"schedule": "random-matching", "off": "ring"}, r"^graph\.off: .*did you mean 'of'\?$"),
        (
            {"schedule": "random-matching", "of": "rig"},
            r"^graph\.of: there is no family 'rig'; did",
        ),
        ({"schedule": "random-matching", "of": {"edges": []}}, r"^graph\.of: falls into 4 parts,"),
        ({"schedule": "random-matching", "seed": -1}, r"^graph\.seed: must be a whole number, at"),
        ({"edges": [[0, 1]]}, r"^graph: falls into 3 parts,"),
        (None, r"^graph: must be a family's name or a mapping"),
    ],
)
def test_refused_in_one_line_that_names_the_key(spec, message):
    with pytest.raises(UserError, match=message) as caught:
        build_schedule(spec, 4, 0)
    assert len(str(caught.value).splitlines()) == 1


def test_weights_must_fit_every_round():
    changing = build_schedule({"cycle": [{"edges": [[0, 1]]}, "star"]}, 4, 0)
    check_weights(changing, {"rule": "laplacian", "epsilon": 1 / 3})
    with pytest.raises(UserError, match=r"^weights\.epsilon: must be more than 0 and at most"):
        check_weights(changing, {"rule": "laplacian", "epsilon": 0.4})
    with pytest.raises(UserError, match=r"^weights\.matrix: is of one graph, and graph changes"):
        check_weights(changing, {"matrix": np.eye(4).tolist()})
    check_weights(build_schedule("star", 4, 0), {"matrix": np.eye(4).tolist()})
    matching = build_schedule({"schedule": "random-matching"}, 4, 0)
    check_weights(matching, {"rule": "laplacian", "epsilon": 1})
    with pytest.raises(UserError, match=r"^weights: there is no rule 'best'"):
        check_weights(matching, "best")

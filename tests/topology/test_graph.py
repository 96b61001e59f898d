"""Families of graphs: their links, their seeds, and specifications that cannot be."""

import math
import re

import networkx as nx
import pytest

from topology import FAMILIES, UserError, build_graph

RANDOM = ["barabasi-albert", "erdos-renyi", "random-regular", "watts-strogatz"]


def edges(spec, peers, seed=0):
    return [tuple(edge) for edge in build_graph(spec, peers, seed).edges]


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"hypercube"}))
@pytest.mark.parametrize("peers", [1, 2, 3, 4, 5, 7, 12, 30])
def test_every_family_serves_any_number_of_peers_by_default(family, peers):
    graph = build_graph(family, peers, seed=3)
    assert list(graph) == list(range(peers))
    assert all(type(node) is int for node in graph)
    assert nx.is_connected(graph)
    assert nx.number_of_selfloops(graph) == 0
    assert list(graph.edges) == sorted(graph.edges)
    assert all(type(peer) is int for k in graph for peer in graph[k])


@pytest.mark.parametrize("peers", [1, 2, 4, 8, 64])
def test_a_hypercube_links_numbers_that_differ_in_one_bit(peers):
    graph = build_graph("hypercube", peers, 0)
    assert list(graph) == list(range(peers))
    pairs = [(a, b) for a in range(peers) for b in range(a + 1, peers) if (a ^ b).bit_count() == 1]
    assert list(graph.edges) == pairs


@pytest.mark.parametrize(
    ("spec", "peers", "expected"),
    [
        ("ring", 5, [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]),
        ("ring", 2, [(0, 1)]),
        ("path", 4, [(0, 1), (1, 2), (2, 3)]),
        ("star", 4, [(0, 1), (0, 2), (0, 3)]),
        ({"family": "star", "centre": 2}, 4, [(0, 2), (1, 2), (2, 3)]),
        ("complete", 3, [(0, 1), (0, 2), (1, 2)]),
        ("grid", 6, [(0, 1), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (4, 5)]),
        (
            {"family": "grid", "rows": 3},
            6,
            [(0, 1), (0, 2), (1, 3), (2, 3), (2, 4), (3, 5), (4, 5)],
        ),
        ({"family": "grid", "columns": 6}, 6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]),
        ({"family": "grid", "rows": 2, "columns": 2}, 4, [(0, 1), (0, 2), (1, 3), (2, 3)]),
        ({"family": "erdos-renyi", "p": 1}, 3, [(0, 1), (0, 2), (1, 2)]),
        ({"family": "watts-strogatz", "k": 2, "p": 0}, 4, [(0, 1), (0, 3), (1, 2), (2, 3)]),
        ({"family": "watts-strogatz", "k": 2}, 2, [(0, 1)]),
        ("torus", 3, [(0, 1), (0, 2), (1, 2)]),
        ("torus", 4, [(0, 1), (0, 2), (1, 3), (2, 3)]),
        (
            "torus",
            6,
            [(0, 1), (0, 2), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (3, 5), (4, 5)],
        ),
        ({"family": "torus", "rows": 1}, 4, [(0, 1), (0, 3), (1, 2), (2, 3)]),
        ({"family": "torus", "columns": 1}, 4, [(0, 1), (0, 3), (1, 2), (2, 3)]),
        ("hypercube", 4, [(0, 1), (0, 2), (1, 3), (2, 3)]),
        ("exponential", 2, [(0, 1)]),
        ("exponential", 5, [(a, b) for a in range(5) for b in range(a + 1, 5)]),
        (
            "exponential",
            6,
            [(a, b) for a in range(6) for b in range(a + 1, 6) if b - a != 3],
        ),
        ("wheel", 2, [(0, 1)]),
        ("wheel", 3, [(0, 1), (0, 2), (1, 2)]),
        (
            "wheel",
            5,
            [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 4), (2, 3), (3, 4)],
        ),
        (
            {"family": "wheel", "centre": 2},
            5,
            [(0, 1), (0, 2), (0, 4), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)],
        ),
        ({"family": "barabasi-albert", "m": 3}, 4, [(0, 1), (0, 2), (0, 3)]),
        ({"edges": [[2, 0], (1, 2), [0, 2]]}, 3, [(0, 2), (1, 2)]),
        ({"edges": []}, 1, []),
    ],
)
def test_edges_of_small_graphs(spec, peers, expected):
    assert edges(spec, peers) == expected


def test_random_graphs_are_the_same_on_every_machine():
    """All peers draw the same graph from the same file, so these may never change."""
    assert edges("erdos-renyi", 6, seed=1) == GOLDEN_ERDOS_RENYI
    assert edges({"family": "watts-strogatz", "p": 0.5}, 8, seed=1) == GOLDEN_WATTS_STROGATZ
    assert edges("random-regular", 8, seed=1) == GOLDEN_RANDOM_REGULAR
    assert edges("barabasi-albert", 8, seed=1) == GOLDEN_BARABASI_ALBERT


GOLDEN_ERDOS_RENYI = [(0, 1), (0, 2), (0, 4), (1, 4), (1, 5), (2, 3), (3, 5), (4, 5)]
GOLDEN_WATTS_STROGATZ = [
    (0, 1),
    (0, 2),
    (0, 4),
    (0, 6),
    (0, 7),
    (1, 2),
    (1, 7),
    (2, 3),
    (2, 4),
    (3, 4),
    (3, 5),
    (3, 7),
    (4, 6),
    (5, 6),
    (5, 7),
    (6, 7),
]
GOLDEN_BARABASI_ALBERT = [(0, peer) for peer in range(1, 8)] + [
    (2, 3),
    (2, 6),
    (3, 4),
    (4, 5),
    (4, 7),
]
GOLDEN_RANDOM_REGULAR = [
    (0, 2),
    (0, 4),
    (0, 7),
    (1, 2),
    (1, 4),
    (1, 5),
    (2, 3),
    (3, 6),
    (3, 7),
    (4, 5),
    (5, 6),
    (6, 7),
]


@pytest.mark.parametrize("family", RANDOM)
def test_the_seed_and_nothing_else_decides(family):
    drawn = [edges(family, 40, seed) for seed in range(5)]
    assert [edges(family, 40, seed) for seed in range(5)] == drawn
    assert len({tuple(each) for each in drawn}) == 5
    assert edges({"family": family, "seed": 3}, 40, seed=0) == drawn[3]


@pytest.mark.parametrize("name", ["Erdos_Renyi", "erdos renyi", "ERDOS-RENYI"])
def test_case_and_underscores_are_forgiven(name):
    assert edges(name, 12) == edges({"family": name}, 12) == edges("erdos-renyi", 12)


def test_erdos_renyi_has_about_p_of_all_links():
    found = [len(edges({"family": "erdos-renyi", "p": 0.3}, 60, seed)) for seed in range(20)]
    assert sum(found) / 20 == pytest.approx(0.3 * 60 * 59 / 2, rel=0.05)
    found = [len(edges("erdos-renyi", 60, seed)) for seed in range(20)]
    assert sum(found) / 20 == pytest.approx(59 * math.log(60), rel=0.05)


SELDOM_CONNECTED = [
    ({"family": "erdos-renyi", "p": 0.15}, 10, r"^graph\.p: 1 draws with p = 0\.15 gave no"),
    (
        {"family": "watts-strogatz", "k": 2, "p": 1},
        50,
        r"^graph\.k: 1 draws with k = 2, p = 1 gave",
    ),
    (
        {"family": "random-regular", "degree": 2},
        100,
        r"^graph\.degree: 1 draws with degree = 2 gave no connected graph of 100 peers; 3 would$",
    ),
]


@pytest.mark.parametrize(("spec", "peers", "message"), SELDOM_CONNECTED)
def test_random_families_draw_again_until_connected_but_not_for_ever(
    monkeypatch, spec, peers, message
):
    assert all(nx.is_connected(build_graph(spec, peers, seed)) for seed in range(20))
    monkeypatch.setattr("topology.families.TRIES", 1)
    refused = []
    for seed in range(20):
        try:
            build_graph(spec, peers, seed)
        except UserError as error:
            refused.append(str(error))
    assert 0 < len(refused) < 20
    assert all(re.match(message, line) for line in refused)


def test_numbers_that_yaml_reads_as_words_are_numbers():
    assert edges({"family": "watts-strogatz", "p": "1e-3"}, 9) == edges(
        {"family": "watts-strogatz", "p": 0.001}, 9
    )


@pytest.mark.parametrize(("peers", "degree"), [(10, 3), (9, 4), (10, 7), (12, 11), (2, 1), (9, 2)])
def test_random_regular_degrees(peers, degree):
    graph = build_graph({"family": "random-regular", "degree": degree}, peers, seed=0)
    assert {d for _, d in graph.degree} == {degree}


@pytest.mark.parametrize(
    ("peers", "degree"), [(2, 1), (3, 2), (4, 3), (5, 4), (6, 3), (7, 4), (8, 3)]
)
def test_random_regular_default_degree(peers, degree):
    assert {d for _, d in build_graph("random-regular", peers, seed=0).degree} == {degree}


@pytest.mark.parametrize(("peers", "rows"), [(9, 3), (12, 3), (20, 5), (49, 7)])
def test_every_peer_of_a_torus_has_four_links(peers, rows):
    graph = build_graph({"family": "torus", "rows": rows}, peers, 0)
    assert {degree for _, degree in graph.degree} == {4}
    lattice = build_graph({"family": "grid", "rows": rows}, peers, 0)
    assert set(lattice.edges) < set(graph.edges)


@pytest.mark.parametrize("peers", [2, 3, 7, 16, 33])
def test_every_peer_of_an_exponential_graph_is_linked_to_powers_of_two(peers):
    graph = build_graph("exponential", peers, 0)
    steps = {step for bit in range(peers) for step in (2**bit, -(2**bit)) if 2**bit < peers}
    for k in graph:
        assert set(graph[k]) == {(k + step) % peers for step in steps}


@pytest.mark.parametrize(("peers", "m"), [(2, 1), (30, 1), (30, 3), (10, 9)])
def test_barabasi_albert_adds_m_links_a_peer(peers, m):
    assert len(edges({"family": "barabasi-albert", "m": m}, peers)) == m + (peers - m - 1) * m
    if peers == 2:
        assert edges("barabasi-albert", peers) == [(0, 1)]


def test_graphs_are_frozen():
    with pytest.raises(nx.NetworkXError, match="Frozen"):
        build_graph("ring", 5, 0).add_edge(0, 2)


@pytest.mark.parametrize(("peers", "k"), [(3, 2), (4, 2), (5, 4), (20, 4)])
def test_watts_strogatz_default_k(peers, k):
    assert len(edges("watts-strogatz", peers)) == peers * k // 2


def test_watts_strogatz_rewires_about_p_of_the_links():
    ring = set(edges({"family": "watts-strogatz", "p": 0}, 200))
    kept = [len(ring & set(edges("watts-strogatz", 200, seed))) for seed in range(10)]
    assert sum(kept) / 4000 == pytest.approx(0.9, abs=0.02)


def test_one_peer_needs_no_ranges_but_right_names():
    assert edges({"family": "watts-strogatz", "k": 4, "seed": 2}, 1) == []
    assert edges({"family": "star", "centre": 3}, 1) == []
    with pytest.raises(UserError, match=r"graph\.center"):
        build_graph({"family": "star", "center": 0}, 1, 0)


KINDS = "one of family, edges, file"
LIST = (
    r" \(families: barabasi-albert, complete, erdos-renyi, exponential, grid, hypercube, path, "
    r"random-regular, ring, star, torus, watts-strogatz, wheel\)$"
)
REFUSED = [
    ("rign", 5, r"^graph: there is no family 'rign'; did you mean 'ring'\?" + LIST),
    ("Wats_Strogatz", 5, r"'Wats_Strogatz'; did you mean 'watts-strogatz'\?"),
    ({"family": "tree"}, 5, r"^graph\.family: there is no family 'tree'" + LIST),
    ({"family": "torus", "rows": 4}, 6, r"^graph\.rows: must divide peers = 6, and 4 does not$"),
    ({"family": "torus", "rows": 3, "columns": 1}, 6, r"^graph\.rows: 3 rows of 1 columns hold 3"),
    ("hypercube", 6, r"^peers: must be a power of two on a hypercube: 4 or 8, not 6$"),
    ({"family": "hypercube", "k": 3}, 8, r"^graph\.k: there is no such setting of hypercube$"),
    ({"family": "wheel", "centre": 5}, 5, r"^graph\.centre: must be from 0 to 4, not 5$"),
    ({"family": "barabasi-albert", "m": 0}, 5, r"^graph\.m: must be from 1 to 4, not 0$"),
    ({"family": "barabasi-albert", "m": 5}, 5, r"^graph\.m: must be from 1 to 4, not 5$"),
    ({"family": "ring\n" * 40}, 5, r"^graph\.family: there is no family 'ring\\n"),
    ({"family": 3}, 5, r"^graph\.family: must be a name, not 3$"),
    (None, 5, rf"^graph: must be a family's name or a mapping with {KINDS}, not None$"),
    ([[0, 1]], 2, r"^graph: must be a family's name or .*, not \[\[0, 1\]\]$"),
    ({}, 5, rf"^graph: needs exactly {KINDS}, found nothing$"),
    ({"famly": "ring"}, 5, rf"{KINDS}, found famly; did you mean 'family'\?$"),
    ({"shape": "ring", "of": 5}, 5, rf"{KINDS}, found shape, of$"),
    ({"family": "ring", "edges": []}, 5, rf"{KINDS}, found family and edges$"),
    ({"family": "star", "center": 1}, 5, r"^graph\.center: .* of star; did you mean 'centre'\?$"),
    ({"family": "grid", "height": 1}, 6, r"^graph\.height: .* of grid; there is rows, columns$"),
    ({"family": "ring", "k": 2}, 5, r"^graph\.k: there is no such setting of ring$"),
    ({"family": "ring", "seed": 2}, 5, r"^graph\.seed: there is no such setting of ring$"),
    ({"edges": [[0, 1]], "k": 2}, 2, r"^graph\.k: there is no such setting beside edges$"),
    ({"family": "star", "centre": 5}, 5, r"^graph\.centre: must be from 0 to 4, not 5$"),
    ({"family": "star", "centre": -1}, 5, r"^graph\.centre: must be from 0 to 4, not -1$"),
    ({"family": "star", "centre": True}, 5, r"^graph\.centre: must be a whole number, not True$"),
    ({"family": "star", "centre": 1.0}, 5, r"^graph\.centre: must be a whole number, not 1\.0$"),
    ({"family": "star", "centre": "a"}, 5, r"^graph\.centre: must be a whole number, not 'a'$"),
    ({"family": "grid", "rows": 4}, 6, r"^graph\.rows: must divide peers = 6, and 4 does not$"),
    ({"family": "grid", "columns": 0}, 6, r"^graph\.columns: must divide peers = 6, and 0 does"),
    ({"family": "grid", "rows": 3, "columns": 3}, 6, r"^graph\.rows: 3 rows of 3 columns hold 9"),
    ({"family": "erdos-renyi", "p": 0}, 5, r"^graph\.p: must be more than 0 and at most 1, not 0"),
    ({"family": "erdos-renyi", "p": math.nan}, 5, r"^graph\.p: .* at most 1, not nan$"),
    ({"family": "erdos-renyi", "p": "lots"}, 5, r"^graph\.p: must be a number, not 'lots'$"),
    ({"family": "erdos-renyi", "p": True}, 5, r"^graph\.p: must be a number, not True$"),
    ({"family": "erdos-renyi", "p": None}, 5, r"^graph\.p: must be a number, not None$"),
    (
        {"family": "erdos-renyi", "p": 1e-300},
        50,
        r"^graph\.p: 100 draws with p = 1e-300 gave no connected graph of 50 peers; 0\.156 is",
    ),
    ({"family": "erdos-renyi", "seed": -1}, 5, r"^graph\.seed: must be a whole number, at least 0"),
    ({"family": "watts-strogatz", "k": 3}, 9, r"^graph\.k: must be even, .*, not 3$"),
    ({"family": "watts-strogatz", "k": 6}, 6, r"^graph\.k: must be from 2 to 5, not 6$"),
    ({"family": "watts-strogatz", "k": 4}, 2, r"^graph\.k: must be 2, not 4$"),
    ({"family": "watts-strogatz", "p": 1.5}, 9, r"^graph\.p: must be from 0 to 1, not 1\.5$"),
    ({"family": "random-regular", "degree": 1}, 4, r"^graph\.degree: must be from 2 to 3, not 1$"),
    ({"family": "random-regular", "degree": 4}, 4, r"^graph\.degree: must be from 2 to 3, not 4$"),
    (
        {"family": "random-regular", "degree": 3},
        5,
        r"^graph\.degree: must be even where peers is odd \(5\): 2 or 4, not 3$",
    ),
    ({"edges": "0 1"}, 2, r"^graph\.edges: must be a list of pairs, such as .*, not '0 1'$"),
    ({"edges": [[0, 1], [1]]}, 2, r"^graph\.edges\[1\]: must be two peers, not \[1\]$"),
    ({"edges": [[0, 1], 1]}, 2, r"^graph\.edges\[1\]: must be two peers, not 1$"),
    ({"edges": [[0, "b"]]}, 2, r"^graph\.edges\[0\]: must be a whole number, not 'b'$"),
    ({"edges": [[0, 1], [1, 1]]}, 2, r"^graph\.edges\[1\]: links peer 1 to itself"),
    (
        {"edges": [[0, 1], [1, 2]]},
        2,
        r"^graph\.edges\[1\]: there is no peer 2; peers are numbered 0 to 1$",
    ),
    ({"edges": [[-1, 0]]}, 2, r"^graph\.edges\[0\]: there is no peer -1;"),
    (
        {"edges": [[0, 1], [2, 3], [3, 4]]},
        5,
        r"^graph: falls into 2 parts, the smallest being peers 0, 1; links must lead from every",
    ),
    ({"edges": [[0, 1], [1, 3]]}, 4, r"^graph: falls into 2 parts, the smallest being peer 2;"),
    (
        {"edges": [[i, i + 2] for i in range(18)]},
        20,
        r"^graph: falls into 2 parts, .* being peers 0, 2, 4, 6, 8 and 5 more;",
    ),
    ("ring", 0, r"^peers: must be a whole number, at least 1, not 0$"),
    ("ring", 2.0, r"^peers: must be a whole number, at least 1, not 2\.0$"),
]


@pytest.mark.parametrize(("spec", "peers", "message"), REFUSED)
def test_refused_in_one_line_that_names_the_key(spec, peers, message):
    with pytest.raises(UserError, match=message) as caught:
        build_graph(spec, peers, seed=0)
    assert len(str(caught.value).splitlines()) == 1


def test_a_seed_is_a_whole_number():
    with pytest.raises(UserError, match=r"^seed: must be a whole number, at least 0, not -1$"):
        build_graph("ring", 5, seed=-1)

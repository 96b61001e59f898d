"""Weights that look at the whole graph, and matrices that an experiment gives."""

import os

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topology.laplacian
from tests.topology.test_properties import connected_graphs
from topology import (
    UserError,
    anchored_weights,
    build_graph,
    kind_of_weights,
    metropolis_weights,
    neighbour_weights,
    second_eigenvalue,
    sparse_weights,
    uniform_weights,
    weights_facts,
)
from topology.laplacian import best_constant

HALF = [[0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0.0, 0.25, 0.75]]  # on the path 0-1-2, symmetric


def dense(graph, rule):
    return sparse_weights(graph, rule).toarray()


@pytest.mark.parametrize(
    ("family", "weight"), [("ring", 1 / 3), ("star", 1 / 5), ("path", 1 / 3), ("complete", 1 / 5)]
)
def test_max_degree_weighs_all_links_alike(family, weight):
    graph = build_graph(family, 5, 0)
    expected = nx.to_numpy_array(graph) * weight
    np.fill_diagonal(expected, 1 - expected.sum(axis=0))
    np.testing.assert_allclose(dense(graph, "max-degree"), expected, rtol=0, atol=1e-15)
    assert dense(graph, "Max_Degree").tolist() == dense(graph, {"rule": "max-degree"}).tolist()


@pytest.mark.parametrize(
    ("family", "peers", "epsilon"),
    [
        ("complete", 5, 1 / 5),
        ("complete", 2, 1 / 2),
        ("hypercube", 8, 1 / 4),  # eigenvalues 0, 2, 4, 6
        ("ring", 4, 1 / 3),  # 0, 2, 2, 4
        ("path", 3, 1 / 2),  # 0, 1, 3
        ("star", 5, 1 / 4),  # 0, 1, 5: 2/6 would leave the centre -1/3
    ],
)
def test_laplacian_weights_in_closed_form(family, peers, epsilon):
    graph = build_graph(family, peers, 0)
    laplacian = nx.laplacian_matrix(graph, range(peers)).toarray()
    expected = np.eye(peers) - epsilon * laplacian
    np.testing.assert_allclose(dense(graph, "laplacian"), expected, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(connected_graphs(), st.floats(0.01, 1))
def test_no_other_constant_that_is_not_negative_agrees_faster(graph, share):
    largest = max(dict(graph.degree).values()) or 1
    best = second_eigenvalue(dense(graph, "laplacian"))
    assert best < 1
    other = dense(graph, {"rule": "laplacian", "epsilon": share / largest})
    assert (other >= 0).all()
    assert kind_of_weights(other) == "symmetric"
    assert best <= second_eigenvalue(other) + 1e-9
    assert best <= second_eigenvalue(dense(graph, "max-degree")) + 1e-9


def test_graphs_in_parts_agree_within_each():
    pairs = build_graph({"edges": [[0, 1], [2, 3]]}, 5, 0, connected=False)
    assert best_constant(pairs) == 0.5
    np.testing.assert_array_equal(dense(pairs, "laplacian")[:2, :2], [[0.5, 0.5], [0.5, 0.5]])


def test_a_spectrum_is_found_once_a_graph(monkeypatch):
    graph = build_graph("erdos-renyi", 20, 0)
    first = neighbour_weights(graph, "laplacian", 0)
    monkeypatch.setattr(topology.laplacian.np.linalg, "eigvalsh", None)
    assert neighbour_weights(graph, "laplacian", 0) == first
    thawed = nx.Graph(graph)  # may change, so that nothing is kept of it
    with pytest.raises(TypeError):
        neighbour_weights(thawed, "laplacian", 0)


def test_what_is_given_is_what_is_used():
    graph = build_graph("path", 3, 0)
    spec = {"matrix": HALF}
    np.testing.assert_allclose(dense(graph, spec), HALF, rtol=0, atol=1e-15)
    assert neighbour_weights(graph, spec, 1) == {0: 0.5, 2: 0.25}
    assert neighbour_weights(graph, spec, 2) == {1: 0.25}
    assert kind_of_weights(dense(graph, spec)) == "symmetric"


def test_a_link_may_weigh_nothing():
    graph = build_graph("ring", 3, 0)
    assert neighbour_weights(graph, {"matrix": HALF}, 0) == {1: 0.5, 2: 0.0}


def test_decimals_are_rounded_and_the_diagonal_takes_it_up():
    third = 0.333333
    spec = {"matrix": [[third] * 3] * 3}
    weights = dense(build_graph("complete", 3, 0), spec)
    assert weights[0, 1] == third
    assert weights[0, 0] == pytest.approx(1 - 2 * third, abs=1e-15)
    assert second_eigenvalue(weights) < 1e-5


def test_kinds_of_weights():
    star = build_graph("star", 4, 0)
    assert kind_of_weights(metropolis_weights(star)) == "symmetric"
    assert kind_of_weights(sparse_weights(star, "uniform")) == "left stochastic"
    cycle = 0.5 * np.eye(3) + 0.5 * np.roll(np.eye(3), 1, axis=0)
    assert kind_of_weights(dense(build_graph("ring", 3, 0), {"matrix": cycle.tolist()})) == (
        "doubly stochastic"
    )
    assert kind_of_weights(uniform_weights(build_graph("ring", 5, 0))) == "symmetric"
    assert kind_of_weights(np.eye(1)) == "symmetric"


@settings(deadline=None)
@given(connected_graphs(most=10), st.integers(0, 2**32 - 1))
def test_any_left_stochastic_matrix_on_the_links_is_allowed(graph, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.random((len(graph), len(graph))) * (nx.to_numpy_array(graph) + np.eye(len(graph)))
    matrix /= matrix.sum(axis=0)
    spec = {"matrix": matrix.tolist()}
    weights = dense(graph, spec)
    np.testing.assert_allclose(weights, matrix, rtol=0, atol=1e-14)
    for k in graph:
        found = neighbour_weights(graph, spec, k)
        assert found == {other: weights[other, k] for other in sorted(graph[k])}


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".npy"])
def test_a_matrix_is_read_from_a_file(tmp_path, suffix):
    file = tmp_path / f"weights{suffix}"
    if suffix == ".npy":
        np.save(file, np.array(HALF))
    else:
        text = {".csv": "0.5,0.5,0\n.5, 25e-2, .25\n0,.25,.75\n", ".txt": "\ufeff# path\n"}[suffix]
        if suffix == ".txt":
            text += "\n".join(" ".join(map(str, row)) for row in HALF) + "  # the end"
        file.write_text(text, encoding="utf-8")
    spec = anchored_weights({"file": file.name}, tmp_path)
    assert spec == {"file": str(file)}
    graph = build_graph("path", 3, 0)
    np.testing.assert_allclose(dense(graph, spec), HALF, rtol=0, atol=1e-15)
    assert weights_facts(spec) == HALF == weights_facts({"matrix": HALF})


def test_a_file_that_changed_is_read_again(tmp_path):
    file = tmp_path / "weights.csv"
    spec = {"file": str(file)}
    graph = build_graph("path", 2, 0)
    for own in (0.5, 0.75):
        file.write_text(f"{own} {1 - own}\n{1 - own} {own}", encoding="utf-8")
        os.utime(file, (own, own))  # the disk's clock may be too coarse to tell the two apart
        assert neighbour_weights(graph, spec, 0) == {1: 1 - own}


def test_only_files_are_anchored(tmp_path):
    for spec in ("uniform", {"rule": "uniform"}, {"file": 3}, {"file": ""}, None, ["file"]):
        assert anchored_weights(spec, tmp_path) == spec
    assert anchored_weights({"file": "/there"}, tmp_path) == {"file": "/there"}


def test_facts_of_rules_are_their_names():
    assert weights_facts("metropolis") == "metropolis"
    spec = {"rule": "laplacian", "epsilon": 0.1}
    assert weights_facts(spec) == spec


TRANSPOSED = [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (3, r"^weights: must be a rule's name or a mapping with one of rule, matrix, file, not 3$"),
        ({}, r"^weights: needs exactly one of rule, matrix, file, found nothing$"),
        ({"rul": "uniform"}, r"^weights: needs .*, found rul; did you mean 'rule'\?$"),
        ({"rule": "uniform", "file": "a"}, r"^weights: needs exactly .*, found rule and file$"),
        ({"rule": 3}, r"^weights\.rule: must be a name, not 3$"),
        ({"rule": "best"}, r"^weights\.rule: there is no rule 'best' \(rules: laplacian, max-deg"),
        ({"rule": "uniform", "epsilon": 1}, r"^weights\.epsilon: there is no such setting of unif"),
        ({"rule": "laplacian", "epsilo": 1}, r"^weights\.epsilo: .*; did you mean 'epsilon'\?$"),
        ({"rule": "laplacian", "epsilon": "a"}, r"^weights\.epsilon: must be a number, not 'a'$"),
        (
            {"rule": "laplacian", "epsilon": 0.6},
            r"^weights\.epsilon: must be more than 0 and at most 1/\(the largest degree\) = 0\.5, "
            r"or a weight would be negative, not 0\.6$",
        ),
        ({"rule": "laplacian", "epsilon": 0}, r"^weights\.epsilon: .*, not 0\.0$"),
        ({"rule": "laplacian", "epsilon": float("nan")}, r"^weights\.epsilon: .*, not nan$"),
        ({"matrix": HALF, "by": 1}, r"^weights\.by: there is no such setting beside matrix$"),
        ({"matrix": None}, r"^weights\.matrix: must be rows of numbers, .*, not None$"),
        ({"matrix": "abc"}, r"^weights\.matrix: must be rows of numbers, .*, not 'abc'$"),
        ({"matrix": [[1, 0], [1]]}, r"^weights\.matrix: must be rows of numbers, as many rows as"),
        ({"matrix": [[1, 0]]}, r"^weights\.matrix: must have as many rows .*, not 1 by 2$"),
        ({"matrix": []}, r"^weights\.matrix: must have as many rows as columns"),
        ({"matrix": [[1]]}, r"^weights\.matrix: is of 1 peers, and peers is 3$"),
        (
            {"matrix": [[1, 0, 0], [0, 1.5, 0], [0, -0.5, 1]]},
            r"^weights\.matrix: a\[2\]\[1\] is -0\.5; weights are finite and not negative$",
        ),
        ({"matrix": [[float("nan")]]}, r"^weights\.matrix: a\[0\]\[0\] is nan; weights are finite"),
        (
            {"matrix": [[1, 0, 0], [0, 1, 0.1], [0, 0, 0.8]]},
            r"^weights\.matrix: column 2, what peer 2 takes, sums to 0\.9, not 1$",
        ),
        (
            {"matrix": TRANSPOSED},
            r"^weights\.matrix: column 0, .*; the rows do, so transpose it: a\[l\]\[k\] is from l",
        ),
        (
            {"matrix": [[0, 0, 0], [1.000001, 1, 1], [0, 0, 0]]},
            r"^weights\.matrix: what peer 0 takes of others sums to 1\.000001, above 1$",
        ),
        (
            {"matrix": [[1, 0, 0.5], [0, 1, 0], [0, 0, 0.5]]},
            r"^weights\.matrix: a\[0\]\[2\] is 0\.5, and graph has no link between peers 0 and 2$",
        ),
        ({"file": 3}, r"^weights\.file: must be a path, not 3$"),
        ({"file": ""}, r"^weights\.file: must be a path, not ''$"),
        (
            {"file": "/nowhere/a.csv"},
            r"^weights\.file: cannot read /nowhere/a\.csv: No such file or",
        ),
    ],
)
def test_refused_in_one_line_that_names_the_key(spec, message):
    graph = build_graph("path", 3, 0)
    for ask in (lambda: sparse_weights(graph, spec), lambda: neighbour_weights(graph, spec, 0)):
        with pytest.raises(UserError, match=message) as caught:
            ask()
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"1,0\n0,x\n", r"a\.csv, line 2: must be numbers, not '0,x'$"),
        ("a.csv", b"1,0\n0,1,0\n", r"a\.csv: its rows must be of one length$"),
        ("a.csv", b"", r"a\.csv: must have as many rows as columns"),
        ("a.csv", b"\xff\xfe\x00\x80", r"a\.csv: is not a text file; binary ones end in \.npy$"),
        ("a.csv", b"1,0\n0.5,1\n", r"a\.csv: column 0, what peer 0 takes, sums to 1\.5, not 1$"),
        ("a.csv", b"1,0\n0,1\n", r"a\.csv: is of 2 peers, and peers is 3$"),
        ("a.npy", b"1,0\n0,1\n", r"a\.npy: is not an array of numbers in numpy's format$"),
        ("a.npy", b"", r"a\.npy: is not an array of numbers in numpy's format$"),
        ("a.npy", np.array([{}]), r"a\.npy: is not an array of numbers in numpy's format$"),
        ("a.npy", np.array([["a"]]), r"a\.npy: must hold one array of real numbers$"),
        ("a.npy", np.array([[1j]]), r"a\.npy: must hold one array of real numbers$"),
        ("a.npy", np.eye(3)[:2], r"a\.npy: must have as many rows as columns.*, not 2 by 3$"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path, name, content, message):
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content, allow_pickle=True)
    with pytest.raises(UserError, match=r"^weights\.file: .*" + message) as caught:
        sparse_weights(build_graph("path", 3, 0), {"file": str(file)})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a\0b", r"cannot read .*a\\0b: embedded null byte"),
        ("~no-such-user-here/a.csv", "cannot read ~no-such-user-here/a.csv: Could not determine"),
        ("a" * 300, "cannot read a*: File name too long"),
    ],
)
def test_paths_that_lead_nowhere(path, words):
    with pytest.raises(UserError, match=r"^weights\.file: " + words):
        topology.check_weights(topology.build_schedule("ring", 3, 0), {"file": path})


@pytest.mark.parametrize("text", ["1_0,0\n0,1\n", "0,25;0,75\n0,75;0,25\n", "nan,0\n0,1\n"])
def test_numbers_that_are_written_otherwise(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=r"^weights\.file: ") as caught:
        topology.check_weights(
            topology.build_schedule("complete", 2, 0), {"file": str(tmp_path / "a.csv")}
        )
    assert "\n" not in str(caught.value)

"""Graphs from files: edge lists and GraphML, and what is refused."""

import networkx as nx
import pytest

from topology import UserError, build_graph

RING = [(0, 1), (0, 3), (1, 2), (2, 3)]


def write(folder, name, text):
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "text",
    [
        "0 1\n1 2\n2 3\n3 0\n",
        "# a ring\n\n0\t1\n2 1  # backwards\n2 3\n3 0",
        "0,1\n1, 2\n2,3\n3,0\n0,3\n",
        "0 1 0.5\n1 2 {}\n2 3 {'weight': 3}\n3 0\n",
        "\ufeff0 1\r\n1 2\r\n2 3\r\n3 0\r\n",
    ],
)
def test_edge_lists_are_read_however_they_are_written(tmp_path, text):
    write(tmp_path, "ring.txt", text)
    assert list(build_graph({"file": "ring.txt"}, 4, 0, tmp_path).edges) == RING


def test_paths_are_relative_to_the_folder_or_the_working_directory(tmp_path, monkeypatch):
    elsewhere = tmp_path / "graphs"
    elsewhere.mkdir()
    file = write(elsewhere, "pair.txt", "0 1")
    monkeypatch.chdir(elsewhere)
    for spec, folder in (
        ("graphs/pair.txt", tmp_path),
        (str(file), tmp_path / "nowhere"),
        (file, None),
        ("pair.txt", None),
    ):
        assert list(build_graph({"file": spec}, 2, 0, folder).edges) == [(0, 1)]


def test_a_file_without_links_is_one_peer(tmp_path):
    write(tmp_path, "alone.txt", "# nobody else\n")
    assert list(build_graph({"file": "alone.txt"}, 1, 0, tmp_path)) == [0]


@pytest.mark.parametrize("suffix", [".graphml", ".GraphML"])
@pytest.mark.parametrize("prefix", ["", "n"])
@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph])
def test_graphml_is_read_whatever_its_edges_and_ids(tmp_path, prefix, suffix, kind):
    graph = kind((f"{prefix}{a}", f"{prefix}{b}", {"weight": 0.5}) for a, b in RING)
    file = tmp_path / f"ring{suffix}"
    nx.write_graphml(graph, file)
    built = build_graph({"file": file.name}, 4, 0, tmp_path)
    assert list(built) == [0, 1, 2, 3]
    assert list(built.edges(data=True)) == [(a, b, {}) for a, b in RING]


GRAPHML = (
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">'
    "{}</graph></graphml>"
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", None, r"^graph\.file: cannot read .*a\.txt: No such file or directory$"),
        ("a.graphml", None, r"^graph\.file: cannot read .*a\.graphml: No such file or directory$"),
        ("a.txt", "0 1\n1 2\n", r"^graph\.file: .*a\.txt holds 3 peers, and peers is 4$"),
        ("a.txt", "", r"^graph\.file: .*a\.txt holds 1 peers, and peers is 4$"),
        (
            "a.txt",
            "1 2\n2 3\n3 4\n",
            r"^graph\.file: .*a\.txt, line 3: there is no peer 4; peers are numbered 0 to 3$",
        ),
        ("a.txt", "0 1\n1 1\n1 2\n2 3\n", r"^graph\.file: .*, line 2: links peer 1 to itself"),
        (
            "a.txt",
            "0 1\nfoo bar\n",
            r"^graph\.file: .*, line 2: must begin with two peers' numbers, not 'foo bar'$",
        ),
        ("a.txt", "0 1\n3\n", r"^graph\.file: .*, line 2: must begin .*, not '3'$"),
        ("a.txt", "0 1\n2 3\n", r"^graph: falls into 2 parts, the smallest being peers 0, 1;"),
        ("a.graphml", "<graphml", r"^graph\.file: .*a\.graphml is not GraphML: unclosed token"),
        ("a.graphml", "<svg></svg>", r"^graph\.file: .*a\.graphml is not GraphML: "),
        (
            "a.graphml",
            GRAPHML.format('<node id="hub"/>'),
            r"^graph\.file: .*: node ids must be peers' numbers, such as 4 or n4, not 'hub'$",
        ),
        (
            "a.graphml",
            GRAPHML.format('<node id="n0"/><node id="n1"/>'),
            r"^graph\.file: .*a\.graphml holds 2 peers, and peers is 4$",
        ),
        (
            "a.graphml",
            GRAPHML.format("".join(f'<edge source="n{i}" target="n{i + 1}"/>' for i in (1, 2, 3))),
            r"^graph\.file: .*a\.graphml, edge n3-n4: there is no peer 4;",
        ),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path, name, text, message):
    if text is not None:
        write(tmp_path, name, text)
    with pytest.raises(UserError, match=message) as caught:
        build_graph({"file": name}, 4, 0, tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (3, r"^graph\.file: must be a path, not 3$"),
        ("", r"^graph\.file: must be a path, not ''$"),
        (".", r"^graph\.file: cannot read .*: Is a directory$"),
    ],
)
def test_what_is_not_a_file_is_refused(tmp_path, path, message):
    with pytest.raises(UserError, match=message):
        build_graph({"file": path}, 4, 0, tmp_path)


def test_binary_files_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match=r"^graph\.file: cannot read .*a\.txt: not a text file$"):
        build_graph({"file": "a.txt"}, 4, 0, tmp_path)


# --- lists of neighbours --------------------------------------------------------------------------

COMPLETE = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("text", "peers", "links"),
    [
        ("0 1 2 3\n1 0 2 3\n2 0 1 3\n3 0 1 2\n", 4, COMPLETE),
        ("0 1 2 3\n1 2 3\n2 3\n3\n", 4, COMPLETE),  # as networkx writes it: each link once
        ("0 1\n1 2\n2 3\n3 0\n", 4, RING),  # all of two: a list of edges
        ("0 1\n1 2\n2 3\n3\n", 4, [(0, 1), (1, 2), (2, 3)]),
        ("# a star\n2 0 1\n", 3, [(0, 2), (1, 2)]),  # as a link and its weight it lacks a peer
        ("2,0,1,3\n", 4, [(0, 2), (1, 2), (2, 3)]),
        ("0 1 1\n1 2 1\n2 3 1\n3 0 1\n", 4, RING),  # weights: nobody is its own neighbour
        ("0 1 7\n1 2 7\n2 3 9\n3 0 7\n", 4, RING),  # weights: there is no peer 7
        ("0 1 3.0\n1 2 3.0\n2 3 1.0\n3 0 2.0\n", 4, RING),
        ("0 1 5\n0 2 5\n0 3 5\n", 4, [(0, 1), (0, 2), (0, 3)]),
    ],
)
def test_a_list_of_neighbours_is_told_from_a_list_of_edges(tmp_path, text, peers, links):
    write(tmp_path, "a.txt", text)
    assert list(build_graph({"file": "a.txt"}, peers, 0, tmp_path).edges) == links


@pytest.mark.parametrize("graph", [nx.cycle_graph(5), nx.star_graph(6), nx.complete_graph(7)])
def test_the_lists_that_networkx_writes(tmp_path, graph):
    for number, write_with in enumerate((nx.write_adjlist, nx.write_edgelist)):
        write_with(graph, tmp_path / f"{number}.txt")
        built = build_graph({"file": f"{number}.txt"}, len(graph), 0, tmp_path)
        assert set(built.edges) == {(min(link), max(link)) for link in graph.edges}
    nx.write_multiline_adjlist(graph, tmp_path / "lines.txt")
    with pytest.raises(UserError, match="must begin with two peers' numbers"):
        build_graph({"file": "lines.txt"}, len(graph), 0, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0 1 3\n1 2 0\n2 3 1\n3 0 2\n",
            r"line 1: '0 1 3' may be a link and its weight, or a peer",
        ),
        (
            "0 1 3\n1 0 2\n2 1 3\n3 0 2\n",
            r"write weights with a point \(3\.0\), or one link a line",
        ),
        ("0 1 2 3\n0 2 1 3\n", r"line 1: more than a weight follows the two peers \('0 1 2 3'\)"),
        ("0 1 0 1\n1 0 1 0\n0 1 0 1\n1 0 1 0\n", r"line 1: more than a weight follows"),  # a matrix
        ("0 1 0.5\n0 2 3 1\n", r"line 2: more than a weight follows the two peers"),
        ("0 1_0\n", r"line 1: must begin with two peers' numbers, not '0 1_0'"),
        ("0.0 1.0\n", r"line 1: must begin with two peers' numbers"),
        ("0 99999999999999999999999\n", r"line 1: must begin with two peers' numbers"),
    ],
)
def test_what_may_mean_two_things_is_refused(tmp_path, text, message):
    write(tmp_path, "a.txt", text)
    with pytest.raises(UserError, match=message) as caught:
        build_graph({"file": "a.txt"}, 4, 0, tmp_path)
    assert str(caught.value).startswith("graph.file: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [
        '<key id="d0" for="node" attr.name="seen" attr.type="date"/>',
        '<key id="d0" for="edge" attr.name="weight" attr.type="int"/>',
        "",  # an attribute that no key declares
    ],
)
def test_graphml_attributes_that_nobody_uses_do_not_matter(tmp_path, extra):
    nodes = "".join(f'<node id="n{i}"><data key="d0">long ago</data></node>' for i in range(4))
    edges = "".join(
        f'<edge id="e{i}" source="n{a}" target="n{b}"><data key="d0">x</data></edge>'
        for i, (a, b) in enumerate(RING)
    )
    text = (
        f'<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{extra}'
        f'<graph edgedefault="directed"><desc>a ring</desc>{nodes}{edges}</graph></graphml>'
    )
    write(tmp_path, "a.graphml", text)
    assert list(build_graph({"file": "a.graphml"}, 4, 0, tmp_path).edges) == RING


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GRAPHML.format('<hyperedge><endpoint node="n0"/></hyperedge>'), "has a hyperedge"),
        ('<?xml version="1.0" encoding="klingon"?><graphml/>', "is not GraphML: "),
        ("<graphml></graphml>", "it holds <graphml>, and not a graph in <graphml>"),
        (GRAPHML.format('<edge source="n0"/>'), "node ids must be peers' numbers"),
    ],
)
def test_graphml_that_is_none(tmp_path, text, message):
    write(tmp_path, "a.graphml", text)
    with pytest.raises(UserError, match=message) as caught:
        build_graph({"file": "a.graphml"}, 4, 0, tmp_path)
    assert "\n" not in str(caught.value)


def test_entities_that_multiply_are_refused(tmp_path):
    entities = "".join(
        f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x" * 10}">' for i in range(12)
    )
    text = f"<!DOCTYPE graphml [{entities}]><graphml><graph>&e11;</graph></graphml>"
    write(tmp_path, "a.graphml", text)
    with pytest.raises(UserError, match="is not GraphML: "):
        build_graph({"file": "a.graphml"}, 4, 0, tmp_path)


def test_a_path_with_a_null_byte(tmp_path):
    with pytest.raises(UserError, match=r"^graph\.file: cannot read .*a\\0b: embedded null byte$"):
        build_graph({"file": "a\0b"}, 2, 0, tmp_path)

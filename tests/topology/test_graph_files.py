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

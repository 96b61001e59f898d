"""Graphs in files: a list of edges, a list of neighbours, or GraphML.

A list of edges has one link a line: two peers, then perhaps a weight or other attributes, which are
left aside. A list of neighbours (networkx calls it an adjacency list) has one peer a line and those
it is linked to: a file is one where its lines are whole numbers only, and not all of them two or
three. Three whole numbers a line may be a link and its weight, or a peer and two neighbours: where
both would make sense, the file is refused. ``#`` starts a comment; a link counts both ways.
"""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from xml.etree import ElementTree

from topology.errors import UserError
from topology.names import first_line

Found = list[tuple[str, int, int]]
"""Links, each with the place to blame."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_MOST_BYTES = 1 << 28


def read_links(path: object, peers: int, folder: Path | None) -> Found:
    """The links in the file that ``graph.file`` names; a relative path starts at ``folder``.

    Raises:
        UserError: it cannot be read, is ambiguous, or names more or fewer than ``peers``.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise UserError(f"graph.file: must be a path, not {reprlib.repr(path)}")
    try:
        file = (folder or Path()) / Path(path).expanduser()
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES >> 20} MiB")
        graphml = file.suffix.lower() == ".graphml"
        text = "" if graphml else content.decode("utf-8-sig")
    except (OSError, ValueError, RuntimeError) as error:
        reason = "not a text file" if isinstance(error, UnicodeDecodeError) else first_line(error)
        if isinstance(error, OSError):
            reason = error.strerror or reason
        raise UserError(f"graph.file: cannot read {path_of(path, folder)}: {reason}") from None
    nodes, found = _graphml(file, content) if graphml else _lines(file, text, peers)
    if len(nodes) != peers:
        raise UserError(f"graph.file: {file} holds {len(nodes)} peers, and peers is {peers}")
    return found


def path_of(path: str | Path, folder: Path | None) -> str:
    """The file as a message names it, whatever is wrong with its path."""
    return str((folder or Path()) / path).replace("\0", "\\0")


def _lines(file: Path, text: str, peers: int) -> tuple[set[int], Found]:
    lines = []
    for place, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if words:
            lines.append((f"{file}, line {place}", words))
    whole = all(_WHOLE.fullmatch(word) for _, words in lines for word in words)
    if whole and any(len(words) != 2 for _, words in lines):
        neighbours = [(where, [int(word) for word in words]) for where, words in lines]
        return _edges_or_neighbours(file, lines, neighbours, peers)
    return _edges(lines)


def _edges_or_neighbours(
    file: Path,
    lines: list[tuple[str, list[str]]],
    neighbours: list[tuple[str, list[int]]],
    peers: int,
) -> tuple[set[int], Found]:
    """Whole numbers only, and not all lines of two: by what makes sense."""
    heads = [first for _, (first, *_) in neighbours]
    listed = (
        len(set(heads)) == len(heads)
        and all(len(set(words)) == len(words) for _, words in neighbours)
        and {peer for _, words in neighbours for peer in words} == set(range(peers))
    )
    odd = next(((w, words) for w, words in lines if not 2 <= len(words) <= 3), None)
    if odd is None and not listed:
        return _edges(lines)
    if not listed:
        assert odd is not None
        where, words = odd
        if len(words) == 1:
            return _edges(lines)  # says what is wrong with the line
        raise UserError(
            f"graph.file: {where}: more than a weight follows the two peers "
            f"({reprlib.repr(' '.join(words))}); write one link a line, or each peer on one line "
            "with its neighbours behind it"
        )
    if odd is None and {int(end) for _, words in lines for end in words[:2]} == set(range(peers)):
        where, words = next((w, words) for w, words in lines if len(words) == 3)
        raise UserError(
            f"graph.file: {where}: {' '.join(words)!r} may be a link and its weight, or a peer and "
            f"two neighbours; write weights with a point ({words[2]}.0), or one link a line"
        )
    found = [(where, words[0], other) for where, words in neighbours for other in words[1:]]
    return set(range(peers)), found


def _edges(lines: list[tuple[str, list[str]]]) -> tuple[set[int], Found]:
    links = []
    for where, words in lines:
        if len(words) < 2 or not all(_WHOLE.fullmatch(word) for word in words[:2]):
            raise UserError(
                f"graph.file: {where}: must begin with two peers' numbers, "
                f"not {reprlib.repr(' '.join(words))}"
            )
        if len(words) > 3 and all(_WHOLE.fullmatch(word) for word in words):
            raise UserError(
                f"graph.file: {where}: more than a weight follows the two peers "
                f"({reprlib.repr(' '.join(words))}); write one link a line"
            )
        links.append((where, int(words[0]), int(words[1])))
    # a file without links can only mean one peer by itself
    return {peer for _, *ends in links for peer in ends} or {0}, links


def _graphml(file: Path, content: bytes) -> tuple[set[int], Found]:
    """Nodes and edges of the first graph; what else the file says of them plays no part."""
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError, MemoryError) as error:
        raise UserError(f"graph.file: {file} is not GraphML: {first_line(error)}") from None
    graph = next((element for element in root if _tag(element) == "graph"), None)
    if _tag(root) != "graphml" or graph is None:
        raise UserError(
            f"graph.file: {file} is not GraphML: it holds <{_tag(root)}>, and not a graph in "
            "<graphml>"
        )
    nodes, links = set(), []
    for element in graph.iter():
        kind = _tag(element)
        if kind == "hyperedge":
            raise UserError(f"graph.file: {file} has a hyperedge; a link joins two peers")
        if kind == "node":
            nodes.add(_number(file, element.get("id", "")))
        elif kind == "edge":
            ends = [element.get("source", ""), element.get("target", "")]
            one, other = (_number(file, end) for end in ends)
            links.append((f"{file}, edge {'-'.join(ends)}", one, other))
            nodes |= {one, other}
    return nodes, links


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _number(file: Path, node: str) -> int:
    # "n4" is how yEd, igraph and the GraphML primer itself write node 4
    number = node.removeprefix("n")
    if not _WHOLE.fullmatch(number):
        raise UserError(
            f"graph.file: {file}: node ids must be peers' numbers, such as 4 or n4, "
            f"not {reprlib.repr(node)}"
        )
    return int(number)

"""From what an experiment says under ``graph:`` to a networkx graph."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx

from topology.errors import UserError
from topology.families import FAMILIES, Family
from topology.settings import kind_and_settings, known_name, number, refuse_unknown, whole

Link = tuple[int, int]

SHOWN = 5
"""How many peers an error lists; the others it counts."""


def build_graph(
    spec: str | Mapping[str, Any],
    peers: int,
    seed: int,
    folder: Path | None = None,
    connected: bool = True,
) -> nx.Graph[int]:
    """The graph that an experiment describes: connected, undirected, without self-loops.

    Args:
        spec: a family's name (see :data:`topology.FAMILIES`; case and underscores are forgiven),
            or one of ``{family: name, ...its parameters}``, ``{edges: [[0, 1], ...]}`` and
            ``{file: path}``. A file holds one link a line, two peers and whatever may follow them
            (``#`` starts a comment), or GraphML where its name ends in ``.graphml``; links are
            undirected, and weights in the file are ignored.
        peers: how many peers there are; with one, every family is that peer alone.
        seed: of the random families, and nothing else draws; ``seed`` among a random family's
            parameters takes its place.
        folder: what a relative path starts from; the working directory by default.
        connected: whether a graph that falls into parts is refused; one round's graph may.

    Returns:
        A graph whose nodes are the integers 0 to peers - 1, in order, its edges sorted; frozen.
        The same arguments give the same graph in any process and on any machine.

    Raises:
        UserError: naming the key, where spec, peers or seed is not one of the above, a file cannot
            be read, or the graph falls into parts.
    """
    peers = whole("peers", peers, least=1)
    seed = whole("seed", seed, least=0)
    graph = graph_of(_links(spec, peers, seed, folder), peers)
    if connected:
        refuse_parts("graph: falls", graph)
    return graph


def graph_of(links: Iterable[Link], peers: int) -> nx.Graph[int]:
    """The graph of all the peers and these links, nodes and edges in sorted order.

    It is frozen, so that what :mod:`topology.laplacian` computes of it once stays right.
    """
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(peers))
    graph.add_edges_from(sorted({(min(link), max(link)) for link in links}))
    nx.freeze(graph)
    return graph


def refuse_parts(what: str, graph: nx.Graph[int]) -> None:
    """Refuse a graph in which some peer cannot be reached from another.

    Args:
        what: the beginning of the error: the key, and a verb for what falls into parts.
        graph: of all the peers.

    Raises:
        UserError: naming the peers of the smallest part.
    """
    parts = [sorted(part) for part in nx.connected_components(graph)]
    if len(parts) > 1:
        smallest = min(parts, key=lambda part: (len(part), part[0]))
        listed = ", ".join(str(peer) for peer in smallest[:SHOWN])
        more = f" and {len(smallest) - SHOWN} more" if len(smallest) > SHOWN else ""
        raise UserError(
            f"{what} into {len(parts)} parts, the smallest being "
            f"peer{'s' if len(smallest) > 1 else ''} {listed}{more}; "
            f"links must lead from every peer to every other"
        )


def _links(spec: object, peers: int, seed: int, folder: Path | None) -> Iterable[Link]:
    if isinstance(spec, str):
        return _family_links("graph", spec, {}, peers, seed)
    kinds = ("family", "edges", "file")
    kind, settings = kind_and_settings("graph", spec, kinds, "a family's name")
    value = settings.pop(kind)
    if kind == "family":
        return _family_links("graph.family", value, settings, peers, seed)
    refuse_unknown("graph", settings, (), f"beside {kind}")
    if kind == "edges":
        return _listed_links(value, peers)
    return _file_links(value, peers, folder)


def _family_links(
    where: str, name: object, settings: Mapping[str, object], peers: int, seed: int
) -> Iterable[Link]:
    name = known_name(where, name, FAMILIES, "family", "families")
    family = FAMILIES[name]
    parameters = _parameters(name, family, settings)
    own_seed = parameters.pop("seed", seed)
    if peers == 1:
        return []  # the centralised baseline: whatever the family, one peer by itself
    graph = family.build(peers, *([own_seed] if family.random else []), **parameters)
    return graph.edges


def _parameters(name: str, family: Family, settings: Mapping[str, object]) -> dict[str, Any]:
    known = dict(family.parameters) | ({"seed": int} if family.random else {})
    refuse_unknown("graph", settings, known, f"of {name}")
    typed: dict[str, Any] = {}
    for key, value in settings.items():
        where = f"graph.{key}"
        if key == "seed":
            typed[key] = whole(where, value, least=0)
        else:
            typed[key] = whole(where, value) if known[key] is int else number(where, value)
    return typed


def _listed_links(edges: object, peers: int) -> list[Link]:
    if not isinstance(edges, list | tuple):
        raise UserError(
            f"graph.edges: must be a list of pairs, such as [[0, 1], [1, 2]], "
            f"not {reprlib.repr(edges)}"
        )
    links = []
    for place, edge in enumerate(edges):
        where = f"graph.edges[{place}]"
        if not isinstance(edge, list | tuple) or len(edge) != 2:
            raise UserError(f"{where}: must be two peers, not {reprlib.repr(edge)}")
        links.append(_link(where, whole(where, edge[0]), whole(where, edge[1]), peers))
    return links


def _file_links(path: object, peers: int, folder: Path | None) -> list[Link]:
    if not isinstance(path, str | Path) or not str(path):
        raise UserError(f"graph.file: must be a path, not {reprlib.repr(path)}")
    file = (folder or Path()) / path
    read = _graphml if file.suffix.lower() == ".graphml" else _edge_list
    try:
        nodes, found = read(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"graph.file: cannot read {file}: {reason}") from error
    if len(nodes) != peers:
        raise UserError(f"graph.file: {file} holds {len(nodes)} peers, and peers is {peers}")
    return [_link(f"graph.file: {where}", one, other, peers) for where, one, other in found]


# What a file says: the peers that it names, and its links, each with the place to blame.
Found = tuple[set[int], list[tuple[str, int, int]]]


def _edge_list(file: Path) -> Found:
    links = []
    for place, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        where = f"{file}, line {place}"
        words = line.partition("#")[0].replace(",", " ").split()
        if words:
            try:
                one, other = (int(word) for word in words[:2])
            except ValueError as error:
                raise UserError(
                    f"graph.file: {where}: must begin with two peers' numbers, "
                    f"not {reprlib.repr(line.strip())}"
                ) from error
            links.append((where, one, other))
    # a file without links can only mean one peer by itself
    return {peer for _, *ends in links for peer in ends} or {0}, links


def _graphml(file: Path) -> Found:
    with file.open("rb") as opened:
        try:
            graph = nx.read_graphml(opened)
        except (nx.NetworkXError, ElementTree.ParseError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"graph.file: {file} is not GraphML: {reason}") from error
    number = {node: _graphml_number(file, node) for node in graph}
    links = [(f"{file}, edge {a}-{b}", number[a], number[b]) for a, b in graph.edges()]
    return set(number.values()), links


def _graphml_number(file: Path, node: str) -> int:
    # "n4" is how yEd, igraph and the GraphML primer itself write node 4
    try:
        return int(node.removeprefix("n"))
    except ValueError as error:
        raise UserError(
            f"graph.file: {file}: node ids must be peers' numbers, such as 4 or n4, "
            f"not {reprlib.repr(node)}"
        ) from error


def _link(where: str, one: int, other: int, peers: int) -> Link:
    for peer in (one, other):
        if not 0 <= peer < peers:
            raise UserError(
                f"{where}: there is no peer {peer}; peers are numbered 0 to {peers - 1}"
            )
    if one == other:
        raise UserError(f"{where}: links peer {one} to itself; a link joins two peers")
    return one, other

"""From what an experiment says under ``graph:`` to a networkx graph."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import networkx as nx

from topology.errors import UserError
from topology.families import FAMILIES, Family
from topology.graph_files import read_links
from topology.settings import kind_and_settings, known_name, number, refuse_unknown, whole

Link = tuple[int, int]

MOST_COMPLETE = 20_000
"""Peers of a complete graph, at most: 200 million links."""

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
            ``{file: path}``, see ``topology/graph_files.py``.
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
    found = read_links(value, peers, folder)
    return [_link(f"graph.file: {where}", one, other, peers) for where, one, other in found]


def _family_links(
    where: str, name: object, settings: Mapping[str, object], peers: int, seed: int
) -> Iterable[Link]:
    name = known_name(where, name, FAMILIES, "family", "families")
    family = FAMILIES[name]
    parameters = _parameters(name, family, settings)
    own_seed = parameters.pop("seed", seed)
    if peers == 1:
        return []  # the centralised baseline: whatever the family, one peer by itself
    if name == "complete" and peers > MOST_COMPLETE:
        raise UserError(
            f"{where}: complete among {peers} peers is {peers * (peers - 1) // 2:,} links, more "
            "than memory holds; choose a sparser family, such as exponential"
        )
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


def _link(where: str, one: int, other: int, peers: int) -> Link:
    for peer in (one, other):
        if not 0 <= peer < peers:
            raise UserError(
                f"{where}: there is no peer {peer}; peers are numbered 0 to {peers - 1}"
            )
    if one == other:
        raise UserError(f"{where}: links peer {one} to itself; a link joins two peers")
    return one, other

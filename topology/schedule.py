"""Graphs that change from round to round.

The graph of a round follows from the experiment's seed and the round's number alone, so that every
peer knows it without asking, whichever round it starts in or comes back in.
"""

from __future__ import annotations

import reprlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from topology.errors import UserError
from topology.graph import Link, build_graph, graph_of, refuse_parts
from topology.laplacian import ends
from topology.settings import known_name, one_kind, refuse_unknown, whole
from topology.spectral import schedule_eigenvalue, second_eigenvalue
from topology.weights import RuleSpec, neighbour_weights, sparse_weights

REMEMBERED = 8
"""How many rounds' graphs a schedule caches, where it draws them."""

KINDS = ("one-peer-exponential", "random-matching")
"""What an experiment may name under ``graph.schedule``."""


class Schedule:
    """The graph of every round, and of all rounds together.

    Args:
        draw: from the place in the schedule, 0, 1, 2..., to its graph, on all the peers; it may
            fall into parts.
        union: all the links that draw can ever give, and no others, connected.
        length: after how many places the graphs repeat; None where they never do.
        every: how many rounds each place lasts.
        name: of the kind, for :meth:`facts`.
    """

    def __init__(
        self,
        draw: Callable[[int], nx.Graph[int]],
        union: nx.Graph[int],
        length: int | None,
        every: int = 1,
        name: str = "cycle",
    ) -> None:
        self._draw = lru_cache(maxsize=REMEMBERED)(draw)
        self._union = union
        self._length = length
        self._every = every
        self._name = name

    def graph(self, round: int) -> nx.Graph[int]:
        """The graph of a round, on nodes 0 to peers - 1; perhaps not connected.

        Args:
            round: 0 or more.
        """
        if round < 0:
            raise ValueError(f"rounds are numbered from 0, not {round}")
        place = round // self._every
        return self._draw(place if self._length is None else place % self._length)

    def takes_part(self, peer: int, round: int) -> bool:
        """Whether ``peer`` is one of those that train in that round: here, always."""
        return True

    def union(self) -> nx.Graph[int]:
        """All the links that ever occur, those that peers must hold open; connected."""
        return self._union

    @property
    def static(self) -> bool:
        """Whether every round has the same graph."""
        return self._length == 1

    @property
    def period(self) -> int | None:
        """After how many rounds the graphs repeat; None where they never do."""
        if self._length is None:
            return None
        return 1 if self.static else self._length * self._every

    def one_period(self) -> list[nx.Graph[int]]:
        """The graphs of the rounds of one period, in order.

        Raises:
            ValueError: where graphs never repeat.
        """
        if self.period is None:
            raise ValueError(f"a schedule of {self._name} has no period")
        return [self.graph(round) for round in range(self.period)]

    def facts(self) -> list[Any]:
        """What peers must agree on, in types that JSON knows; a static graph's is its edges."""
        if self.static:
            return _edges(self._union)
        graphs = [] if self._length is None else [self._draw(p) for p in range(self._length)]
        return [self._name, self._every, _edges(self._union), *map(_edges, graphs)]


def build_schedule(
    spec: str | Mapping[str, Any], peers: int, seed: int, folder: Path | None = None
) -> Schedule:
    """The schedule that an experiment describes under ``graph:``.

    Args:
        spec: any of :func:`topology.build_graph`, for the same graph in every round, or one of

            ``{cycle: [spec, ...]}``: these graphs in turn. Each may fall into parts, all their
            links together may not. Random families draw from the same seed: give each its own.

            ``{schedule: one-peer-exponential}``: in round r peer k exchanges with
            ``k xor 2^(r mod m)``, ``m = ceil(log2(peers))``, or with nobody where there is no such
            peer. See :func:`one_peer_exponential`.

            ``{schedule: random-matching, of: spec}``: a random maximal matching of the links of any
            graph (``complete`` by default), drawn anew in every round; ``seed`` takes the place of
            the experiment's. See :func:`random_matching`.

            ``every: n`` beside the last three keeps each graph for n rounds.
        peers: how many peers there are; with one, nobody ever exchanges.
        seed: of random families, as in :func:`topology.build_graph`, and of random matchings.
        folder: what a relative path starts from; the working directory by default.

    Raises:
        UserError: naming the key at fault.
    """
    if not isinstance(spec, Mapping):
        return _static(spec, peers, seed, folder)
    settings = {str(key): value for key, value in spec.items()}
    kinds = ("family", "edges", "file", "schedule", "cycle")
    kind = one_kind("graph", settings, kinds)
    if kind not in ("schedule", "cycle"):
        return _static(spec, peers, seed, folder)
    peers = whole("peers", peers, least=1)
    seed = whole("seed", seed, least=0)
    every = whole("graph.every", settings.pop("every", 1), least=1)
    if kind == "cycle":
        specs = settings.pop("cycle")
        refuse_unknown("graph", settings, ("every",), "beside cycle")
        return _cycle(specs, peers, seed, folder, every)
    given = settings.pop("schedule")
    name = known_name(
        "graph.schedule", given, KINDS, "schedule", "schedules", otherwise="; or use cycle"
    )
    if name == "one-peer-exponential":
        refuse_unknown("graph", settings, ("every",), "of one-peer-exponential")
        places = max(1, (peers - 1).bit_length())
        graphs = [one_peer_exponential(peers, place) for place in range(places)]
        return _in_turn(graphs, peers, every, "one-peer-exponential")
    refuse_unknown("graph", settings, ("of", "seed", "every"), "of random-matching")
    own = whole("graph.seed", settings.get("seed", seed), least=0)
    base = _part("graph.of", settings.get("of", "complete"), peers, seed, folder)
    refuse_parts("graph.of: falls", base)
    return _matchings(base, own, every)


def one_peer_exponential(peers: int, place: int) -> nx.Graph[int]:
    """The matching in which peer k exchanges with ``k xor 2^place``, where there is such a peer.

    Where peers is a power of two, all of them are matched, and after log2(peers) rounds with
    weights of one half every peer has the exact mean. Where it is not, some have no partner in some
    rounds and keep their values; each pass over all places then shrinks the distance to the mean,
    in the long run by more than half. All links together are connected for any number of peers,
    because clearing a bit of a peer's number leads to a smaller one.

    Source: the one-peer exponential graph of Ying et al., "Exponential Graph is Provably Efficient
    for Decentralized Deep Training" (2021, arXiv:2110.13363), is directed: peer k sends to
    k + 2^place and receives from k - 2^place, modulo peers; its weights are doubly stochastic for
    any number of peers but not symmetric. Here the two ends of a link exchange, as everywhere in
    hearsay, so that one gains what the other loses even when a link fails.
    """
    partners = ((peer, peer ^ 1 << place) for peer in range(peers))
    return graph_of(((one, other) for one, other in partners if other < peers), peers)


def random_matching(base: nx.Graph[int], seed: int, place: int) -> nx.Graph[int]:
    """A random maximal matching: links of ``base`` in random order, those with both ends free.

    Links are sorted by one 64-bit word each from the seed sequence (seed, "schedule", place). numpy
    guarantees those words for all versions, unlike the draws of a generator.
    """
    links = ends(base)
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"schedule"), place))
    order = np.argsort(sequence.generate_state(len(links), np.uint64), kind="stable")
    links = links[order]
    chosen: list[Link] = []
    while len(links):
        # taking links one by one would take each that is first at both its ends: take them at once
        number = np.arange(len(links))
        first = np.full(len(base), len(links))
        np.minimum.at(first, links, number[:, None])
        taken = (first[links] == number[:, None]).all(axis=1)
        chosen += map(tuple, links[taken].tolist())
        free = np.ones(len(base), dtype=np.bool_)
        free[links[taken]] = False
        links = links[free[links].all(axis=1)]
    return graph_of(chosen, len(base))


def check_weights(schedule: Schedule, rule: RuleSpec) -> None:
    """Refuse a rule of weights that does not fit the graph of some round.

    Raises:
        UserError: naming the key; also for a given matrix where graphs change, since it weighs the
            links of one graph only.
    """
    if isinstance(rule, Mapping) and not schedule.static:
        for key in ("matrix", "file"):
            if key in rule:
                raise UserError(f"weights.{key}: is of one graph, and graph changes with rounds")
    graphs = [schedule.graph(0)] if schedule.period is None else schedule.one_period()
    for graph in {id(graph): graph for graph in graphs}.values():
        neighbour_weights(graph, rule, 0)


def contraction(schedule: Schedule, rule: RuleSpec) -> float | None:
    """lambda_2 of the combination weights: a combine multiplies the root of disagreement by it.

    Where graphs change in a cycle, it is the geometric mean over the cycle's rounds; None where
    graphs are drawn anew in every round.
    """
    if schedule.period is None:
        return None
    matrices = [sparse_weights(graph, rule) for graph in schedule.one_period()]
    if len(matrices) == 1:
        return second_eigenvalue(matrices[0])
    return float(schedule_eigenvalue(matrices) ** (1 / len(matrices)))


def _static(spec: Any, peers: int, seed: int, folder: Path | None) -> Schedule:
    graph = build_graph(spec, peers, seed, folder)
    return Schedule(lambda place: graph, graph, length=1)


def _cycle(specs: object, peers: int, seed: int, folder: Path | None, every: int) -> Schedule:
    if not isinstance(specs, list | tuple) or not specs:
        raise UserError(
            f"graph.cycle: must be a list of graphs, such as [ring, {{edges: [[0, 1]]}}], "
            f"not {reprlib.repr(specs)}"
        )
    graphs = [
        _part(f"graph.cycle[{place}]", spec, peers, seed, folder)
        for place, spec in enumerate(specs)
    ]
    return _in_turn(graphs, peers, every, "cycle")


def _part(where: str, spec: Any, peers: int, seed: int, folder: Path | None) -> nx.Graph[int]:
    """One graph of a schedule, which need not be connected; errors blame ``where``."""
    try:
        return build_graph(spec, peers, seed, folder, connected=False)
    except UserError as error:
        line = str(error)
        blamed = line.startswith("graph")
        raise UserError(where + line.removeprefix("graph") if blamed else line) from error


def _in_turn(graphs: Sequence[nx.Graph[int]], peers: int, every: int, name: str) -> Schedule:
    union = graph_of((link for graph in graphs for link in graph.edges), peers)
    refuse_parts(f"graph.{name}: all links together fall", union)
    return Schedule(lambda place: graphs[place], union, len(graphs), every, name)


def _matchings(base: nx.Graph[int], seed: int, every: int) -> Schedule:
    def draw(place: int) -> nx.Graph[int]:
        return random_matching(base, seed, place)

    # with one link or none there is only one maximal matching: the schedule is static
    length = 1 if base.number_of_edges() < 2 else None
    return Schedule(draw, base, length, every, f"random-matching {seed}")


def _edges(graph: nx.Graph[int]) -> list[list[int]]:
    return [list(link) for link in sorted((min(link), max(link)) for link in graph.edges)]

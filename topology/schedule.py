"""Graphs that change from round to round.

A schedule answers which graph a round has, from the experiment's seed and the round's number
alone, so that every peer knows it without asking, in whatever round it starts or comes back.
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
from topology.names import plain, suggestion
from topology.settings import one_kind, refuse_unknown, whole
from topology.spectral import schedule_eigenvalue, second_eigenvalue
from topology.weights import RuleSpec, neighbour_weights, sparse_weights

REMEMBERED = 8
"""How many rounds' graphs a schedule keeps, where it draws them."""

KINDS = ("one-peer-exponential", "random-matching")
"""What an experiment may name under ``graph.schedule``."""


class Schedule:
    """The graph of every round, and of all rounds together.

    Args:
        draw: from the place in the schedule, 0, 1, 2..., to its graph, on all the peers; it may
            fall into parts.
        union: all the links that draw can ever give, and no others, connected.
        length: after how many places the graphs come again; None where they never do.
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

    def union(self) -> nx.Graph[int]:
        """All the links that ever occur, those that peers must hold open; connected."""
        return self._union

    @property
    def static(self) -> bool:
        """Whether every round has the same graph."""
        return self._length == 1

    @property
    def period(self) -> int | None:
        """After how many rounds the graphs come again; None where they are drawn for ever."""
        if self._length is None:
            return None
        return 1 if self.static else self._length * self._every

    def one_period(self) -> list[nx.Graph[int]]:
        """The graphs of the rounds of one period, in order.

        Raises:
            ValueError: where graphs are drawn for ever.
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
    name = settings.pop("schedule")
    if not isinstance(name, str):
        raise UserError(f"graph.schedule: must be a name, not {reprlib.repr(name)}")
    match plain(name):
        case "one-peer-exponential":
            refuse_unknown("graph", settings, ("every",), "of one-peer-exponential")
            places = max(1, (peers - 1).bit_length())
            graphs = [one_peer_exponential(peers, place) for place in range(places)]
            return _in_turn(graphs, peers, every, "one-peer-exponential")
        case "random-matching":
            refuse_unknown("graph", settings, ("of", "seed", "every"), "of random-matching")
            own = whole("graph.seed", settings.get("seed", seed), least=0)
            base = _part("graph.of", settings.get("of", "complete"), peers, seed, folder)
            refuse_parts("graph.of: falls", base)
            return _matchings(base, own, every)
    raise UserError(
        f"graph.schedule: there is no schedule {reprlib.repr(name)}{suggestion(name, KINDS)} "
        f"(schedules: {', '.join(KINDS)}; or use cycle)"
    )


def one_peer_exponential(peers: int, place: int) -> nx.Graph[int]:
    """The matching in which peer k exchanges with ``k xor 2^place``, where there is such a peer.

    Where peers is a power of two, all of them are matched, and log2(peers) rounds of halves give
    every peer the exact mean. Where it is not, some have no partner in some rounds (the round's
    weights leave them as they are), and each pass over all places brings them nearer to the mean,
    in the long run by more than half of the way. All links together are connected for any number
    of peers, for clearing a bit of one's number leads to a smaller one.

    Source: the one-peer exponential graph of Ying et al., "Exponential Graph is Provably Efficient
    for Decentralized Deep Training" (2021), is directed: peer k sends to k + 2^place and receives
    from k - 2^place, round the circle, and its weights are doubly stochastic for any number of
    peers but not symmetric. Here the two ends of a link exchange, as they do everywhere in
    hearsay, so that what one gains the other loses also when a link fails.
    """
    partners = ((peer, peer ^ 1 << place) for peer in range(peers))
    return graph_of(((one, other) for one, other in partners if other < peers), peers)


def random_matching(base: nx.Graph[int], seed: int, place: int) -> nx.Graph[int]:
    """A random maximal matching: links of ``base`` in random order, those with both ends free.

    The order is that of one 64-bit word a link, of the seed sequence (seed, "schedule", place):
    numpy keeps a seed sequence's words as they are for ever, and a generator's draws it may change.
    """
    links = ends(base)
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"schedule"), place))
    order = np.argsort(sequence.generate_state(len(links), np.uint64), kind="stable")
    links = links[order]
    chosen: list[Link] = []
    while len(links):
        # link by link, the first at both its ends is taken sooner or later: take all such at once
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
        UserError: naming the key; also for a given matrix where graphs change, which has no say on
            what the links that are away would have weighed.
    """
    if isinstance(rule, Mapping) and not schedule.static:
        for key in ("matrix", "file"):
            if key in rule:
                raise UserError(f"weights.{key}: is of one graph, and graph changes with rounds")
    graphs = [schedule.graph(0)] if schedule.period is None else schedule.one_period()
    for graph in {id(graph): graph for graph in graphs}.values():
        neighbour_weights(graph, rule, 0)


def contraction(schedule: Schedule, rule: RuleSpec) -> float | None:
    """lambda_2 of the combination weights: how much of the disagreement's root a combine leaves.

    Where graphs change in a cycle, the geometric mean over its rounds; None where they are drawn
    for ever.
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
    """A graph that is part of a schedule, perhaps itself in parts; errors blame ``where``."""
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

    # a matching of nothing or of one link is always the same, and so then is the schedule
    length = 1 if base.number_of_edges() < 2 else None
    return Schedule(draw, base, length, every, f"random-matching {seed}")


def _edges(graph: nx.Graph[int]) -> list[list[int]]:
    return [list(link) for link in sorted((min(link), max(link)) for link in graph.edges)]

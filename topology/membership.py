"""Who takes part in which round: a set of changes, and the graph of every round that follows.

A peer joins, leaves or is forgotten *from a named round on*. What a network knows of this is a set
of such changes that only grows, so two sets that meet are joined, in whatever order and however
often (a grow-only set: Shapiro et al. 2011, doi:10.1007/978-3-642-24550-3_29). The graph of a round
is a pure function of the experiment's own graph and of the changes that are in effect by then:
peers that know the same changes use the same graph, and the same weights at both ends of a link.

A peer that takes no part keeps its id and loses its links. Weights follow from the graph that is
left, by the experiment's rule: they are those of a network that never had that peer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import networkx as nx

from topology.graph import graph_of
from topology.schedule import Schedule

Kind = Literal["join", "leave", "forget"]
"""join: it takes part; leave: it said that it goes; forget: others were told that it is gone."""

KINDS: tuple[Kind, ...] = ("join", "leave", "forget")

MARGIN = 2
"""Rounds beyond a change's way through the network: the one at hand, and one that is begun."""


FAR = 2**32
"""A round that none ever comes to: what is in effect then is all that is known."""

MOST_CHANGES = 1024
"""Of one network, at most: all of them fit into one message."""

MOST_LINKS = 256
"""Of one peer that joins."""

NEWCOMERS = 1024
"""Ids beyond those that an experiment lists, at most."""

MOST_IDS = 1_000_000
"""An id is below that."""


@dataclass(frozen=True, order=True)
class Change:
    """From round ``round`` on, ``peer`` takes part, or takes no part any more.

    Attributes:
        round: from 0; the first one that it concerns.
        peer: whom it is about.
        kind: what happens.
        by: the peer that said so first.
        links: of a peer that joins, its neighbours; none: those that the experiment's graph gives
            it. Links to peers that take no part are none.
    """

    round: int
    peer: int
    kind: Kind
    by: int
    links: tuple[int, ...] = ()


@dataclass(frozen=True)
class Membership:
    """A set of changes, in order; none: everybody that the experiment lists takes part."""

    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, changes: Iterable[Change]) -> Membership:
        """The set of these changes, whatever their order and number."""
        return cls(tuple(sorted(set(changes))))

    def to_words(self) -> list[list[Any]]:
        """The changes in types that msgpack knows."""
        return [[c.round, c.peer, c.kind, c.by, list(c.links)] for c in self.changes]

    @classmethod
    def from_words(cls, words: object, ids: int = MOST_IDS) -> Membership:
        """What :meth:`to_words` wrote, of a network whose ids are below ``ids``.

        Raises:
            ValueError: it is anything else; it may come from a stranger.
        """
        if not isinstance(words, list) or len(words) > MOST_CHANGES:
            raise ValueError(f"changes are a list of {MOST_CHANGES} at most")
        return cls.of(_change(each, ids) for each in words)

    def joined(self, other: Membership) -> Membership:
        """All that either knows."""
        is_news = not set(other.changes) <= set(self.changes)
        return self.of(self.changes + other.changes) if is_news else self

    @cached_property
    def mark(self) -> str:
        """A digest of the whole set; empty where it is."""
        return _digest(self.changes)

    def epoch(self, round: int) -> int:
        """A number for what is in effect in a round, the same wherever that is; 0: nothing is."""
        return int(_digest(self._in_effect(round))[:8] or "0", 16)

    def last(self, peer: int, round: int) -> Change | None:
        """The change that decides about ``peer`` in a round; None where nothing ever changed."""
        about = [change for change in self._in_effect(round) if change.peer == peer]
        return about[-1] if about else None

    def takes_part(self, peer: int, round: int, peers: int) -> bool:
        """Whether ``peer`` does in that round, of an experiment that lists ``peers``."""
        last = self.last(peer, round)
        return peer < peers if last is None else last.kind == "join"

    def departure(self, peer: int, round: int) -> Change | None:
        """The change by which ``peer`` takes no part in that round, if there is one."""
        last = self.last(peer, round)
        return None if last is None or last.kind == "join" else last

    def joining(self, peer: int) -> Change | None:
        """The change by which ``peer`` takes part, or will; None where there is none."""
        last = self.last(peer, FAR)
        return last if last is not None and last.kind == "join" else None

    def graph(self, base: nx.Graph[int], round: int) -> nx.Graph[int]:
        """``base``, the experiment's graph, as it is in a round: itself, where nothing changed."""
        return _changed(base, self._in_effect(round))

    def schedule(self, base: Schedule) -> Schedule:
        """The graph of every round, from that of the experiment."""
        return MemberSchedule(base, self) if self.changes else base

    def _in_effect(self, round: int) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.round <= round)


class MemberSchedule(Schedule):
    """An experiment's schedule, with the changes of a membership.

    Args:
        base: what the experiment says.
        members: what has changed.
    """

    def __init__(self, base: Schedule, members: Membership) -> None:
        self._base = base
        self._members = members
        self._listed = len(base.union())
        links = [*base.union().edges]
        links += [(change.peer, k) for change in members.changes for k in change.links]
        named = (change.peer for change in members.changes)
        ids = max([self._listed - 1, *named, *(k for link in links for k in link)])
        union = graph_of(links, ids + 1)
        super().__init__(self._of_round, union, length=None, name="members")

    def _of_round(self, round: int) -> nx.Graph[int]:
        return self._members.graph(self._base.graph(round), round)

    def takes_part(self, peer: int, round: int) -> bool:
        """Whether ``peer`` is one of those that train in that round."""
        return self._members.takes_part(peer, round, self._listed)


def rounds_ahead(graph: nx.Graph[int], peer: int, without: int | None = None) -> int:
    """In how many rounds a change may take effect that ``peer`` tells its neighbours now.

    News travels with the values of a round at the latest: after the round that is begun, all
    neighbours know; after h more, all whose distance is h + 1.

    Args:
        graph: by which it travels.
        peer: who knows first.
        without: a peer that passes nothing on.
    """
    if without is not None and without != peer and without in graph:
        graph = nx.subgraph_view(graph, filter_node=lambda k: k != without)
    farthest = max(nx.single_source_shortest_path_length(graph, peer).values())
    return MARGIN + int(farthest)


@lru_cache(maxsize=64)
def _changed(base: nx.Graph[int], changes: tuple[Change, ...]) -> nx.Graph[int]:
    """``base`` with all of ``changes`` in effect."""
    if not changes:
        return base
    last = {change.peer: change for change in changes}  # they are in order
    gone = {peer for peer, change in last.items() if change.kind != "join"}
    moved = {peer for peer, change in last.items() if change.kind == "join" and change.links}
    links = [link for link in base.edges if not moved & {*link}]
    links += [(peer, k) for peer in moved for k in last[peer].links]
    here = ({*base} | moved) - gone
    ids = max([len(base) - 1, *last, *(k for link in links for k in link)])
    return graph_of((link for link in links if here >= {*link}), ids + 1)


def _change(words: object, ids: int) -> Change:
    """One change, as :meth:`Membership.to_words` writes it, that may be true.

    Raises:
        ValueError: it is none, or contradicts itself.
    """
    if not isinstance(words, list) or len(words) != 5:
        raise ValueError("a change has five parts")
    round, peer, kind, by, links = words
    if not isinstance(links, list) or len(links) > MOST_LINKS:
        raise ValueError(f"a peer has {MOST_LINKS} links at most")
    if any(type(k) is not int or not 0 <= k < ids for k in (peer, by, *links)):
        raise ValueError(f"ids are numbers from 0 to {ids - 1}")
    if type(round) is not int or not 0 <= round < 2**32:
        raise ValueError("rounds are numbers from 0")
    known = [each for each in KINDS if each == kind]
    if not known:
        raise ValueError(f"what happens is one of {', '.join(KINDS)}")
    if (kind == "leave" and by != peer) or (kind == "forget" and by == peer):
        raise ValueError("a peer leaves by its own word, and is forgotten by another's")
    if links and by not in (peer, *links):
        raise ValueError("who joins is let in by one that it has a link to")
    if (kind != "join" and links) or peer in links:
        raise ValueError("links are those of a peer that joins, to others")
    return Change(round, peer, known[0], by, tuple(sorted(set(links))))


def _digest(changes: tuple[Change, ...]) -> str:
    """Of changes in order; empty for none."""
    if not changes:
        return ""
    facts = repr([(c.round, c.peer, c.kind, c.by, c.links) for c in changes])
    return hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()

"""Who takes part, as one peer knows it, and how its neighbours come to know the same.

Each peer tells all that it knows (MEMBERS, with the set of changes as its body), and again every
two seconds until the neighbour has said that it knows as much (HEARD, or MEMBERS of the same mark).
What is heard is joined to what is known, and told on at once: before any value of a later exchange,
on a connection that keeps the order. So news is never behind the rounds that depend on it, unless
messages are lost; then the two ends of a link find that they know different things
(:attr:`peer.net.wire.Offer.epoch`), and do without each other in that exchange.

Pure, as the endpoint whose part it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import msgpack
import networkx as nx

from peer.net.link import Link
from peer.net.session import Phase
from peer.net.wire import CHUNK_SMALLEST, Heard, Join, Members, Message
from topology.errors import Isolation
from topology.membership import FAR, NEWCOMERS, Change, Kind, Membership, rounds_ahead

GRACE = 10.0
"""Seconds after the first that a peer that joins waits for its other neighbours."""

RETRY = 2.0
"""Seconds after which a neighbour is told again that has not said that it knows."""


@dataclass(frozen=True)
class Known:
    """More is known of who takes part: ``members`` is all of it, and ``news`` what is new."""

    members: Membership
    news: tuple[Change, ...]


class Roster:
    """What one peer knows of who takes part.

    Args:
        me: this peer.
        base: all links that the experiment lists.
        links: one a neighbour; more may come.
        tell: queues an event.
        members: what is known from the beginning, from a checkpoint.
    """

    def __init__(
        self,
        me: int,
        base: nx.Graph[int],
        links: Mapping[int, Link],
        tell: Callable[[Known], None],
        members: Membership | None = None,
    ) -> None:
        self.me = me
        self.base = base
        self.links = links
        self.members = members or Membership()
        self._tell = tell
        self._marks: dict[int, str] = {}  # of what each neighbour knows, as far as we know
        self._told_at: dict[int, float] = {}
        self._wish: tuple[int, ...] | None = None  # links that we want to take part with
        self._asked_at = float("-inf")
        self._up_at = float("inf")  # since when any neighbour is there

    # --- what is known ----------------------------------------------------------------------------

    def propose(
        self, kind: Kind, peer: int, round: int, now: float, links: tuple[int, ...] = ()
    ) -> Change:
        """We say that ``peer`` joins, leaves or is to be forgotten, after ``round`` rounds here."""
        round = max([round, *(link.session.at.round for link in self.links.values())])
        change = Change(round, peer, kind, self.me, tuple(sorted(set(links))))
        of = self.members.joined(Membership.of([change])) if kind == "join" else self.members
        without = peer if kind == "forget" else None
        ahead = rounds_ahead(of.graph(self.base, round), self.me, without)
        known = self.members.last(peer, FAR)  # what is said last of a peer holds in the end
        first = max(round + ahead, 0 if known is None else known.round + 1)
        change = replace(change, round=first)
        self._learn(Membership.of([change]), now)
        return change

    def _learn(self, told: Membership, now: float) -> None:
        """Join what is told to what is known, and tell it on."""
        joined = self.members.joined(told)
        if joined is self.members:
            return
        news = tuple(sorted(set(joined.changes) - set(self.members.changes)))
        self.members = joined
        self._tell(Known(joined, news))
        self._fulfil()
        self._told_at.clear()
        self.look(now)

    @property
    def ids(self) -> set[int]:
        """Everybody who is listed, or ever joined."""
        return {*self.base, *(change.peer for change in self.members.changes)}

    def is_exchanged(self, neighbour: int, round: int) -> bool:
        """Whether we and that neighbour have a link in that round, as far as we know."""
        if not self.members.changes:
            return True
        return self.members.graph(self.base, round).has_edge(self.me, neighbour)

    # --- who joins --------------------------------------------------------------------------------

    def wish(self, links: tuple[int, ...], now: float) -> None:
        """Ask to take part, by these links, until we are told from which round on."""
        self._wish = links
        self._fulfil()
        self._ask(now)

    def _fulfil(self) -> None:
        """Once we have been let in: the others are to know at once in which round we come."""
        joining = self.members.joining(self.me)
        if self._wish is not None and joining is not None:
            self._wish = None
            for link in self.links.values():
                link.session.rejoin(joining.round)

    def _ask(self, now: float) -> None:
        """Ask one neighbour that is there; two that were asked would name two rounds.

        Links to those that are not there, or do not let us in, are left out after a while: in the
        first round, whoever is awaited is waited for.
        """
        if self._wish is None or now - self._asked_at < RETRY:
            return
        wanted = self._wish or tuple(self.links)
        up = [k for k in wanted if k in self.links and self.links[k].phase is Phase.UP]
        if up and (len(up) == len(wanted) or now - self._up_at >= GRACE):
            self._asked_at = now
            self.links[up[0]].say(Join(up if self._wish else []))

    def asked(self, neighbour: int, links: list[int], now: float) -> None:
        """The neighbour asks to take part; it is told by MEMBERS."""
        at = max(link.session.at.round for link in self.links.values())
        joining = self.members.joining(neighbour)
        if joining is not None and joining.round > at:
            return  # it is told already
        others = tuple(k for k in links if k != neighbour)
        if others and self.me not in others:
            return  # whoever joins has a link to whom it asks
        self.propose("join", neighbour, 0, now, others)

    # --- what is told -----------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Tell those neighbours that do not know all, if it is time to."""
        self._ask(now)
        mark = self.members.mark
        for neighbour, link in self.links.items():
            knows = self._marks.get(neighbour, "") == mark
            is_due = now - self._told_at.get(neighbour, float("-inf")) >= RETRY
            if link.phase is Phase.UP and not knows and is_due:
                self._say(neighbour, now)

    def _say(self, neighbour: int, now: float) -> None:
        self._told_at[neighbour] = now
        body = msgpack.packb(self.members.to_words())
        self.links[neighbour].say(Members(self.members.mark, zlib.crc32(body)), memoryview(body))

    def connected(self, neighbour: int, now: float) -> None:
        """The neighbour is there; it may be another process, and what we told may be lost."""
        self._up_at = min(self._up_at, now)
        self._marks.pop(neighbour, None)
        self._told_at.pop(neighbour, None)
        self.look(now)

    def receive(self, neighbour: int, said: Message, body: memoryview | None, now: float) -> str:
        """The neighbour says something, perhaps of who takes part; returns what is wrong."""
        match said:
            case Heard(mark):
                self._marks[neighbour] = mark
            case Join(links):
                self.asked(neighbour, links, now)
            case Members():
                return self.told(neighbour, said, body, now)
        return ""

    def told(self, neighbour: int, message: Members, body: memoryview | None, now: float) -> str:
        """The neighbour tells what it knows; returns what is wrong with that, if anything is."""
        try:
            told = self._understood(message, body)
        except ValueError as problem:
            return str(problem)
        self._marks[neighbour] = told.mark
        self._learn(told, now)
        if self.members.mark == told.mark:
            self.links[neighbour].say(Heard(told.mark))
        else:
            self._say(neighbour, now)
        return ""

    def _understood(self, message: Members, body: memoryview | None) -> Membership:
        if body is None or len(body) > CHUNK_SMALLEST or zlib.crc32(body) != message.crc32:
            raise ValueError("it was damaged on its way")
        try:
            words = msgpack.unpackb(body)
        except Exception:  # msgpack raises a dozen kinds for hostile bytes; all mean the same
            raise ValueError("it is not msgpack") from None
        told = Membership.from_words(words, len(self.base) + NEWCOMERS)
        if told.mark != message.mark:
            raise ValueError("its digest is another one")
        return told


def forgotten(change: Change) -> Isolation:
    """What a peer ends with that the others were told to forget."""
    return Isolation(
        f"peer {change.peer} was forgotten from round {change.round + 1} on, as peer {change.by} "
        "was told: the others train without it; to come back, say --join"
    )


def in_words(change: Change) -> str:
    """A change as a line for the user."""
    round = f"round {change.round + 1}"
    match change.kind:
        case "join":
            links = ", ".join(map(str, change.links)) or "those of the file"
            return f"peer {change.peer} joins in {round}; its links: {links}"
        case "leave":
            return f"peer {change.peer} leaves: from {round} on it takes no part"
        case "forget":
            return f"peer {change.peer} is forgotten from {round} on, as peer {change.by} was told"

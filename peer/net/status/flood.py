"""How what one peer tells of itself comes to be known by all: STATUS floods over the graph.

Each peer tells its own *account* every :data:`EVERY` seconds, and what is newer than what it knows
of another it passes on: to every neighbour but the one that it has it from, and of one origin no
more often than every second half of that time, the newest only. It is told on a connection on which
nothing waits, and never more than one at a look: values and votes come first.

What may be believed:

- Of a neighbour whose link is up, what it tells itself, and nothing else.
- Of all others, the newest, by a number. A peer that was started anew is told by its neighbours
  what they know of it, and goes on behind that number: no clock is compared with another's.
- Ages are added up on the way, less what a message takes on each link. What is :data:`EXPIRES`
  intervals old is replaced by anything that was made later, whatever its number.

So whoever is in the graph can say what it likes of those that are no neighbours of its listener.
It cannot make memory grow: origins are those of the roster, with one entry a topic for each.

Pure, as the endpoint is; :attr:`Flood.known` may be read by any thread.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from peer.net.header.seal import WireError
from peer.net.link import Link
from peer.net.members.roster import Roster
from peer.net.session import Phase
from peer.net.status.account import LIMIT, RUNNING, Account, Picture
from peer.net.wire import TOPICS, Status

EVERY = 5.0
"""Seconds between two accounts of a peer, in networks of up to :data:`FEW` peers."""

FEW = 25
"""In larger ones they are rarer in proportion: what a link carries of them does not grow."""

PICTURES = 3
"""A picture is told every so many accounts."""

EXPIRES = 24
"""Intervals after which an entry stands no more in the way of another with a lower number."""

FURTHEST = 2**48
"""A number beyond it is no peer's own; it is not gone on behind."""

Key = tuple[int, str]
"""Whose, and of which topic."""


@dataclass(frozen=True)
class Entry:
    """The newest that is known of one peer.

    Attributes:
        number: the higher, the newer.
        made: when it was told by its origin, by our clock.
        said: what it is.
        body: the same, as bytes.
        via: the neighbour that it came from; None of ourselves.
    """

    number: int
    made: float
    said: Account | Picture
    body: bytes
    via: int | None = None


Source = Callable[[float, str], Iterator[tuple[str, bytes]]]
"""What there is to tell of ourselves now, by topic, being in that state."""


class Flood:
    """What one peer knows of all, and whom it is to tell.

    Args:
        roster: who may be spoken of.
        links: one a neighbour; more may come.

    Attributes:
        known: replaced whenever it changes, and never written to.
        source: what we tell of ourselves; nothing, if None.
        refused: how many STATUS were no such thing, or of nobody.
    """

    def __init__(self, roster: Roster, links: Mapping[int, Link]) -> None:
        self.me = roster.me
        self.known: Mapping[Key, Entry] = {}
        self.source: Source | None = None
        self.refused = 0
        self.roster = roster
        self._links = links
        self._numbers = dict.fromkeys(TOPICS, 0)  # of what we told last
        self._due: defaultdict[int, dict[Key, None]] = defaultdict(dict)  # by neighbour, in order
        self._told: dict[tuple[int, Key], tuple[float, int]] = {}  # when, and which number
        self._tell_at = float("-inf")

    @property
    def every(self) -> float:
        """Seconds between two accounts of one peer."""
        return EVERY * max(1.0, len(self.roster.base) / FEW)

    # --- what we tell of ourselves ----------------------------------------------------------------

    def look(self, now: float) -> None:
        """Tell what is due: at most one STATUS a neighbour."""
        if self.source is not None and now >= self._tell_at:
            self._tell_at = now + self.every
            self._tell(self.source(now, RUNNING), now)
        for neighbour, due in self._due.items():
            link = self._links.get(neighbour)
            if due and link is not None and link.phase is Phase.UP and not link.outbox:
                self._say_one(neighbour, link, now)

    def leave(self, reason: str, now: float) -> None:
        """We go, for one of :data:`peer.net.wire.REASONS`: tell it before we take leave."""
        if self.source is None:
            return
        self._tell(self.source(now, reason), now)
        for neighbour, link in self._links.items():
            if link.phase is Phase.UP and not link.outbox:
                self._say(neighbour, link, (self.me, TOPICS[0]), now)
        self.source = None

    def _tell(self, what: Iterator[tuple[str, bytes]], now: float) -> None:
        """What others would not read, as a name that is too long, ends nothing: it is left out."""
        try:
            for topic, body in what:
                said = _understood(topic, body)
                self._numbers[topic] += 1
                self._learn((self.me, topic), Entry(self._numbers[topic], now, said, body))
        except (ValueError, TypeError):
            self.refused += 1

    # --- what others tell -------------------------------------------------------------------------

    def receive(self, neighbour: int, status: Status, body: memoryview, now: float) -> None:
        """A neighbour tells something of a peer."""
        key = status.peer, status.topic
        if status.peer not in self.roster.ids:
            self.refused += 1
        elif status.peer == self.me:
            self._go_on_behind(status, now)
        elif self._is_news(neighbour, status, now):
            try:
                if len(body) > LIMIT or zlib.crc32(body) != status.crc32:
                    raise WireError("it was damaged on its way")
                copy = bytes(body)  # it lies in memory of the connection's
                said = _understood(status.topic, copy)
            except WireError:
                self.refused += 1
                return
            made = now - status.age / 1000
            self._learn(key, Entry(status.number, made, said, copy, neighbour))

    def _is_news(self, neighbour: int, status: Status, now: float) -> bool:
        link = self._links.get(status.peer)
        if link is not None and link.phase is Phase.UP and neighbour != status.peer:
            return False  # it tells us itself
        entry = self.known.get((status.peer, status.topic))
        if entry is None or status.number > entry.number:
            return True
        is_later = now - status.age / 1000 > entry.made
        is_another = status.number != entry.number
        return is_another and is_later and now - entry.made > EXPIRES * self.every

    def _go_on_behind(self, status: Status, now: float) -> None:
        """Others know something newer of us: what a process before this one told."""
        ours = self._numbers[status.topic]
        if not ours < status.number < FURTHEST:
            return
        self._numbers[status.topic] = status.number + 1
        entry = self.known.get((self.me, status.topic))
        if entry is not None:
            self._learn((self.me, status.topic), replace(entry, number=status.number + 1))

    def connected(self, neighbour: int) -> None:
        """The neighbour is there, perhaps as another process: it may know nothing."""
        for told in [each for each in self._told if each[0] == neighbour]:
            del self._told[told]
        self._due[neighbour] = dict.fromkeys(self.known)  # of itself, too: it goes on behind that

    def _learn(self, key: Key, entry: Entry) -> None:
        self.known = {**self.known, key: entry}
        for neighbour in self._links:
            if neighbour not in (entry.via, key[0]):
                self._due[neighbour].setdefault(key)

    # --- what is passed on ------------------------------------------------------------------------

    def _say_one(self, neighbour: int, link: Link, now: float) -> None:
        """The first that is due and was not told of only just now."""
        for key in self._due[neighbour]:
            told_at, number = self._told.get((neighbour, key), (float("-inf"), -1))
            if number == self.known[key].number:
                del self._due[neighbour][key]
                return
            if now - told_at >= self.every / 2:
                self._say(neighbour, link, key, now)
                return

    def _say(self, neighbour: int, link: Link, key: Key, now: float) -> None:
        entry = self.known[key]
        self._told[neighbour, key] = now, entry.number
        self._due[neighbour].pop(key, None)
        age = min(int(1000 * max(0.0, now - entry.made)), 2**32 - 1)
        header = Status(*key, entry.number, age, zlib.crc32(entry.body))
        link.say(header, memoryview(entry.body))


def _understood(topic: str, body: bytes) -> Account | Picture:
    """What a STATUS of that topic says.

    Raises:
        WireError: it is none.
    """
    return Account.from_bytes(body) if topic == TOPICS[0] else Picture.from_bytes(body)

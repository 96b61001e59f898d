"""Dialling neighbours: by number at once, by name when it is known, by its next number in turn."""

from __future__ import annotations

import queue
from collections.abc import Callable

from peer.experiment.addresses import name_in
from peer.net.away.contacts import Contact
from peer.net.reach.resolver import Find, Found, NotFound, Resolver
from peer.net.sockets import NoDescriptors, Sockets

NEXT = 3.0
"""Seconds without a connection after which a name's next number is tried."""

AGAIN = 1.0
"""Seconds after which a connection is tried again that could not even be begun."""


class Dialler:
    """Keeps the connections to neighbours, for the I/O thread.

    Args:
        sockets: the peer's.
        log: gets a line when a name is not known, and when it is.
        wake: wakes the I/O thread.
    """

    def __init__(
        self, sockets: Sockets, log: Callable[[str], None], wake: Callable[[], None]
    ) -> None:
        self.sockets = sockets
        self.log = log
        self.unknown: dict[int, str] = {}  # neighbours whose names are not known, and why
        self.names: dict[int, tuple[str, int]] = {
            k: named
            for k, address in sockets.addresses.items()
            if (named := name_in(address)) is not None
        }
        self._wake = wake
        self._news: queue.SimpleQueue[Found | NotFound] = queue.SimpleQueue()
        self._resolver = Resolver(self._tell)
        self._numbers: dict[int, tuple[str, ...]] = {}
        self._tried: dict[int, int] = {}  # which of them, counting on
        self._next_at: dict[int, float] = {}

    def find_by(self, find: Find) -> None:
        """Look names up in that way; to be called before the start."""
        self._resolver.find = find

    def start(self) -> None:
        """Ask for all names."""
        for neighbour in self.names:
            self.dial(neighbour, 0.0)

    def meet(self, neighbour: int, now: float) -> None:
        """There is another neighbour, or one at another address: dial it."""
        named = name_in(self.sockets.addresses[neighbour])
        self.names.pop(neighbour, None)
        if named is not None:
            self.names[neighbour] = named
        self._numbers.pop(neighbour, None)
        self.dial(neighbour, now)

    def dial(self, neighbour: int, now: float) -> None:
        """Make the connection to a neighbour anew; by name, as soon as that is known."""
        if neighbour in self.names:
            self._resolver.ask(neighbour, *self.names[neighbour])
        else:
            self._redial(neighbour, self.sockets.addresses[neighbour], now)

    def move(self, neighbour: int, address: str) -> None:
        """That neighbour is reached elsewhere, from the next :meth:`dial` on."""
        self.sockets.addresses[neighbour] = address
        self.names.pop(neighbour, None)
        self._numbers.pop(neighbour, None)
        named = name_in(address)
        if named is not None:
            self.names[neighbour] = named

    def look(self, now: float) -> None:
        """Take up what has been found, and try on where nothing answers."""
        while not self._news.empty():
            match self._news.get():
                case NotFound(neighbour, reason):
                    self.unknown[neighbour] = reason
                    self.log(f"peer {neighbour}: {reason}; asking again until it is")
                case Found(neighbour, numbers):
                    if self.unknown.pop(neighbour, None):
                        self.log(f"peer {neighbour}: its name is known now: {', '.join(numbers)}")
                    self._numbers[neighbour] = numbers
                    self._try(neighbour, now)
        for neighbour, at in list(self._next_at.items()):
            if now < at:
                continue
            contact = self.sockets.contacts[neighbour]
            if contact is Contact.THROUGH:
                del self._next_at[neighbour]
            elif contact is Contact.CONNECTED:  # ZeroMQ gives a handshake its time, and ends it
                self._next_at[neighbour] = now + NEXT
            elif neighbour in self._numbers:
                self._try(neighbour, now)
            else:
                self._redial(neighbour, self.sockets.addresses[neighbour], now)

    def is_slow(self, neighbour: int) -> bool:
        """Whether its name has been without an answer for long."""
        return self._resolver.is_slow(neighbour)

    def close(self) -> None:
        """Dial nobody any more."""
        self._resolver.close()

    def _tell(self, news: Found | NotFound) -> None:
        """Called by the threads that look names up."""
        self._news.put(news)
        self._wake()

    def _try(self, neighbour: int, now: float) -> None:
        """Connect to the next of a name's numbers."""
        numbers = self._numbers[neighbour]
        turn = self._tried.get(neighbour, 0)
        self._tried[neighbour] = turn + 1
        self._redial(neighbour, numbers[turn % len(numbers)], now)
        if len(numbers) > 1:
            self._next_at.setdefault(neighbour, now + NEXT)

    def _redial(self, neighbour: int, address: str, now: float) -> None:
        self._next_at.pop(neighbour, None)
        try:
            self.sockets.redial(neighbour, address)
        except NoDescriptors:
            self._next_at[neighbour] = now + AGAIN

"""Asking at a peer's desk (:mod:`peer.net.members.desk`), by a connection made for it."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Any, Self

from peer.net.away.contacts import Contact
from peer.net.header.seal import WireError
from peer.net.members.desk import decoded, encoded
from peer.net.reach.diagnosis import why_not_reached
from peer.net.reach.probe import NOWHERE, number_of
from peer.net.sockets import Security, Sockets

PATIENCE = 10.0
"""Seconds to wait for the connection, and for an answer."""

AGAIN = 2.0
"""Seconds after which a request is made once more: there may have been no room for it."""


class NotReached(Exception):
    """There was no answer, and why.

    Attributes:
        is_refused: the key opens nothing there.
    """

    def __init__(self, reason: str, is_refused: bool = False) -> None:
        super().__init__(reason)
        self.is_refused = is_refused


class Asking:
    """A connection to the desk of the peer at ``address``.

    Args:
        peer: whose.
        address: where it is.
        security: our keys, and its.

    Raises:
        NotReached: its name is not known.
    """

    def __init__(self, peer: int, address: str, security: Security) -> None:
        where, problem = number_of(peer, address)
        if problem:
            raise NotReached(problem)
        self.peer = peer
        self.address = address
        self._sockets = Sockets(NOWHERE, {peer: where}, security)
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sockets.close(0)

    def ask(self, kind: str, *words: Any, seconds: float = PATIENCE) -> tuple[str, tuple[Any, ...]]:
        """Ask, and return the kind and the words of the answer.

        Raises:
            NotReached: there is none in so many seconds.
        """
        self._number += 1
        request = encoded(self._number, kind, *words)
        until, again = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < until:
            self._sockets.watch()
            contact = self._sockets.contacts[self.peer]
            if contact in (Contact.REFUSED, Contact.FAILED):
                break
            if contact is Contact.THROUGH and now >= again:
                self._sockets.send(self.peer, deque([(request, None)]))
                again = now + AGAIN
            for _, header in self._sockets.answers():
                try:
                    number, kind, words = decoded(header)
                except WireError:
                    continue
                if number == self._number:
                    return kind, words
            time.sleep(0.01)
        contact = self._sockets.contacts[self.peer]
        reason = why_not_reached(self.address, contact, "", False)
        if contact is Contact.THROUGH:
            reason = "it lets us in, and does not answer"
        raise NotReached(reason, contact is Contact.REFUSED)

"""What is to be said on one link, until the connection takes it."""

from __future__ import annotations

from collections import deque

from peer.net.transfer.outgoing import CREDIT
from peer.net.wire import Hello, Message, Ping, encode

OUTBOX = 1024
"""Messages that wait for the connection, at most; a value has sixteen chunks on their way."""


class Outbox(deque[tuple[bytes, memoryview | None]]):
    """Headers with their bodies, numbered in order; whoever sends them takes them off the left.

    Args:
        session: of the process that says it.
    """

    def __init__(self, session: int) -> None:
        super().__init__()
        self._session = session
        self._seq = 0

    def say(self, message: Message, body: memoryview | None = None) -> None:
        """Say something, unless too much waits already."""
        if isinstance(message, Hello | Ping) and len(self) > 2 * CREDIT:
            return  # the connection takes nothing: what asks whether it does need not pile up
        if len(self) >= OUTBOX:
            return  # it asks, and does not listen; a lost message is repeated, whatever it says
        self.append((encode(self._session, self._seq, message), body))
        self._seq += 1

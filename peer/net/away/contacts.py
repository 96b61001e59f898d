"""How far the connections to neighbours have got, as ZeroMQ tells: which broke, which are back.

Pure: what ZeroMQ says goes in. It mends most connections itself, and what was on its way is lost
then; others it gives up, without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum


class Contact(Enum):
    """How far the connection to a neighbour has got, as ZeroMQ tells."""

    NONE = "not connected"
    CONNECTED = "connected, but not yet through the handshake"
    REFUSED = "our key is refused"
    FAILED = "the handshake fails"
    THROUGH = "through the handshake"


AGAIN = 1.0
"""Seconds after which a connection that ZeroMQ has given up is tried again."""

_VERDICTS = (Contact.REFUSED, Contact.FAILED, Contact.THROUGH)


class Contacts(dict[int, Contact]):
    """The contact with every neighbour.

    Args:
        neighbours: all of them.

    Attributes:
        remade: neighbours whose connection broke, and is there again; whoever looks, clears it.
    """

    def __init__(self, neighbours: Iterable[int]) -> None:
        super().__init__(dict.fromkeys(neighbours, Contact.NONE))
        self.remade: set[int] = set()
        self._made: set[int] = set()  # those that have been there since they were dialled
        self._broken: dict[int, float] = {}  # that ZeroMQ will not try again; when that was seen

    def dialled(self, neighbour: int) -> None:
        """A new connection to the neighbour is tried."""
        if self[neighbour] is Contact.THROUGH:
            self[neighbour] = Contact.NONE
        self.remade.discard(neighbour)
        self._made.discard(neighbour)
        self.tried_again(neighbour)

    def note(self, neighbour: int, contact: Contact) -> None:
        """ZeroMQ tells of a connection."""
        # It tries again after a failed handshake: what counts is how far it came.
        if contact in _VERDICTS or self[neighbour] not in _VERDICTS[:2]:
            self[neighbour] = contact
        if contact is Contact.NONE:
            self._broken[neighbour] = math.inf
        elif contact in (Contact.CONNECTED, Contact.THROUGH):
            self.tried_again(neighbour)
        if contact is Contact.THROUGH:
            if neighbour in self._made:
                self.remade.add(neighbour)
            self._made.add(neighbour)

    def tried_again(self, neighbour: int) -> None:
        """ZeroMQ tries again by itself, or we do."""
        self._broken.pop(neighbour, None)

    def given_up(self, now: float) -> list[int]:
        """Neighbours to be dialled: what came was none of ZeroMQ's words, and it leaves it at that.

        Not those that refuse our key, which would be asked again and again.
        """
        self._broken = {k: min(since, now) for k, since in self._broken.items()}
        since = self._broken.items()
        return [k for k, at in since if now - at >= AGAIN and self[k] is not Contact.REFUSED]

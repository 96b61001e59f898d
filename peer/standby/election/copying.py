"""A state's way from the server to a backup: in pieces, a few of them on their way; pure."""

from __future__ import annotations

from collections.abc import Iterator

from peer.standby.election.messages import Copy, Position

PIECE = 256 * 1024
"""Bytes of a piece, at most."""

WINDOW = 8
"""Pieces on their way that are not yet acknowledged, at most."""


class Sending:
    """One state on its way to one host; what makes no progress is sent again.

    Args:
        term: of the server.
        position: what it is the state of.
        content: its bytes.
        retry: seconds without progress after which it is sent again.
        piece: bytes of one piece.
    """

    def __init__(
        self, term: int, position: Position, content: bytes, retry: float, piece: int
    ) -> None:
        self.position = position
        self._term = term
        self._content = content
        self._retry = retry
        self._piece = piece
        self._received = 0
        self._told = 0
        self._sent = 0
        self._again = 0.0

    def has(self, received: int, now: float) -> None:
        """The host has so many bytes; fewer than before, where it was started anew."""
        self._told = received
        if received > self._received:
            self._received = received
            self._sent = max(self._sent, received)
            self._again = now + self._retry

    def pieces(self, now: float) -> Iterator[Copy]:
        """What is to be sent now."""
        size = len(self._content)
        if now >= self._again:
            self._again = now + self._retry
            self._sent = self._received = self._told
            if self._received == size:  # all is there, or it is empty: ask whether it is stored
                yield Copy(self._term, self.position, size, size, b"")
        end = min(size, self._received + WINDOW * self._piece)
        while self._sent < end:
            piece = self._content[self._sent : self._sent + self._piece]
            yield Copy(self._term, self.position, size, self._sent, piece)
            self._sent += len(piece)


class Receiving:
    """The state that is arriving from the server; a newer one takes its place."""

    def __init__(self) -> None:
        self.position: Position | None = None
        self._content = bytearray()

    @property
    def received(self) -> int:
        """Bytes that are here, without a gap."""
        return len(self._content)

    def take(self, copy: Copy) -> bytes | None:
        """A piece has come; returns the whole once it is complete."""
        if copy.position != self.position:
            self.position = copy.position
            self._content = bytearray()
        if copy.offset == len(self._content) and copy.offset + len(copy.piece) <= copy.size:
            self._content += copy.piece
        return bytes(self._content) if len(self._content) == copy.size else None

    def forget(self) -> None:
        """It is on the disk."""
        self.position = None
        self._content = bytearray()

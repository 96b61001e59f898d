"""What a link carries for whoever looks on, and not for the link."""

from __future__ import annotations

from dataclasses import dataclass

from peer.net.wire import Status


@dataclass(frozen=True)
class Overheard:
    """A neighbour tells of a peer; the body lies in memory of the connection's."""

    neighbour: int
    status: Status
    body: memoryview

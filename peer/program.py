"""A program: a coroutine that one peer runs, and the settings it takes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from peer.effects import Effect
from peer.peer import PAIR, Peer

Running = Coroutine[Effect, Any, None]


def _a_pair(peer: int) -> Sequence[str]:
    return PAIR


@dataclass(frozen=True)
class Program:
    """What a peer runs.

    Attributes:
        name: as in the experiment file.
        start: makes the coroutine for one peer, with its settings.
        rounds: how many rounds the settings ask for.
        server: the peer that plays the server and holds no data, if there is one.
        nets: from a peer's id to the names of the nets that it holds.
        products: from the number of peers to the ids of those whose generators the system is judged
            by; all of them if None.
        settings: the experiment's ``algorithm:``, validated.
        is_closed: it gives each peer that the file lists a part by its id, and has none for others.
    """

    name: str
    start: Callable[[Peer], Running]
    rounds: int
    server: int | None = None
    nets: Callable[[int], Sequence[str]] = _a_pair
    products: Callable[[int], Sequence[int]] | None = None
    settings: Any = None
    is_closed: bool = False

    def makes_product(self, peer: int, peers: int) -> bool:
        """Whether the system is judged by that peer's generator."""
        wanted = range(peers) if self.products is None else self.products(peers)
        return peer in wanted and "generator" in self.nets(peer)

    def workers(self, peers: int) -> list[int]:
        """The peers that hold data: all but the server."""
        return [k for k in range(peers) if k != self.server]

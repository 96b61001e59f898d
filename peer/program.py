"""A program: a coroutine that one peer runs, and the settings it takes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from peer.effects import Effect
from peer.peer import Peer

Running = Coroutine[Effect, Any, None]


@dataclass(frozen=True)
class Program:
    """What a peer runs.

    Attributes:
        name: as in the experiment file.
        start: makes the coroutine for one peer; its settings are bound already.
        rounds: how many rounds the settings ask for.
    """

    name: str
    start: Callable[[Peer], Running]
    rounds: int

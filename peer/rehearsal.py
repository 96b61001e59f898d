"""A rehearsal: computing that leaves no trace, such as a measurement before training begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peer.peer import Peer


@contextmanager
def rehearsal(peer: Peer) -> Iterator[None]:
    """Put the peer's state back at the end: nets with their buffers, random streams, facts.

    Inside, effects are awaited themselves: the verbs of :class:`peer.peer.Peer` that train note
    their losses for the round's record.
    """
    before = peer.state.dump()
    try:
        yield
    finally:
        peer.state.load(before)

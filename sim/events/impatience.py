"""Whom simulated peers wait for no more, because it is slow (``deadline: auto``).

The rule is that of :mod:`peer.net.waiting.waits`, with the same object, in virtual time. A
neighbour's value is delivered in the moment in which it is sent: from then on it is on its way, and
the neighbour no slow one. What a peer knows of a neighbour has no delay here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from peer.effects import Combine, Moment
from peer.net.away.patience import Patience
from sim.environment.network import NetworkModel
from sim.events.batch import ProgressUpdate
from sim.events.event_queue import EventQueue
from sim.simulated_peer.simulated_peer import NeighbourProgress, PendingExchange, SimulatedPeer

Due = tuple[SimulatedPeer, PendingExchange, float]
"""A peer that waits no more in that exchange, from that time on."""


class Impatience:
    """The patience of the peers in this process.

    Args:
        peers: by id.
        network: says who is away.
        queue: where it is scheduled when patience is at its end.
        progress: how far every peer is.
        due: is told, then, which neighbours a peer gives up.
    """

    def __init__(
        self,
        peers: Mapping[int, SimulatedPeer],
        network: NetworkModel,
        queue: EventQueue,
        progress: Mapping[int, NeighbourProgress],
        due: Callable[[Due, Collection[int]], None],
    ) -> None:
        self.network = network
        self._queue = queue
        self._progress = progress
        self._due = due
        self._of = {
            k: Patience(peer.facade.schedule.union().neighbors(k)) for k, peer in peers.items()
        }

    def begin(self, peer: SimulatedPeer, pending: PendingExchange) -> None:
        """A peer's exchange begins. A letter's only neighbour is waited for: nothing is left."""
        if not pending.moments:
            return
        effect = pending.effect
        if isinstance(effect, Combine):
            kind, is_all = effect.net, False
        else:
            kind, is_all = f"letter {effect.name}", len(pending.moments) == 1
        self._of[peer.id].begin(kind, pending.moments, peer.now, is_all)

    def come(self, peer: int, neighbour: int, now: float, has_begun: bool = True) -> None:
        """The neighbour's value is on its way; or, where it only takes ours, it has that."""
        self._of[peer].come(neighbour, now, has_begun)

    def without(self, peer: int, neighbour: int, now: float) -> None:
        """The peer's exchange goes on without the neighbour."""
        self._of[peer].without(neighbour, now)

    def end(self, peer: int, pending: PendingExchange) -> None:
        """The peer's exchange is over."""
        if pending.moments:
            self._of[peer].end(pending.ready)

    def ends_at(self, peer: int, neighbour: int) -> float:
        """Until when the peer waits for the neighbour."""
        return self._of[peer].ends_at(neighbour)

    def excuse(self, peer: SimulatedPeer, neighbour: int, update: ProgressUpdate) -> None:
        """See whether a neighbour is out of the exchange before, where it waited for others."""
        patience, pending = self._of[peer.id], peer.pending
        if pending is not None and update.settled.get(peer.id) == patience.came_to(neighbour):
            patience.excuse(neighbour, update.at)
            self.watch(peer, pending, update.at)

    def watch(self, peer: SimulatedPeer, pending: PendingExchange, now: float) -> None:
        """Schedule when the peer's patience is at its end, as things are now."""
        if pending.is_settled:
            return
        ends = [self._end_for(peer.id, k, now) for k in sorted(pending.awaited)]
        end = max(pending.ready, now, *ends)
        if end < math.inf:
            self._queue.schedule(end, lambda: self._look(peer, pending, end))
        else:  # who waits for somebody else, and goes away meanwhile, is waited for no longer
            self._look_when_gone(peer, pending, now)

    def dump(self, peer: int) -> dict[str, Any]:
        """A peer's patience in types that JSON knows, for :meth:`load`."""
        return self._of[peer].dump()

    def load(self, dumped: Mapping[int, Mapping[str, Any]]) -> None:
        """Have the patience that :meth:`dump` said, by peer."""
        for k, of in dumped.items():
            self._of[k].load(of)

    def _end_for(self, peer: int, neighbour: int, now: float) -> float:
        """Until when to wait for that neighbour, as things are now."""
        before = self._of[peer].came_to(neighbour)
        is_there = self.network.back_at(neighbour, now) <= now
        if before is not None and is_there and not self._is_past(neighbour, peer, before):
            self._of[peer].excuse(neighbour, now)
            return math.inf
        return self._of[peer].ends_at(neighbour)

    def _is_past(self, neighbour: int, peer: int, t: Moment) -> bool:
        return self._progress[neighbour].is_past(peer, t)

    def _look(self, peer: SimulatedPeer, pending: PendingExchange, now: float) -> None:
        """Give up all that are outstanding, unless something has changed meanwhile."""
        if peer.pending is not pending or not pending.awaited or now < pending.ready:
            return
        if all(self._end_for(peer.id, k, now) <= now for k in sorted(pending.awaited)):
            self._due((peer, pending, now), frozenset(pending.awaited))

    def _look_when_gone(self, peer: SimulatedPeer, pending: PendingExchange, now: float) -> None:
        """Look again when somebody who is awaited goes away next."""
        downs = [
            down
            for k in pending.awaited
            for down, _ in self.network.absences.get(k, ())
            if down > now
        ]
        if downs:
            at = min(downs)
            self._queue.schedule(at, lambda: self._look_again(peer, pending, at))

    def _look_again(self, peer: SimulatedPeer, pending: PendingExchange, now: float) -> None:
        if peer.pending is pending:
            self.watch(peer, pending, now)

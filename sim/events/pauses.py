"""Pauses of a simulation: every peer has completed the same round, and nothing is under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sim.simulated_peer.simulated_peer import SimulatedPeer


class Pauses:
    """After which round the peers wait for each other, and which of them do.

    Args:
        peers: the peers in this process, by id.

    Attributes:
        after: the round after which the next pause is; None where none is planned.
        is_asked: whether a pause is wanted as soon as all peers can make it after the same round.
        soonest: the first round that no peer of this process has completed.
        held: the peers of this process that wait for the others.
    """

    def __init__(self, peers: Mapping[int, SimulatedPeer]) -> None:
        self.after: int | None = None
        self.is_asked: Callable[[], bool] = bool
        self.soonest = max((peer.facade.round + 1 for peer in peers.values()), default=0)
        self.held: list[SimulatedPeer] = []

    def completed(self, round: int) -> None:
        """A peer has completed ``round``."""
        self.soonest = max(self.soonest, round + 1)

    def pause_by(self, round: int) -> None:
        """Pause after ``round``, unless a pause is planned sooner."""
        self.after = round if self.after is None else min(round, self.after)

    def release(self, after: int | None) -> list[SimulatedPeer]:
        """End the pause; the next one is ``after`` that round. Returns the peers to resume."""
        self.after = after
        held, self.held = self.held, []
        return held

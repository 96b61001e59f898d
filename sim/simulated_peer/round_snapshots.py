"""The nets of all peers of a process as they were at the end of one round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim.simulated_peer.simulated_peer import SimulatedPeer
from sim.simulated_peer.snapshots import Snapshot

Nets = dict[str, list[Snapshot]]
"""By net, the snapshots of those who hold one and completed the round, in their order."""


class RoundSnapshots:
    """Collects snapshots of rounds until the last peer has completed them.

    Peers complete a round at different times, and go on training. One that was left behind leaves
    rounds out: it has no part in them.

    Args:
        nets: the names of the nets to collect.
        peers: how many peers there are.
        wants: of which rounds snapshots are taken.
        begins: rounds that all had completed before.
    """

    def __init__(
        self, nets: Sequence[str], peers: int, wants: Callable[[int], bool], begins: int = 0
    ) -> None:
        self.nets = nets
        self.peers = peers
        self.wants = wants
        self.begins = begins
        self._taken: dict[int, Nets] = {}
        self._newest: dict[int, int] = {}  # of each peer, the round that it was added in

    def add(self, peer: SimulatedPeer, round: int) -> list[tuple[int, Nets]]:
        """Add the nets of ``peer``, which has just completed ``round``, one that is wanted.

        Returns:
            The rounds with their nets that all peers have by now completed or left out.
        """
        before = self._newest.get(peer.id, self.begins)
        for each in range(before + 1, round + 1):
            if self.wants(each) and each not in self._taken:
                self._taken[each] = {name: [] for name in self.nets}
        for name, arenas in self._taken[round].items():
            if name in peer.state.nets:
                arenas.append(peer.snapshot(name))
        self._newest[peer.id] = round
        if len(self._newest) < self.peers:
            return []
        least = min(self._newest.values())
        return [(each, self._taken.pop(each)) for each in sorted(self._taken) if each <= least]

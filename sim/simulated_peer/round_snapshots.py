"""The nets of all peers of a process as they were at the end of one round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sim.simulated_peer.simulated_peer import SimulatedPeer
from sim.simulated_peer.snapshots import Snapshot


class RoundSnapshots:
    """Collects snapshots of every round until the last peer has completed it.

    Peers complete a round at different times, and go on training.

    Args:
        nets: the names of the nets to collect.
        peers: how many peers there are.
    """

    def __init__(self, nets: Sequence[str], peers: int) -> None:
        self.nets = nets
        self.peers = peers
        self._taken: dict[int, dict[str, list[Snapshot]]] = {}
        self._counts: Counter[int] = Counter()

    def add(self, peer: SimulatedPeer, round: int) -> dict[str, list[Snapshot]] | None:
        """Add the nets of ``peer``, which has just completed ``round``.

        Returns:
            By net, the snapshots of the peers that hold one, in the order in which they came, if
            ``peer`` was the last; else None.
        """
        taken = self._taken.setdefault(round, {name: [] for name in self.nets})
        for name, arenas in taken.items():
            if name in peer.state.nets:
                arenas.append(peer.snapshot(name))
        self._counts[round] += 1
        if self._counts[round] < self.peers:
            return None
        del self._counts[round]
        return self._taken.pop(round)

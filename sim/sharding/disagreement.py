"""The disagreement of a simulation whose peers live on several ranks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from sim.metrics.disagreement import arena_sums, disagreement_of_sums
from sim.sharding.collectives import Communicator
from sim.simulated_peer.round_snapshots import RoundSnapshots
from sim.simulated_peer.simulated_peer import SimulatedPeer


class SharedDisagreement:
    """Measures the disagreement of all ranks' peers, without any rank holding them all.

    When all peers of this rank have completed a round, their parameters are summed. Ranks may be at
    different rounds: sums wait here until every rank has some of the same round.

    Args:
        communicator: the ranks.
        lengths: of an arena's part that is measured, its parameters, by net.
        peers: how many peers live on this rank.
        write: takes a round and its disagreement by net; is called on every rank.
        wants: which rounds are measured.
        begins: rounds that all had completed before.

    Attributes:
        reached: how many measured rounds all peers of this rank have completed.
    """

    def __init__(
        self,
        communicator: Communicator,
        lengths: Mapping[str, int],
        peers: int,
        write: Callable[[int, dict[str, float]], None],
        wants: Callable[[int], bool],
        begins: int = 0,
    ) -> None:
        self.communicator = communicator
        self.lengths = lengths
        self.write = write
        self.reached = 0
        self._measured = 0
        self._snapshots = RoundSnapshots(tuple(lengths), peers, wants, begins)
        self._waiting: deque[tuple[int, dict[str, np.ndarray]]] = deque()

    def reported(self, peer: SimulatedPeer, round: int) -> None:
        """``peer`` has completed ``round``."""
        for completed, found in self._snapshots.add(peer, round):
            sums = {
                name: arena_sums([arena.tensor[:length] for arena in found[name]], length)
                for name, length in self.lengths.items()
            }
            self._waiting.append((completed, sums))
            self.reached += 1

    @property
    def is_behind(self) -> bool:
        """Whether more than one round's sums, each as large as a net, wait for other ranks."""
        return len(self._waiting) > 1

    def measure(self, reached: int) -> None:
        """Measure the rounds up to the ``reached``-th, which all ranks have completed."""
        while self._measured < reached:
            self._measured += 1
            round, sums = self._waiting.popleft()
            found = {}
            for name, mine in sums.items():
                value = disagreement_of_sums(self.communicator.all_reduce(mine))
                if value is not None:
                    found[name] = value
            self.write(round, found)

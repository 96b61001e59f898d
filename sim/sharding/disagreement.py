"""What the ranks of a simulation measure together."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sim.sharding.collectives import Mesh
from sim.simulated_peer.simulated_peer import Process
from sim.simulated_peer.snapshots import Snapshot


class SharedDisagreement:
    """The network's exact disagreement, from every rank's sums: (1/K) sum ||w_k||^2 - ||w_c||^2.

    Args:
        mesh: the ranks.
        lengths: of an arena, by net.
        of_rank: how many peers live on this rank.
        write: takes a round and its disagreement by net; called at every rank.
    """

    def __init__(
        self,
        mesh: Mesh,
        lengths: Mapping[str, int],
        of_rank: int,
        write: Callable[[int, dict[str, float]], None],
    ) -> None:
        self.mesh = mesh
        self.lengths = lengths
        self.of_rank = of_rank
        self.write = write
        self.reached = 0  # measured rounds that all peers of this rank have completed
        self._measured = 0
        self._taken: dict[int, dict[str, list[Snapshot]]] = {}
        self._counts: Counter[int] = Counter()
        self._sums: deque[tuple[int, dict[str, np.ndarray]]] = deque()

    def reported(self, process: Process, round: int) -> None:
        """``process`` has completed ``round``; once all of the rank have, sums are taken."""
        taken = self._taken.setdefault(round, {name: [] for name in self.lengths})
        for name, arenas in taken.items():
            if name in process.peer.state.nets:
                arenas.append(process.snapshot(name))
        self._counts[round] += 1
        if self._counts[round] == self.of_rank:
            del self._taken[round], self._counts[round]
            sums = {name: _sums(taken[name], length) for name, length in self.lengths.items()}
            self._sums.append((round, sums))
            self.reached += 1

    @property
    def is_behind(self) -> bool:
        """Whether sums, each as large as a net, pile up here for want of the other ranks'."""
        return len(self._sums) > 1

    def measure(self, reached: int) -> None:
        """Put the ranks' sums together, up to the round number ``reached`` of the measured."""
        while self._measured < reached:
            self._measured += 1
            round, sums = self._sums.popleft()
            found = {}
            for name, mine in sums.items():
                *total, squares, count = self.mesh.total(mine)
                if count > 1:
                    centroid = np.array(total) / count
                    found[name] = max(0.0, float(squares / count - centroid @ centroid))
            self.write(round, found)


def _sums(arenas: Sequence[Snapshot], length: int) -> np.ndarray:
    """The sum of the arenas, of their squared norms, and how many: (length + 2,), float64."""
    found = np.zeros(length + 2)
    for arena in arenas:
        w = arena.tensor.detach().double()  # by torch, which keeps to this process's threads
        found[:length] += w.cpu().numpy()
        found[length:] += np.array([float(w @ w), 1.0])
    return found

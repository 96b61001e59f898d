"""One simulation over several processes: every peer lives on one rank, and ranks keep time.

All ranks carry out what happens at one moment of virtual time, hand over what crosses between
them, again until nothing is left to do at that moment, and go on to the next. So the peers of a
rank still wait on the same local step together, and the same seed gives the same run as one
process, up to rounding.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import networkx as nx
import numpy as np
import scipy.sparse.csgraph
import torch

from peer.effects import Moment
from peer.experiment import Experiment
from peer.peer import Peer
from peer.program import Program
from sim.engine import Engine
from sim.event import EventDriver, Observer, Process, Value
from sim.mesh import Mesh
from sim.network import Network
from sim.snapshots import Snapshot
from topology.errors import UserError


def homes(graph: nx.Graph[int], ranks: int) -> dict[int, int]:
    """The rank of every peer, equally many each, with few links between ranks.

    Peers are put in the order of reverse Cuthill and McKee, in which neighbours are near each
    other, and the order is cut into parts.
    """
    adjacency = nx.to_scipy_sparse_array(graph, nodelist=range(len(graph)), format="csr")
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(adjacency, symmetric_mode=True)
    parts = np.array_split(order, ranks)
    return {int(k): rank for rank, part in enumerate(parts) for k in part}


def check(experiment: Experiment) -> None:
    """Refuse what needs every peer in one process.

    Raises:
        UserError: which key it is.
    """
    network = experiment.network
    for key, given in (
        ("faults", experiment.faults),
        ("network.loss", network.loss or any(link.loss for link in network.links)),
        ("network.downlink", network.downlink or any(end.downlink for end in network.ends)),
        ("network.channel", network.channel),
        ("metrics.quality_every", experiment.metrics.quality_every),
    ):
        if given:
            raise UserError(f"{key}: several processes cannot simulate that; use one")


@dataclass
class Elsewhere:
    """A peer that lives on another rank: values for it are handed over when ranks meet."""

    id: int
    rank: int
    inbox: dict[Any, Any] = field(default_factory=dict)

    def is_past(self, _neighbour: int, _t: Moment) -> bool:
        """Nobody gives anything up in a sharded simulation."""
        return False


class ShardedDriver(EventDriver):
    """The event driver of one rank; arguments as :class:`EventDriver`'s, ``peers`` its own."""

    def __init__(
        self,
        mesh: Mesh,
        rank_of: Mapping[int, int],
        peers: Mapping[int, Peer],
        program: Program,
        network: Network,
        deadline: float,
        observer: Observer | None = None,
        engine: Engine | None = None,
        shared: SharedDisagreement | None = None,
    ) -> None:
        self.shared = shared
        super().__init__(peers, program, network, deadline, observer, engine)
        self.mesh = mesh
        self.own = dict(self.processes)
        for k, rank in rank_of.items():
            if rank != mesh.rank:
                self.processes[k] = Elsewhere(k, rank)  # type: ignore[assignment]
        self._parcels: dict[int, list[tuple[dict[str, Any], bytes]]] = {}

    def run(self) -> None:
        """Carry out everything, moment by moment, together with the other ranks."""
        for process in self.own.values():
            self._resume_at(process, 0.0)
        try:
            while True:
                begin = self._agenda[0][0] if self._agenda else math.inf
                reached = self.shared.reached if self.shared else 0
                now, reached_by_all = self.mesh.least(begin, reached)
                if self.shared:
                    self.shared.measure(int(reached_by_all))
                if now == math.inf:
                    break
                while self._agenda and self._agenda[0][0] <= now:
                    heapq.heappop(self._agenda)[2]()
                self._meet()
        finally:
            for process in self.own.values():
                process.running.close()
                self.engine.settle(process)
        stuck = [k for k, process in self.own.items() if not process.finished]
        if stuck:
            raise RuntimeError(f"peers {stuck} wait for something that nobody will do")

    def _deliver(
        self, other: Process, sender: int, t: Moment, arrival: float, value: Value
    ) -> None:
        if not isinstance(other, Elsewhere):
            super()._deliver(other, sender, t, arrival, value)
            return
        is_row = isinstance(value, Snapshot)
        header = {"to": other.id, "from": sender, "t": list(t), "at": arrival, "row": is_row}
        if isinstance(value, Snapshot):
            content = value.tensor.cpu().numpy().tobytes()
        else:
            content = bytes(value)
        self._parcels.setdefault(other.rank, []).append((header, content))

    def _meet(self) -> None:
        """Hand over what has become due for other ranks' peers, and deliver what comes."""
        packed = {
            rank: msgpack.packb([[header, content] for header, content in parcels])
            for rank, parcels in self._parcels.items()
        }
        self._parcels.clear()
        for _, content in sorted(self.mesh.exchange(packed).items()):
            for header, value in msgpack.unpackb(content, max_bin_len=2**32 - 1):
                process = self.own[header["to"]]
                t, at = Moment(*header["t"]), header["at"]
                super()._deliver(process, header["from"], t, at, self._read(process, header, value))

    @staticmethod
    def _read(process: Process, header: Mapping[str, Any], content: bytes) -> Value:
        if not header["row"]:
            return memoryview(content)
        row = torch.from_numpy(np.frombuffer(bytearray(content), dtype=np.float32))
        came = Snapshot(row.to(process.peer.state.device))
        came.is_live = False
        return came


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
        w = arena.tensor.detach().cpu().numpy().astype(np.float64)
        found[:length] += w
        found[length:] += np.array([w @ w, 1.0])
    return found

"""One simulation over several processes: every peer lives on one rank, and ranks meet.

Where values may be lost or peers away, ranks keep time: all carry out what happens at one moment of
virtual time, hand over what crosses between them, again until nothing is left to do at that moment,
and go on to the next. Where every value arrives, a rank goes on by itself until one of its peers
waits for another rank's. In both ways the peers of a rank wait on the same local step together, and
the same seed gives the same run as one process, up to rounding.
"""

from __future__ import annotations

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

import algorithms
from peer.effects import Moment
from peer.experiment import Experiment
from peer.peer import Peer
from peer.program import Program
from sim.engine import Engine
from sim.event import EventDriver, Observer, Process, Value, is_past
from sim.mesh import Mesh, Parcel
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
    network, name = experiment.network, experiment.algorithm.name
    # Who only sends is done at once, and whether others know at that moment is an order of events
    # that ranks do not share.
    one_way = not algorithms.find(experiment).mutual
    loss = network.loss or any(link.loss for link in network.links)
    downlink = network.downlink or any(end.downlink for end in network.ends)
    refused: dict[str, object] = {
        f"faults: several processes cannot simulate that for {name}": one_way and experiment.faults,
        f"network.loss: several processes cannot simulate that for {name}": one_way and loss,
        "network.downlink: several processes cannot simulate that": downlink,
        "network.channel: several processes cannot simulate that": network.channel,
    }
    for words, given in refused.items():
        if given:
            raise UserError(f"{words}; use one")


@dataclass
class Elsewhere:
    """A peer that lives on another rank: values for it are handed over when ranks meet.

    How far it is, is known where somebody may do without it: where the network is not reliable.
    """

    id: int
    rank: int
    round: int = 0
    finished: bool = False
    passed: dict[int, Moment] = field(default_factory=dict)
    inbox: dict[Any, Any] = field(default_factory=dict)

    def is_past(self, neighbour: int, t: Moment) -> bool:
        """As :meth:`Process.is_past`."""
        return is_past(t, self.passed.get(neighbour), self.round, self.finished)


class ShardedDriver(EventDriver):
    """The event driver of one rank; arguments as :class:`EventDriver`'s, ``peers`` its own."""

    def __init__(
        self,
        mesh: Mesh,
        graph: nx.Graph[int],
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
        rank_of = homes(graph, mesh.size)
        for k, rank in rank_of.items():
            if rank != mesh.rank:
                self.processes[k] = Elsewhere(k, rank)  # type: ignore[assignment]
        near = {k: {rank_of[other] for other in graph.neighbors(k)} - {mesh.rank} for k in self.own}
        self._near = {} if network.is_reliable else near  # ranks to tell how far a peer is
        self._ashore = [self.own[k] for k, ranks in near.items() if ranks]
        self._bags: dict[int, Bag] = {}  # by rank

    def _carry_on(self) -> None:
        """Moment by moment together with the other ranks, as far as they have to do with it."""
        now = 0.0
        while now < math.inf:
            if self.network.is_reliable:  # a turn does not begin with what it entails
                self._take_turn(now, self._entries)
                while self._is_on_its_own:
                    self._take_turn(self._agenda[0][0], self._entries)
            else:
                self._take_turn(now)
            now = self._meet()

    @property
    def _is_on_its_own(self) -> bool:
        """Whether this rank may take its next turn without a meeting.

        Where every value arrives, what peers compute depends on no order of events between ranks.
        But others are to get soon what they wait for; and who waits for them, is to go on together
        with the other peers of its rank.
        """
        if self._bags or not self._agenda or (self.shared and self.shared.is_behind):
            return False
        return not any(self._waits(process) for process in self._ashore)

    def _waits(self, process: Process) -> bool:
        """Whether a peer waits for one of another rank."""
        return process.pending is not None and not process.pending.open <= self.own.keys()

    def _deliver(
        self, other: Process, sender: int, t: Moment, arrival: float, value: Value
    ) -> None:
        if isinstance(other, Elsewhere):
            bag = self._bags.setdefault(other.rank, Bag())
            bag.add({"to": other.id, "from": sender, "t": list(t), "at": arrival}, value)
        else:
            super()._deliver(other, sender, t, arrival, value)

    def _withdraw(self, process: Process, neighbour: int, t: Moment, now: float) -> None:
        other = self.processes[neighbour]
        if isinstance(other, Elsewhere):
            bag = self._bags.setdefault(other.rank, Bag())
            bag.withdraw({"to": neighbour, "from": process.id, "t": list(t), "at": now})
        else:
            super()._withdraw(process, neighbour, t, now)

    def _release(self, process: Process, time: float) -> None:
        super()._release(process, time)
        for rank in sorted(self._near.get(process.id, ())):
            self._bags.setdefault(rank, Bag()).tell(process, time)

    def _is_told(self, k: int, news: Mapping[str, Any]) -> None:
        """How far peer ``k`` of another rank is: who waits for it in vain, goes on without it."""
        elsewhere: Any = self.processes[k]
        elsewhere.round, elsewhere.finished = news["round"], news["finished"]
        for neighbour, round, exchange in news["passed"]:
            elsewhere.passed[neighbour] = Moment(round, exchange)
        super()._release(elsewhere, news["at"])

    def _meet(self) -> float:
        """Hand over what goes to other ranks' peers, deliver what comes; the next moment of all.

        Nothing can happen sooner than what is on some rank's agenda, or than a value is there that
        is handed over now.
        """
        sent = [bag.earliest for bag in self._bags.values()]
        begin = min([math.inf, *sent, *(entry[0] for entry in self._agenda[:1])])
        reached = self.shared.reached if self.shared else 0
        packed = {rank: bag.pack() for rank, bag in sorted(self._bags.items())}
        self._bags.clear()
        said, parcels = self.mesh.meet((begin, reached), packed)
        for parcel in parcels.values():
            for header, value in unpack_bag(parcel):
                sender, at = header["from"], header["at"]
                if "to" not in header:
                    self._is_told(sender, header)
                elif value is None:
                    self.own[header["to"]].inbox.pop((sender, Moment(*header["t"])), None)
                else:
                    process, t = self.own[header["to"]], Moment(*header["t"])
                    super()._deliver(process, sender, t, at, value)
        begins, all_reached = zip(*said, strict=True)
        if self.shared:
            self.shared.measure(int(min(all_reached)))
        return float(min(begins))


class Bag:
    """What this rank's peers send to another's: every value once, to however many it goes.

    In the order in which it is said; with how far peers are, where that is told.
    """

    def __init__(self) -> None:
        self.earliest = math.inf  # when the first of it arrives
        self._headers: list[dict[str, Any]] = []
        self._places: dict[int, tuple[bool, int]] = {}  # of a value: whether a row, and which
        self._rows: list[Snapshot] = []
        self._letters: list[memoryview] = []

    def add(self, header: dict[str, Any], value: Value) -> None:
        """A value for one peer; ``header`` says for whom, from whom and when."""
        if id(value) not in self._places:
            values: list[Any] = self._rows if isinstance(value, Snapshot) else self._letters
            self._places[id(value)] = isinstance(value, Snapshot), len(values)
            values.append(value)
        self._headers.append({**header, "value": self._places[id(value)]})
        self.earliest = min(self.earliest, header["at"])

    def withdraw(self, header: dict[str, Any]) -> None:
        """A value that was added earlier is not to be used any more."""
        self._headers.append(header)
        self.earliest = min(self.earliest, header["at"])

    def tell(self, process: Process, time: float) -> None:
        """How far ``process`` is, at ``time``."""
        passed = [[neighbour, *t] for neighbour, t in process.passed.items()]
        news = {"round": process.peer.round, "finished": process.finished, "passed": passed}
        self._headers.append({"from": process.id, "at": time, **news})
        self.earliest = min(self.earliest, time)

    def pack(self) -> Parcel:
        """All of it."""
        rows = [row.tensor for row in self._rows]
        letters = [bytes(letter) for letter in self._letters]
        content = msgpack.packb([self._headers, letters, [len(row) for row in rows]])
        return Parcel(content, torch.cat(rows)) if rows else Parcel(content)


def unpack_bag(parcel: Parcel) -> list[tuple[dict[str, Any], Value | None]]:
    """What a :class:`Bag` of another rank held: headers, each with its value, if it has one."""
    headers, letters, lengths = msgpack.unpackb(parcel.content, max_bin_len=2**32 - 1)
    rows = [Snapshot.of_value(row) for row in torch.split(parcel.rows, lengths)]
    found: list[tuple[dict[str, Any], Value | None]] = []
    for header in headers:
        match header.get("value"):
            case [True, place]:
                found.append((header, rows[place]))
            case [False, place]:
                found.append((header, memoryview(bytearray(letters[place]))))
            case _:
                found.append((header, None))
    return found


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

"""One simulation over several processes: every peer lives on one rank, and ranks meet.

Where values may be lost or in each other's way, or peers away, ranks keep time: all carry out what
happens at one moment of virtual time, hand over what their peers said, again until nothing is left
to do at that moment, and go on to the next. Where every value arrives, and nobody's hinders
another's, a rank goes on by itself until one of its peers waits for another rank's. In both ways
the peers of a rank wait on the same local step together, and the same seed gives the same run as
one process, up to rounding.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

import networkx as nx
import numpy as np
import scipy.sparse.csgraph

from peer.peer import Peer
from peer.program import Program
from sim.engines.eager import Engine
from sim.environment.network import Network
from sim.events.driver import EventDriver, Observer
from sim.events.exchanges import Said
from sim.sharding.collectives import Mesh
from sim.sharding.disagreement import SharedDisagreement
from sim.sharding.messages import pack_said, unpack_said
from sim.simulated_peer.simulated_peer import Process


def homes(graph: nx.Graph[int], ranks: int) -> dict[int, int]:
    """The rank of every peer, equally many each, with few links between ranks.

    Peers are put in the order of reverse Cuthill and McKee, in which neighbours are near each
    other, and the order is cut into parts.
    """
    adjacency = nx.to_scipy_sparse_array(graph, nodelist=range(len(graph)), format="csr")
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(adjacency, symmetric_mode=True)
    parts = np.array_split(order, ranks)
    return {int(k): rank for rank, part in enumerate(parts) for k in part}


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
        super().__init__(peers, program, network, deadline, observer, engine)
        self.mesh = mesh
        self.shared = shared
        self._rank_of = rank_of = homes(graph, mesh.size)
        self._others = set(range(mesh.size)) - {mesh.rank}
        # the ranks of a peer's neighbours, who are to know how far it is
        self._near = {k: {rank_of[n] for n in graph.neighbors(k)} & self._others for k in peers}
        self._ashore = [process for k, process in self.processes.items() if self._near[k]]
        self._keeps_time = network.is_shared or not network.is_reliable
        self._bags: defaultdict[int, Said] = defaultdict(Said)  # by rank, what it is to know

    def _carry_on(self) -> None:
        """Together with the other ranks, as far as they have to do with it."""
        now = 0.0
        while now < math.inf:
            if self._keeps_time:
                self._take_turn(now)
            else:  # a turn does not begin with what it entails
                self._take_turn(now, self._entries)
                self._pass_on()
                while self._is_on_its_own:
                    self._take_turn(self._agenda[0][0], self._entries)
                    self._pass_on()
            now = self._meet()

    @property
    def _is_on_its_own(self) -> bool:
        """Whether this rank may take its next turn without a meeting.

        Where every value arrives, what peers compute depends on no order of events between ranks.
        But others are to get soon what they wait for; and who waits for them, is to go on together
        with the other peers of its rank.
        """
        if not self._agenda or (self.shared and self.shared.is_behind):
            return False
        if any(bag.sent for bag in self._bags.values()):
            return False
        return not any(self._waits(process) for process in self._ashore)

    def _is_paused(self) -> bool:
        return self.any_asked(bool(self.held))

    def any_asked(self, here: bool) -> bool:
        """Whether it is so at any rank; all ask at once."""
        answers, _ = self.mesh.meet((float(here),), {})
        return any(answer for (answer,) in answers)

    def _look_whether_to_pause(self) -> None:
        """When the ranks meet: it must be at the same round everywhere."""

    def _waits(self, process: Process) -> bool:
        """Whether a peer waits for one of another rank."""
        return process.pending is not None and not process.pending.open <= self.processes.keys()

    def _pass_on(self) -> None:
        """Hand over at home what was said, and lay aside what goes to other ranks."""
        said = self.exchanges.take_said()
        self._lay_aside(said)
        self.exchanges.hand_over(said)

    def _lay_aside(self, said: Said) -> None:
        """What other ranks are to know, each what it needs."""
        for sent in said.sent:
            home = self._rank_of[sent.receiver]
            concerned = self._others if self.network.is_shared else {home} & self._others
            for rank in concerned:
                known = sent if rank == home else sent._replace(value=None)
                self._bags[rank].sent.append(known)
        for taken in said.withdrawn:
            for rank in {self._rank_of[taken.receiver]} & self._others:
                self._bags[rank].withdrawn.append(taken)
        for news in said.news:
            for rank in self._near[news.peer]:
                self._bags[rank].news.append(news)

    def _meet(self) -> float:
        """Hand over what was said, here and to other ranks; the next moment of all.

        Nothing can happen sooner than what is on some rank's agenda, or what comes of what is
        handed over now.
        """
        said = self.exchanges.take_said()
        self._lay_aside(said)
        begin = min([math.inf, *(entry[0] for entry in self._agenda[:1])])
        if self._keeps_time or not self._agenda:
            begin = min([begin, said.earliest, *(bag.earliest for bag in self._bags.values())])
        reached = self.shared.reached if self.shared else 0
        pause = self.is_asked_to_pause()
        packed = {rank: pack_said(bag) for rank, bag in sorted(self._bags.items())}
        self._bags.clear()
        answers, parcels = self.mesh.meet((begin, reached, pause, self._newest()), packed)
        for parcel in parcels.values():
            said.add(unpack_said(parcel))
        self.exchanges.hand_over(said)
        begins, all_reached, pauses, newest = zip(*answers, strict=True)
        if any(pauses):
            self._pause_by(int(max(newest)))
        if self.shared:
            self.shared.measure(int(min(all_reached)))
        return float(min(begins))

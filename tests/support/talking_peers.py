"""Peers that tell each other who they are, simulated on one rank or on several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from types import SimpleNamespace
from typing import Any, cast

import torch

from peer.effects import Letter, Now, Sleep
from peer.experiment import Experiment, from_mapping
from peer.peer import Peer
from peer.program import Program
from peer.state import PeerState
from sim.environment.network import NetworkModel
from sim.events.driver import EventDriver
from sim.sharding.collectives import Communicator, RankMessage
from sim.sharding.partition import peers_of_rank
from sim.sharding.synchroniser import ConservativeSynchroniser
from sim.simulated_peer.simulated_peer import SimulatedPeer

DEADLINE = 10.0


class SharedTable:
    """What ranks that are threads of this process have in common."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = Barrier(size, timeout=60.0)
        self.numbers: list[Sequence[float]] = [()] * size
        self.messages: list[Mapping[int, RankMessage]] = [{}] * size


class ThreadCommunicator:
    """One thread's, in place of a process's :class:`Communicator`."""

    def __init__(self, table: SharedTable, rank: int) -> None:
        self.table = table
        self.rank = rank
        self.size = table.size

    def all_to_all(
        self, numbers: Sequence[float], outgoing: Mapping[int, RankMessage]
    ) -> tuple[list[list[float]], dict[int, RankMessage]]:
        table = self.table
        table.numbers[self.rank], table.messages[self.rank] = numbers, outgoing
        table.barrier.wait()
        answers = [list(each) for each in table.numbers]
        received = {
            rank: messages[self.rank]
            for rank, messages in enumerate(table.messages)
            if self.rank in messages
        }
        table.barrier.wait()  # until all have read, before one writes again
        return answers, received

    all_gather = Communicator.all_gather


@dataclass
class Talk:
    """Neighbours send each other letters: ``>`` up the ids, ``<`` down, ``x`` both at once.

    In a star, peer 0 is the server: ``>`` it sends, ``<`` it gathers.
    """

    peers: int = 3
    pattern: str = "><"
    rounds: int = 3
    pause: dict[int, float] = field(default_factory=dict)  # before every exchange
    skips: bool = True  # to whom nothing comes up, it leaves the rest of the round
    keys: dict[str, Any] = field(default_factory=dict)
    graph: str = "star"
    deadline: float = DEADLINE
    log: list[tuple[int, int, int, str, float, float, tuple[int, ...]]] = field(
        default_factory=list
    )

    def run(self, ranks: int = 1) -> Talk:
        experiment = from_mapping(
            {
                "peers": self.peers,
                "graph": self.graph,
                "algorithm": {"name": "diffusion", "rounds": 1},
                "optimizer": {"name": "sgd", "lr": 0.05},
                "gan": "mlp-digits",
                "data": {"source": "digits", "partition": "iid"},
                "batch": 8,
            }
            | self.keys
        )
        program = Program("test", self._peer, self.rounds)
        self.simulated: dict[int, SimulatedPeer] = {}
        if ranks == 1:
            peers = self._peers(experiment, range(self.peers))
            driver = EventDriver(peers, program, NetworkModel(experiment), self.deadline)
            driver.run()
            self.simulated = driver.peers
        else:
            table = SharedTable(ranks)
            all_ranks = [ThreadCommunicator(table, rank) for rank in range(ranks)]
            with ThreadPoolExecutor(ranks) as pool:
                list(pool.map(lambda rank: self._run_rank(rank, experiment, program), all_ranks))
        return self

    def _run_rank(self, own: ThreadCommunicator, experiment: Experiment, program: Program) -> None:
        graph, network = experiment.graph_of_peers, NetworkModel(experiment)
        peers = self._peers(experiment, peers_of_rank(graph, own.size, own.rank))
        synchroniser = ConservativeSynchroniser(cast(Communicator, own), graph, network)
        driver = EventDriver(peers, program, network, self.deadline, synchroniser=synchroniser)
        try:
            driver.run()
        except BaseException:
            own.table.barrier.abort()  # so that no rank waits for one that has gone
            raise
        self.simulated |= driver.peers

    def _peers(self, experiment: Experiment, own: Iterable[int]) -> dict[int, Peer]:
        peers = {}
        for k in own:
            device = torch.device("cpu")
            state = SimpleNamespace(
                round=0, peer=k, peers=self.peers, nets={}, device=device, skipped={}, went_back=""
            )
            peers[k] = Peer(cast(PeerState, state), experiment.schedule)
        return peers

    async def _peer(self, peer: Peer) -> None:
        async for r in peer.rounds(self.rounds):
            for i, way in enumerate(self.pattern):
                below = [k for k in peer.neighbours if k < peer.id]
                above = [k for k in peer.neighbours if k > peer.id]
                to = (above if way in ">x" else []) + (below if way in "<x" else [])
                of = (below if way in ">x" else []) + (above if way in "<x" else [])
                came = await self._step(peer, r, i, way, to, of)
                if self.skips and way in ">x" and below and not came:
                    break

    async def _step(
        self, peer: Peer, r: int, i: int, way: str, to: Iterable[int], of: Iterable[int]
    ) -> dict[int, Letter]:
        if self.pause.get(peer.id):
            await Sleep(self.pause[peer.id])
        began = await Now()
        letter = Letter("it", {"x": torch.full((3,), peer.id)}, {"from": peer.id, "at": [r, i]})
        came = await peer.exchange("it", dict.fromkeys(to, letter), of)
        for k, each in came.items():
            assert each.facts == {"from": k, "at": [r, i]}
            assert torch.equal(each.tensors["x"], torch.full((3,), k))
        self.log.append((peer.id, r, i, way, began, await Now(), tuple(came)))
        return came

    def steps(self, peer: int) -> list[tuple[int, int, float, float, tuple[int, ...]]]:
        return [(r, i, a, b, came) for k, r, i, _, a, b, came in self.log if k == peer]

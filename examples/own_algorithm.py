"""An algorithm of one's own: a server that takes the median of what its workers send.

    sim examples/own_algorithm.yaml

A few broken workers move a mean as far as they like, and a median hardly at all. An algorithm
is a coroutine that every peer runs; what it awaits, a driver carries out, over ZeroMQ or in a
simulation.
"""

import torch
from pydantic import BaseModel

from peer.peer import PAIR, Peer
from peer.training import Training, train


class Config(BaseModel):
    """Settings of ``algorithm: {name: "own_algorithm:median", ...}``."""

    rounds: int
    steps: int = 5  # of D and of G, between two exchanges
    server: int = 0  # that peer holds no data; partitions count the others

    def links(self, peers: int) -> list[tuple[int, int]]:
        """The links that the graph must have; checked before anything runs."""
        return [(self.server, k) for k in range(peers) if k != self.server]


async def median(peer: Peer, config: Config) -> None:
    """What every peer runs: the server its part, a worker its own."""
    async for _ in peer.rounds(config.rounds):
        if peer.id == config.server:
            await peer.send(peer.neighbours, "model", peer.model())
            updates = (await peer.gather("update", peer.neighbours)).values()
            if updates:  # whoever stayed away past the deadline is left out
                for net in PAIR:
                    w = torch.stack([update.tensors[net] for update in updates])  # (n, P)
                    peer.load({net: w.median(dim=0).values})
        elif (model := await peer.receive("model", config.server)) is not None:
            peer.load(model.tensors)
            await train(peer, config.steps, Training())
            await peer.send(config.server, "update", peer.model())

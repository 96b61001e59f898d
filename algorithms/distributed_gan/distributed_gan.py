"""Distributed-GAN: the server holds the generator, users hold discriminators and private data.

Sources: "Distributed Generative Adversarial Net" (2019, arXiv:1911.08128), three approaches; F2U
and F2A (Yonetani et al. 2019, arXiv:1905.09684) are settings of the second. The papers do not say
where users get fakes; here the server sends them.

1. ``selective_update``: users train copies of the server's D and upload what changed; the server
   applies the biggest changes to its D and trains G against it (``selective_update.py``).
2. ``average_output``: every D_j judges the same fakes, and G learns from the average of the outputs
   (``average_output.py``). That takes two exchanges: outputs go up, the loss's derivative by each
   output comes down, and each user turns it into the derivative by the images. No data and no
   discriminator leaves a user.
3. ``sequential``: approach 2 with one user after the other; G takes a step after each. Without a
   server (``serverless``), G itself travels from user to user on a ring, and each user keeps its
   own optimizer for it.

An epoch of the paper is one mini-batch a visit. Losses are the experiment's (the paper's: BCE).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, model_validator

from algorithms.distributed_gan.average_output import Aggregate, average_output, judge
from algorithms.distributed_gan.selective_update import Selection, selective_server, selective_user
from algorithms.settings import AlgorithmSettings, Link
from peer.peer import PAIR, Peer


class DistributedGanConfig(AlgorithmSettings):
    """Settings of ``algorithm: {name: distributed_gan, approach: sequential, ...}``."""

    approach: Literal["selective_update", "average_output", "sequential"] = Field(
        "sequential", description="1, 2 or 3 of the paper."
    )
    server: int | None = Field(0, ge=0, description="The peer that plays the server.")
    serverless: bool = Field(False, description="Sequential, the generator travelling on a ring.")
    selection: Selection = Field(default_factory=Selection, description="Of approach 1.")
    outputs: Aggregate = Field(default_factory=Aggregate, description="Of approach 2.")

    @model_validator(mode="before")
    @classmethod
    def _no_server(cls, data: Any) -> Any:
        return data | {"server": None} if data.get("serverless") else data

    @model_validator(mode="after")
    def _only_sequential_travels(self) -> DistributedGanConfig:
        if self.serverless and self.approach != "sequential":
            raise ValueError("serverless is a form of approach: sequential")
        return self

    def users(self, peers: int) -> list[int]:
        """All peers but the server, in order."""
        return [k for k in range(peers) if k != self.server]

    def nets(self, peer: int) -> tuple[str, ...]:
        """The server: G, and D in approach 1. A user: D, and G where it travels."""
        if self.serverless or (peer == self.server and self.approach == "selective_update"):
            return PAIR
        return ("generator",) if peer == self.server else ("discriminator",)

    def products(self, peers: int) -> list[int]:
        """The server's generator is judged; where it travels, user 0's, to whom it returns."""
        return [0 if self.server is None else self.server]

    def links(self, peers: int) -> Iterable[Link]:
        """Those of the star, or of the ring."""
        if self.server is None:
            return [(k, (k + 1) % peers) for k in range(peers) if peers > 1]
        return [(self.server, k) for k in self.users(peers)]


async def distributed_gan(peer: Peer, config: DistributedGanConfig) -> None:
    """The server's part or a user's, in the approach chosen."""
    async for _ in peer.rounds(config.rounds):
        at_server = peer.id == config.server
        match config.approach:
            case "selective_update" if at_server:
                await selective_server(peer, config.users(peer.peers), config.selection)
            case "selective_update":
                await selective_user(peer, config.server or 0, config.selection)
            case "average_output" if at_server:
                note_loss(
                    peer, await average_output(peer, config.users(peer.peers), config.outputs)
                )
            case "sequential" if at_server:
                losses = []
                for user in config.users(peer.peers):
                    losses += await average_output(peer, [user], Aggregate())
                note_loss(peer, losses)
            case "sequential" if config.serverless:
                await travel(peer)
            case _:
                await judge(peer, config.server or 0)


def note_loss(peer: Peer, losses: list[float]) -> None:
    """Into the server's record: the mean of G's losses, as no step of its own gives one."""
    if losses:
        peer.note(generator_loss=sum(losses) / len(losses))


async def travel(peer: Peer) -> None:
    """Approach 3 without a server: take G from the user before, train D_j and G, pass G on."""
    before, after = (peer.id - 1) % peer.peers, (peer.id + 1) % peer.peers
    if peer.id > 0:
        came = await peer.receive("generator", before)
        if came is not None:
            peer.load(came.tensors)
    await peer.adapt("discriminator")
    await peer.adapt("generator")
    if peer.peers > 1:
        await peer.send(after, "generator", peer.model(["generator"]))
        if peer.id == 0:  # the round is over when G is back
            came = await peer.receive("generator", before)
            if came is not None:
                peer.load(came.tensors)

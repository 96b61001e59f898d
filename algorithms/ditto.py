"""Ditto: a personal GAN for every worker, beside the federated one.

Source: Li, Hu, Beirami, Smith, "Ditto: Fair and Robust Federated Learning Through Personalization"
(ICML 2021, arXiv:2012.04221), with the order of phases of its public implementation.

A worker's first pair of nets is the personal one, v_k, which stays with the worker. Its second
pair, ``global_``, is its copy of the server's model, trained and sent back as in FedAvg. The
personal generators are judged.
"""

from __future__ import annotations

from pydantic import Field

from algorithms.fedavg import FedAvgConfig, sampled
from algorithms.fedavg import server as average
from peer.gan.net_name import pair_of
from peer.peer import PAIR, Peer
from peer.training import Training, train

GLOBAL = "global_"


class DittoConfig(FedAvgConfig):
    """Settings of ``algorithm: {name: ditto, ...}``; the defaults are those of the Oasis paper."""

    pull: float = Field(0.1, ge=0, description="lambda: the pull of v_k to the received model.")
    personal_steps: int = Field(5, ge=0, description="Personal GAN iterations a round.")

    def nets(self, peer: int) -> tuple[str, ...]:
        """A worker holds two pairs."""
        return PAIR if peer == self.server else (*PAIR, *pair_of(GLOBAL))

    def products(self, peers: int) -> list[int]:
        """The workers' personal generators are judged."""
        return self.workers(peers)


async def ditto(peer: Peer, config: DittoConfig) -> None:
    """The server's part, which is that of FedAvg, or a worker's."""
    await (average if peer.id == config.server else worker)(peer, config)


async def worker(peer: Peer, config: DittoConfig) -> None:
    """Train the personal pair, pulled towards the model received; then train that model."""
    async for _ in peer.rounds(config.rounds):
        if peer.id not in sampled(peer, config):
            continue  # v_k stays as it is
        model = await peer.receive("model", config.server)  # w_t
        if model is None:
            continue
        # v_k = v_k - mu (grad F_k(v_k) + lambda (v_k - w_t))
        how = Training(config.order, config.n_d, config.pull, anchors=model.tensors)
        await train(peer, config.personal_steps, how)
        peer.load(model.tensors, GLOBAL, buffers=config.sync_buffers)
        if config.optimizer_state == "reset":
            peer.reset_optimizer(*pair_of(GLOBAL))
        how = Training(config.order, config.n_d, config.mu, anchors=model.tensors, prefix=GLOBAL)
        await train(peer, config.local_steps, how)  # local training of w from w_t, as in FedAvg
        await peer.send(config.server, "update", peer.model(PAIR, GLOBAL), samples=peer.samples)

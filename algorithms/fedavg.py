"""Federated averaging of GANs, and its relatives.

Every worker holds a whole GAN; the server at the centre of the star averages the models that the
workers of a round send back. Settings make it one of:

- FedAvg (McMahan et al. 2017, arXiv:1602.05629; Oasis, equation 2): weights n_k / sum of n over the
  workers that answered (``weighting: samples``);
- FL-vanilla of the FeGAN paper: a plain mean over the workers that answered (``weighting:
  uniform``, as in its released code), 30 local steps, G first;
- FedProx (Li et al. 2020, arXiv:1812.06127): ``mu`` > 0 adds mu/2 ||w - w_t||^2 to both nets'
  losses, w_t being the model received; with Adam, its gradient is added before the moments;
- FedGAN (Rasouli et al. 2020, arXiv:2006.07228): full participation, weights by samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field

from algorithms.settings import FederatedSettings, share_of
from peer.compute.combine import weighted_mean
from peer.effects import Letter
from peer.peer import PAIR, Peer
from peer.training import Training, train


class FedAvgConfig(FederatedSettings):
    """Settings of ``algorithm: {name: fedavg, ...}``."""

    weighting: Literal["samples", "uniform"] = Field(
        "samples", description="n_k / sum n, or a plain mean, over the workers that answered."
    )


async def fedavg(peer: Peer, config: FedAvgConfig) -> None:
    """The server's part or a worker's."""
    await (server if peer.id == config.server else worker)(peer, config)


async def server(peer: Peer, config: FedAvgConfig) -> None:
    """Send the model out and average what comes back; if nothing does, keep the model."""
    async for _ in peer.rounds(config.rounds):
        chosen = sampled(peer, config)
        await peer.send(chosen, "model", peer.model())
        updates = await peer.gather("update", chosen)
        if updates:
            peer.load(mean_of(updates, config.weighting))  # w = sum over k of n_k/n w_k
        peer.note(participants=sorted(updates))


async def worker(peer: Peer, config: FedAvgConfig) -> None:
    """In the rounds for which this worker is chosen, train the model and send it back."""
    async for _ in peer.rounds(config.rounds):
        if peer.id not in sampled(peer, config):
            continue
        model = await peer.receive("model", config.server)  # w_t
        if model is None:
            continue
        peer.load(model.tensors, buffers=config.sync_buffers)
        if config.optimizer_state == "reset":
            peer.reset_optimizer(*PAIR)
        how = Training(config.order, config.n_d, config.mu, anchors=model.tensors)
        await train(peer, config.local_steps, how)
        await peer.send(config.server, "update", peer.model(), samples=peer.samples)


def sampled(peer: Peer, config: FederatedSettings, among: Sequence[int] | None = None) -> list[int]:
    """This round's max(1, floor(C N)) workers, drawn without replacement, the same at every peer.

    ``among`` are the N workers to draw from; all of them if None.
    """
    workers = config.workers(peer.peers) if among is None else among
    count = share_of(len(workers), config.fraction)
    rng = peer.common_rng("workers")
    return sorted(int(k) for k in rng.choice(workers, count, replace=False))


def mean_of(updates: dict[int, Letter], weighting: str) -> dict[str, torch.Tensor]:
    """The mean, net by net, of the models in ``updates``: by their samples, or a plain one."""
    weights = {
        k: float(update.facts["samples"]) if weighting == "samples" else 1.0
        for k, update in updates.items()
    }
    return weighted_mean({k: update.tensors for k, update in updates.items()}, weights)

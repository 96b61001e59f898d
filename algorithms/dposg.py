"""DPOSG: optimistic steps of both nets at once, with several mixings a step.

Source: Liu, Zhang, Mroueh, Cui, Ross, Yang, Das, "A Decentralized Parallel Algorithm for Training
Generative Adversarial Nets" (NeurIPS 2020, arXiv:1910.12999), algorithm 1. With X = (w_G, w_D) of
all peers as columns, W the combination weights and g the stochastic gradients of (L_G, L_D):

    Z_k = X_{k-1} W^t - eta g(xi_{k-1}, Z_{k-1})
    X_k = X_{k-1} W^t - eta g(xi_k, Z_k)

The text was not to be had. Its abstract, which was, says that both nets step at once and that peers
communicate several times in an iteration. The formula, and that it begins with Z_0 = X_0 and a
gradient there, are from other authors' implementation of it, with t = 1; the power W^t is from its
reviews.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from algorithms.settings import AlgorithmSettings
from peer.peer import PAIR, Peer
from peer.simultaneous import Pair, descend, draw_sample, gradients, point_of


class DposgConfig(AlgorithmSettings):
    """Settings of ``algorithm: {name: dposg, ...}``."""

    plain_sgd: ClassVar[bool] = True

    rounds: int = Field(ge=0, description="Iterations k, of one fresh gradient of both nets each.")
    mixings: int = Field(1, ge=1, description="t: combinations of both nets an iteration.")


async def dposg(peer: Peer, config: DposgConfig) -> None:
    """What every peer runs; the gradient at Z_k is kept for the next iteration."""
    g: Pair
    kept = {net: f"gradient/{net}" for net in PAIR}
    async for _ in peer.rounds(config.rounds):
        g = {net: peer.tensors[name] for net, name in kept.items() if name in peer.tensors}
        g = g or await gradients(peer, draw_sample(peer))  # g(xi_0, Z_0), and Z_0 = X_0
        for _ in range(config.mixings):
            for net in PAIR:
                await peer.combine(net)
        mixed = point_of(peer)  # X_{k-1} W^t
        # A net whose gradient was not finite took no step with it, and does not look ahead.
        ahead = {net: vector for net, vector in g.items() if vector.isfinite().all()}
        await descend(peer, ahead)  # Z_k = X_{k-1} W^t - eta g(xi_{k-1}, Z_{k-1})
        g = await gradients(peer, draw_sample(peer))  # g(xi_k, Z_k)
        peer.load(mixed, buffers=False)
        await descend(peer, g)  # X_k = X_{k-1} W^t - eta g(xi_k, Z_k)
        peer.tensors.update({name: g[net] for net, name in kept.items()})

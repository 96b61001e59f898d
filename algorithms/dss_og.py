"""DSS-OG: diffusion with an optimistic gradient whose two parts are taken on the same sample.

Source: Cai, Alghunaim, Sayed, "Diffusion Stochastic Optimization for Min-Max Problems"
(arXiv:2401.14585), the successor of the diffusion GAN paper. With w = (w_G, w_D), g the stochastic
gradients of (L_G, L_D), and mu of each net its own:

    phi_k = w_k(i-1) - mu [2 g(w_k(i-1); xi_i) - g(w_k(i-2); xi_i)]
    w_k(i) = sum over l in N_k of a_lk phi_l

The text was not to be had. Its abstract, which was, says that the gradient is optimistic, that its
parts are of the same sample, so that both can be computed in parallel, and that agents communicate
by a left-stochastic protocol. The formula is from secondary sources, not checked against the text;
that w_k(-1) = w_k(0), so that the first step is a plain one, is ours.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from algorithms.settings import AlgorithmSettings
from peer.peer import PAIR, Peer
from peer.simultaneous import Pair, descend, draw_sample, gradients, gradients_at, point_of


class DssOgConfig(AlgorithmSettings):
    """Settings of ``algorithm: {name: dss_og, ...}``."""

    plain_sgd: ClassVar[bool] = True

    rounds: int = Field(ge=0, description="Iterations i, of one sample and one combination each.")


async def dss_og(peer: Peer, config: DssOgConfig) -> None:
    """What every peer k runs; its point w_k(i-2) is kept, too."""
    previous: Pair
    kept = {net: f"previous/{net}" for net in PAIR}
    async for _ in peer.rounds(config.rounds):
        w = point_of(peer)  # w_k(i-1)
        previous = {net: peer.tensors.get(name, w[net]) for net, name in kept.items()}  # w_k(i-2)
        xi = draw_sample(peer)
        old = await gradients_at(peer, previous, xi)  # g(w_k(i-2); xi_i)
        g = await gradients(peer, xi)  # g(w_k(i-1); xi_i)
        await descend(peer, {net: 2 * g[net] - old[net] for net in PAIR})  # phi_k
        for net in PAIR:
            await peer.combine(net)  # w_k(i) = sum over l in N_k of a_lk phi_l
        peer.tensors.update({name: w[net] for net, name in kept.items()})

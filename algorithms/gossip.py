"""Gossiping GANs: without a server, each peer averages its GAN with one other peer's in a round.

Source: Hardy, Le Merrer, Sericola, "Gossiping GANs" (DIDL 2018, doi:10.1145/3286490.3286563). The
abstract says that generators and discriminators are gossiped together or independently; it gives
neither period nor formula, so the defaults (one local epoch, pairwise means) are ours.

A round is one gossip period. Who meets whom follows from (seed, round): both ends know it without
asking. ``mix`` says how peer r, or both, average:

- ``pairwise``: both set w = (w_k + w_r)/2, which keeps the network's mean;
- ``push``: each peer k sends to one r, which sets w_r = (w_r + w_k)/2;
- ``sum_weight`` (GoSGD: Blot et al. 2016, arXiv:1611.09726): the sender halves its mass alpha_k
  and sends one half along; w_r = (alpha_r w_r + alpha_k w_k) / (alpha_r + alpha_k), which keeps the
  mean weighted by mass. No mass is lost, nor doubled (:mod:`algorithms.mass`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Literal

from pydantic import Field

from algorithms.mass import push_mass
from algorithms.partners import pairs, targets
from algorithms.settings import AlgorithmSettings, Link
from peer.effects import Letter
from peer.peer import PAIR, Peer
from peer.training import Order, Training, train


class GossipConfig(AlgorithmSettings):
    """Settings of ``algorithm: {name: gossip, ...}``."""

    period: int | None = Field(
        None, ge=1, description="T_g: local iterations a round; one local epoch if absent."
    )
    probability: float = Field(1.0, gt=0, le=1, description="That a peer starts gossip in a round.")
    mode: Literal["together", "independent"] = Field(
        "together", description="G and D meet the same partner, or one each."
    )
    mix: Literal["pairwise", "push", "sum_weight"] = Field(
        "pairwise", description="Both average; one takes the other's; or by mass (GoSGD)."
    )
    partners: Literal["neighbours", "anybody"] = Field("neighbours", description="Who may meet.")
    mass: Literal["equal", "samples"] = Field(
        "equal", description="In pairs: one half each, or n_k / (n_k + n_r)."
    )
    order: Order = Field("D_first", description="Which net steps first; or simultaneous.")

    def links(self, peers: int) -> Iterable[Link]:
        """All pairs of peers, if anybody may meet anybody."""
        return combinations(range(peers), 2) if self.partners == "anybody" else ()


async def gossip(peer: Peer, config: GossipConfig) -> None:
    """What every peer k runs."""
    groups = [PAIR] if config.mode == "together" else [(net,) for net in PAIR]
    steps = config.period or max(1, peer.samples // peer.batch)
    async for _ in peer.rounds(config.rounds):
        await train(peer, steps, Training(config.order))
        for nets in groups:
            rng = peer.common_rng("gossip " + " ".join(nets))
            if config.mix == "pairwise":
                await meet(peer, nets, pairs(known(peer, config), config.probability, rng), config)
            else:
                await push(
                    peer, nets, targets(known(peer, config), config.probability, rng), config
                )


async def meet(
    peer: Peer, nets: tuple[str, ...], pair: dict[int, int], config: GossipConfig
) -> None:
    """w_k = (1 - s) w_k + s w_r with this round's partner r: s is 1/2, or n_r / (n_k + n_r)."""
    partner = pair.get(peer.id)
    if partner is None:
        return
    share = 0.5
    if config.mass == "samples":
        ours = Letter("samples", facts={"n": peer.samples})
        answer = (await peer.exchange("samples", {partner: ours}, [partner])).get(partner)
        theirs = 0 if answer is None else int(answer.facts["n"])
        share = theirs / (theirs + peer.samples)
    for net in nets:
        await peer.combine(net, {partner: share})


async def push(
    peer: Peer, nets: tuple[str, ...], target: dict[int, int], config: GossipConfig
) -> None:
    """Send to this round's target, and average with what others send, in the order of their ids."""
    if config.mix == "sum_weight":
        await push_mass(peer, nets, target)
        return
    letters = {target[peer.id]: Letter("model", peer.model(nets))} if peer.id in target else {}
    senders = [k for k, r in target.items() if r == peer.id]
    for letter in (await peer.exchange("model", letters, senders)).values():
        for net in nets:
            w = peer.model([net])[net]
            w.add_(letter.tensors[net] - w, alpha=0.5)


def known(peer: Peer, config: GossipConfig) -> dict[int, tuple[int, ...]]:
    """By peer, those whom it may meet in this round."""
    everybody = range(peer.peers)
    if config.partners == "anybody":
        return {k: tuple(r for r in everybody if r != k) for k in everybody}
    return {k: peer.neighbours_of(k) for k in everybody}

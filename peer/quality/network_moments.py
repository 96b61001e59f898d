"""The moments of all peers' images, known to every peer though no image left its machine.

Before the first round, each peer extracts the moments of its own images, and peers average them
(:mod:`peer.quality.consensus`). A peer that comes later asks its neighbours after a round in which
generators are judged.
"""

from __future__ import annotations

import torch

from peer.effects import Letter
from peer.peer import Peer
from peer.quality.consensus import network_mean
from peer.quality.features import Features
from peer.quality.moments import Moments, packed_length
from topology.errors import note

KEPT = "moments/network"
"""The name of the packed moments (:meth:`Moments.packed`) among a peer's tensors."""

TOLERANCE = 1e-6
"""Shares in the mean may differ by so much; beyond it, the score is said to lean."""


async def gather(peer: Peer, features: Features | None, dimension: int, least: int) -> None:
    """Find the network's moments, unless they are known from before.

    Args:
        peer: who calls; all of them do.
        features: of its own images; None where it holds none.
        dimension: d, of everybody's features.
        least: a peer with fewer images tells nothing of them: their moments would give them away.
    """
    if KEPT in peer.tensors:
        return
    own = Moments.none(dimension)
    if features is not None and peer.samples >= least:
        own = Moments.of(features, peer.pixels, dimension)
    elif features is not None:
        note(
            f"metrics.least: peer {peer.id} has {peer.samples} images, fewer than {least}: nothing "
            "is told of them, and the network's score leaves them out"
        )
    found = await network_mean(peer, "moments", own.packed())
    if len(found.peers) == 1 < peer.peers:
        return  # it has been alone: its neighbours know more, and are asked later
    of_all = Moments.unpacked(found.value).scaled(len(found.peers))
    peer.tensors[KEPT] = of_all.packed()
    if found.deviation > TOLERANCE or len(found.peers) < peer.peers:
        absent = sorted(set(range(peer.peers)) - set(found.peers))
        who = f"without peers {absent}" if absent else "of all peers"
        note(
            f"metrics: the score is against images {who}, their shares in it equal to "
            f"{found.deviation:.1g}; neighbours were away while moments were exchanged"
        )


async def share(peer: Peer, dimension: int) -> None:
    """After a round: whoever does not know the network's moments gets them from a neighbour."""
    neighbours = peer.neighbours
    known = peer.tensors.get(KEPT)
    letter = Letter("moments known", facts={"known": known is not None})
    asked = await peer.exchange("moments known", dict.fromkeys(neighbours, letter), neighbours)
    known_there = {k: of.facts.get("known") is True for k, of in asked.items()}
    if known is not None:
        answer = Letter("moments", {"y": known})
        asking = [k for k, has in known_there.items() if not has and k not in peer.missed]
        if asking:
            await peer.exchange("moments", dict.fromkeys(asking, answer), ())
        return
    telling = [k for k, has in known_there.items() if has and k not in peer.missed]
    if telling:
        for told in (await peer.gather("moments", telling)).values():
            packed = told.tensors.get("y")
            if packed is not None and is_usable(packed, dimension):
                peer.tensors[KEPT] = packed.cpu()
                return


def is_usable(packed: torch.Tensor, dimension: int) -> bool:
    """Whether moments that a neighbour sent can be those of at least two images."""
    right = packed.dtype == torch.float64 and packed.shape == (packed_length(dimension),)
    return right and bool(packed.isfinite().all()) and float(packed[0]) >= 2

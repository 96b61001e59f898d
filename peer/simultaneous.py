"""Both nets at once: gradients of L_G and L_D at one point, and steps along what is made of them.

Methods for games take w = (w_G, w_D) for one point, and g(w; xi) = (dL_G/dw_G, dL_D/dw_D), the
gradient of each net's own loss, for one gradient. A sample xi is a mini-batch: real images, and the
noise from which D's fakes and G's images are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from peer.compute.guard import keep_buffers, restore
from peer.effects import Gradient
from peer.gan.net_name import PAIR, Role
from peer.gan.objectives import Batch
from peer.peer import Peer

Pair = Mapping[str, torch.Tensor]
"""A vector for each net: a point's (P,), or a gradient's (trained,), which is without buffers."""


def draw_sample(peer: Peer) -> Batch:
    """xi: the next mini-batch of real images, of noise, and of whatever else the losses draw."""
    return peer.state.draw_batch(sees_data=True)


def point_of(peer: Peer) -> Pair:
    """w: copies of both nets' arenas, (P,) each."""
    return {net: vector.clone() for net, vector in peer.model().items()}


async def gradients(peer: Peer, xi: Batch) -> Pair:
    """g(w; xi) at the peer's nets, (trained,) each; NaN where it is not finite.

    Losses and norms go into the round's record, as :meth:`peer.peer.Peer.gradient` puts them there.
    """
    for net in PAIR:
        await peer.gradient(net, **_inputs(net, xi))
    return _kept(peer)


async def gradients_at(peer: Peer, point: Pair, xi: Batch) -> Pair:
    """g(w; xi) at another point w than the peer's nets, (trained,) each; NaN if not finite.

    The nets are as before when it returns, batch-norm statistics included, and nothing is recorded.
    What modules draw inside (dropout) is drawn again in the next gradient: it belongs to xi.
    """
    state = peer.state
    here, buffers = point_of(peer), keep_buffers(state.nets[net] for net in PAIR)
    drawn = state.streams["modules"].bit_generator.state if state.gan.draws else None
    peer.load(point, buffers=False)
    for net in PAIR:
        await Gradient(net, net, _inputs(net, xi))
    peer.load(here, buffers=False)
    restore(buffers)
    if drawn is not None:
        state.streams["modules"].bit_generator.state = drawn
    return _kept(peer)


async def descend(peer: Peer, direction: Pair) -> None:
    """``w = w - mu * direction`` for each net in ``direction``, mu being its optimizer's rate.

    Where the direction is not finite, the net takes no step (:mod:`peer.compute.guard`).

    Args:
        peer: whose nets step.
        direction: (trained,) each.
    """
    for net, vector in direction.items():
        peer.state.nets[net].arena.gradient.copy_(vector)
        await peer.step(net)


def _inputs(net: Role, xi: Batch) -> dict[str, Any]:
    """What the objective of ``net`` takes of ``xi``, by field, so that nothing is drawn for it."""
    if net == "generator":
        seen = {"z": xi.z, "augment_fake": xi.augment_fake}
        return {field: value for field, value in seen.items() if value is not None}
    drawn = {field: value for field, value in xi._asdict().items() if value is not None}
    return drawn | {"r1": xi.r1}  # None, too, is told: the penalty is not due


def _kept(peer: Peer) -> Pair:
    return {net: peer.state.nets[net].arena.gradient.clone() for net in PAIR}

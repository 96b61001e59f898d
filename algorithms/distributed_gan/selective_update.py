"""Approach 1 of Distributed-GAN: the server's D takes over the biggest changes of the users'."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from algorithms.settings import share_of
from peer.effects import Letter
from peer.peer import Peer
from peer.settings import Settings


class Selection(Settings):
    """Settings under ``selection:``. The paper says "the biggest Delta w_i", and no more.

    ``rule``: coordinate by coordinate the change of largest magnitude, its sign kept
    (``elem_maxabs``), or the largest with its sign (``elem_max_signed``); the whole change of the
    user that moved farthest (``user_max_norm``); or the ``mean``.
    """

    rule: Literal["elem_maxabs", "elem_max_signed", "user_max_norm", "mean"] = "elem_maxabs"
    fraction: float = Field(
        1.0, gt=0, le=1, description="theta_u: a user uploads its largest changes only."
    )
    threshold: float = Field(0.0, ge=0, description="... and only those larger than this.")
    steps: int = Field(1, ge=1, description="Local discriminator steps a round.")


async def selective_server(peer: Peer, users: list[int], how: Selection) -> None:
    """One round at the server: fakes and D out, changes in; D_s += the biggest; a step of G."""
    fake = await peer.generate("generator", peer.noise())
    await peer.send(users, "model", peer.model(["discriminator"]) | {"fake": fake})
    changes = await peer.gather("change", users)
    if changes:
        w = peer.model(["discriminator"])["discriminator"]
        w.add_(select([dense(letter, w) for letter in changes.values()], how.rule))
    await peer.adapt("generator")  # L_G = BCE(D_s(G(z)), 1)


async def selective_user(peer: Peer, server: int, how: Selection) -> None:
    """One round at a user: take w_s, train it on its own data, upload w_after - w_before."""
    model = await peer.receive("model", server)
    if model is None:
        return
    peer.load(model.tensors)
    await peer.adapt("discriminator", how.steps, fake=model.tensors["fake"])
    change = peer.model(["discriminator"])["discriminator"] - model.tensors["discriminator"]
    parameters = peer.parameter_count("discriminator")
    await peer.send(server, "change", largest(change, how, parameters))


def largest(change: torch.Tensor, how: Selection, parameters: int) -> dict[str, torch.Tensor]:
    """The coordinates of ``change`` (P,) that are uploaded: ``values``, and ``places`` if not all.

    theta_u is a share of the ``parameters``, which are fewer than P by padding and buffers.
    """
    if how.fraction == 1 and how.threshold == 0:
        return {"values": change}
    size = change.abs()
    count = share_of(parameters, how.fraction)
    places = torch.sort(size, descending=True, stable=True).indices[:count]
    places = places[size[places] > how.threshold].sort().values
    return {"places": places, "values": change[places]}


def dense(letter: Letter, w: torch.Tensor) -> torch.Tensor:
    """An uploaded change as (P,), zero where nothing was uploaded."""
    values, places = letter.tensors["values"], letter.tensors.get("places")
    return values if places is None else torch.zeros_like(w).index_copy_(0, places, values)


def select(changes: list[torch.Tensor], rule: str) -> torch.Tensor:
    """max(Delta w_i) as ``rule`` defines it, (P,); the first of equal ``changes`` is taken."""
    stacked = torch.stack(changes)  # (users, P)
    match rule:
        case "elem_maxabs":
            return stacked.gather(0, stacked.abs().argmax(dim=0, keepdim=True))[0]
        case "elem_max_signed":
            return stacked.amax(dim=0)
        case "user_max_norm":
            return stacked[int(stacked.square().sum(dim=1).argmax())]
        case _:
            return stacked.mean(dim=0)

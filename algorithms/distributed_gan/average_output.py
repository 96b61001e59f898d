"""Approach 2 of Distributed-GAN, F2U and F2A: G's loss from many discriminators' outputs."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from peer.peer import Peer
from peer.settings import Settings


class Aggregate(Settings):
    """Settings under ``outputs:``.

    ``mean`` (approach 2): ``sum over j of v_j D_j``, v_j = 1/m by default;
    ``max`` (F2U): for each sample, the output of the D_j that it fools most;
    ``softmax`` (F2A): ``sum over j of S_j D_j``, ``S = softmax(lambda D)``, with ``beta lambda^2``
    added to the loss and lambda >= 0 learned along with G. lambda = 0 is the mean, infinity is F2U.
    """

    by: Literal["mean", "max", "softmax"] = "mean"
    v: dict[int, float] | None = Field(None, description="Weights v_j by user; equal if absent.")
    start: float = Field(0.1, ge=0, description="lambda_0 of F2A.")
    beta: float = Field(0.1, ge=0, description="beta of F2A.")
    lr: float = Field(0.01, gt=0, description="Step size of lambda.")


def aggregate(
    peer: Peer, users: list[int], phi: torch.Tensor, how: Aggregate
) -> tuple[torch.Tensor, float]:
    """dL/dphi_j, (batch, m), of G's loss L by the aggregated output; and L.

    The outputs D_j are probabilities sigma(phi_j); with least squares, hinge and Wasserstein, whose
    losses are of logits, they are phi_j itself. F2A's
    lambda, one of the peer's facts, takes a step, too.

    Args:
        peer: the server.
        users: the ids of the m users, one for each column of ``phi``.
        phi: their discriminators' logits, (batch, m).
        how: the settings.
    """
    leaf = phi.detach().requires_grad_()
    of_logits = peer.loss in ("lsgan", "hinge", "wgan")
    D = leaf if of_logits else torch.sigmoid(leaf)  # (batch, m)
    temperature = torch.tensor(float(peer.facts.get("lambda", how.start)), requires_grad=True)
    match how.by:
        case "mean":
            v = torch.tensor([1.0 if how.v is None else how.v.get(j, 0.0) for j in users])
            aggregated = D @ (v / v.sum()).to(D.device)  # (batch,)
        case "max":
            aggregated = D.amax(dim=1)
        case "softmax":
            weights = torch.softmax(temperature.to(D.device) * D, dim=1)
            aggregated = (weights * D).sum(dim=1)
    if peer.loss == "lsgan":
        loss = (aggregated - 1).square().mean()
    elif of_logits:
        loss = -aggregated.mean()
    elif peer.loss == "bce_sat":
        loss = torch.log1p(-aggregated).mean()
    else:
        loss = -torch.log(aggregated).mean()
    if how.by == "softmax":
        loss = loss + how.beta * temperature.square()
    torch.autograd.backward(loss)
    if how.by == "softmax":
        assert temperature.grad is not None
        stepped = float(temperature.detach()) - how.lr * float(temperature.grad)
        peer.facts["lambda"] = max(0.0, stepped)
    assert leaf.grad is not None
    return leaf.grad, float(loss.detach())


async def average_output(peer: Peer, users: list[int], how: Aggregate) -> list[float]:
    """At the server: send fakes, gather outputs, send dL/dphi_j, gather dL/dx; then step G.

    Returns G's loss; an empty list where no user answered.
    """
    z_d, z_g = peer.noise(), peer.noise()  # fresh z for G
    fakes = {"d": await peer.generate("generator", z_d), "g": await peer.generate("generator", z_g)}
    await peer.send(users, "fakes", fakes)
    outputs = await peer.gather("outputs", users)
    if not outputs:
        return []
    phi = torch.cat([letter.tensors["phi"] for letter in outputs.values()], dim=1)  # (batch, m)
    cotangents, loss = aggregate(peer, list(outputs), phi, how)  # dL/dphi_j, (batch, m)
    for j, user in enumerate(outputs):
        await peer.send(user, "dL_dphi", {"cotangent": cotangents[:, j : j + 1]})
    errors = await peer.gather("error", outputs)
    if errors:
        total = torch.zeros_like(fakes["g"])
        for letter in errors.values():  # dL/dx = sum over j of dL/dphi_j dphi_j/dx
            total += letter.tensors["e"]
        await peer.descend([z_g], [total])
    return [loss]


async def judge(peer: Peer, server: int) -> None:
    """At a user: train D_j, send its outputs for the fakes, then their dL/dx."""
    fakes = await peer.receive("fakes", server)
    if fakes is None:
        return
    await peer.adapt("discriminator", fake=fakes.tensors["d"])
    view = peer.view(fakes.tensors["g"])
    await peer.send(server, "outputs", {"phi": await peer.judge(view.images)})
    answer = await peer.receive("dL_dphi", server)
    if answer is not None:
        error = await peer.feedback(view.images, answer.tensors["cotangent"])
        await peer.send(server, "error", {"e": view.error_before(error)})

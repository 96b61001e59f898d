"""Approach 2 of Distributed-GAN, F2U and F2A: G's loss from many discriminators' outputs."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch.nn.functional import logsigmoid

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
    v: dict[int, NonNegativeFloat] | None = Field(None, description="By user; equal if absent.")
    start: float = Field(0.1, ge=0, description="lambda_0 of F2A.")
    beta: float = Field(0.1, ge=0, description="beta of F2A.")
    lr: float = Field(0.01, gt=0, description="Step size of lambda.")

    def counts(self, user: int) -> bool:
        """Whether that user's output has a part in the aggregate: not where its v_j is 0."""
        return self.by != "mean" or self.v is None or self.v.get(user, 0.0) > 0


def aggregate(
    peer: Peer, users: list[int], phi: torch.Tensor, how: Aggregate
) -> tuple[torch.Tensor, float]:
    """dL/dphi_j, (batch, m), of G's loss L by the aggregated output; and L.

    The outputs D_j are probabilities sigma(phi_j); with least squares, hinge and Wasserstein, whose
    losses are of logits, they are phi_j itself. The aggregate is ``sum over j of s_j D_j``; shares
    s_j sum to 1, so that 1 minus it is ``sum over j of s_j (1 - D_j)``. Logarithms of these sums
    are taken from ``ln s_j`` and ``ln D_j``: in float32 D_j is 0 or 1 for a logit far from 0.
    Where every v_j is 0, both are 0. F2A's lambda, one of the peer's facts, takes a step, too.

    Args:
        peer: the server.
        users: the ids of the m users, one for each column of ``phi``.
        phi: their discriminators' logits, (batch, m).
        how: the settings.
    """
    if not any(map(how.counts, users)):
        return torch.zeros_like(phi), 0.0
    leaf = logits = phi.detach().requires_grad_()  # (batch, m)
    of_logits = peer.loss in ("lsgan", "hinge", "wgan")
    temperature = torch.tensor(float(peer.facts.get("lambda", how.start)), requires_grad=True)
    match how.by:
        case "mean":
            v = torch.tensor([1.0 if how.v is None else how.v.get(j, 0.0) for j in users])
            s = (v / v.sum()).to(leaf.device)  # (m,)
            ln_s = s.log()  # -inf where v_j = 0: then D_j has no part in the sum
        case "max":  # the largest D_j is that of the largest logit
            logits = leaf.amax(dim=1, keepdim=True)  # (batch, 1)
            s, ln_s = torch.ones(1, device=leaf.device), torch.zeros(1, device=leaf.device)
        case "softmax":
            scores = temperature.to(leaf.device) * (leaf if of_logits else torch.sigmoid(leaf))
            s, ln_s = torch.softmax(scores, dim=1), torch.log_softmax(scores, dim=1)  # (batch, m)
    if peer.loss == "bce_sat":  # ln(1 - sum over j of s_j D_j), with 1 - D_j = sigma(-phi_j)
        loss = torch.logsumexp(ln_s + logsigmoid(-logits), dim=1).mean()
    elif peer.loss == "bce_ns":  # -ln(sum over j of s_j D_j)
        loss = -torch.logsumexp(ln_s + logsigmoid(logits), dim=1).mean()
    else:
        D = (s * logits).sum(dim=1)  # (batch,)
        loss = (D - 1).square().mean() if peer.loss == "lsgan" else -D.mean()
    if how.by == "softmax":
        loss = loss + how.beta * temperature.square()
    torch.autograd.backward(loss)
    if temperature.grad is not None:
        stepped = float(temperature.detach()) - how.lr * float(temperature.grad)
        peer.facts["lambda"] = max(0.0, stepped)
    assert leaf.grad is not None
    return leaf.grad, float(loss.detach())


async def average_output(peer: Peer, users: list[int], how: Aggregate) -> list[float]:
    """At the server: send fakes, gather outputs, send dL/dphi_j, gather dL/dx; then step G.

    Returns G's loss; nothing where no user whose v_j is above 0 answers: then G takes no step.
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
    if any(map(how.counts, errors)):
        total = torch.zeros_like(fakes["g"])
        for letter in errors.values():  # dL/dx = sum over j of dL/dphi_j dphi_j/dx
            total += letter.tensors["e"]
        await peer.descend([z_g], [total])
    return [loss] if any(map(how.counts, outputs)) else []


async def judge(peer: Peer, server: int) -> None:
    """At a user: train D_j, send its outputs for the fakes, then their dL/dx."""
    fakes = await peer.receive("fakes", server)
    if fakes is None:
        return
    await peer.adapt("discriminator", fake=fakes.tensors["d"])
    view = peer.view(fakes.tensors["g"])
    await peer.send(server, "outputs", {"phi": await peer.judge(view)})
    answer = await peer.receive("dL_dphi", server)
    if answer is not None:
        error = await peer.feedback(view, answer.tensors["cotangent"])
        await peer.send(server, "error", {"e": error})

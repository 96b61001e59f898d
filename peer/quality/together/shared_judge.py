"""A judge for classes that no machine has all images of: peers train it together, by diffusion.

It is the classifier that judges where all images come from one source
(:mod:`peer.quality.classifier`), trained before the first round on each peer's own labelled images:
a few steps of SGD, then a combine with Metropolis weights, again and again. A fifth of each peer's
images is held out, and what share of all of them the peers' judges get right is averaged over the
network: under :data:`TRUSTED`, nobody says which classes are covered.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from peer.effects import Letter
from peer.peer import Peer
from peer.quality.classifier import Judge, untrained_net
from peer.quality.together.consensus import begin_part, network_mean
from topology import neighbour_weights
from topology.errors import note

KEPT = "judge"
"""The name of the judge's parameters, (P,), among a peer's tensors, and of its accuracy among its
facts."""

TRUSTED = 0.9
"""The accuracy from which on coverage is said."""

COMBINES = 120
STEPS = 3
"""Local steps before each combine."""

BATCH = 64
RATE = 0.05
"""The largest step size; it falls to 0 along half a cosine."""

MOMENTUM = 0.9


async def train(peer: Peer, shape: tuple[int, int, int]) -> None:
    """Train the judge with the neighbours, unless it is known from before.

    A peer without labelled images combines what it gets.

    Args:
        peer: who calls; all of them do.
        shape: channels, height and width of the images.
    """
    if peer.classes < 2:
        note("metrics.judge: the images are in no classes that a judge could tell apart")
        return
    if KEPT in peer.tensors:
        return
    net = untrained_net(shape, peer.classes, peer.seed)
    vector = nn.utils.parameters_to_vector(net.parameters()).detach()  # (P,)
    training, held_out = _parts(peer)
    velocity = torch.zeros_like(vector)
    graph = peer.schedule.union()
    weights = neighbour_weights(graph, "metropolis", peer.id)
    begin_part(peer, 2)
    for turn in range(COMBINES):
        rate = RATE * (1 + math.cos(math.pi * turn / COMBINES)) / 2
        for _ in range(STEPS if len(training) else 0):
            gradient = _gradient(peer, net, vector, training)
            velocity = MOMENTUM * velocity + gradient
            vector = vector - rate * velocity
        letters = dict.fromkeys(weights, Letter("judge", {"w": vector}))
        received = await peer.exchange("judge", letters, weights)
        mixed = vector.clone()  # sum over l in N_k of a_lk w_l, in id order
        for neighbour, letter in received.items():
            theirs = letter.tensors.get("w")
            if neighbour not in peer.missed and theirs is not None and theirs.shape == mixed.shape:
                mixed += weights[neighbour] * (theirs.cpu() - vector)
        vector = mixed
    right = 0.0
    if len(held_out):
        assert peer.labels is not None
        judged = judge_of(vector, shape, peer.classes).probabilities(peer.pixels[held_out])
        right = float((judged.argmax(axis=1) == peer.labels[held_out.numpy()]).sum())
    mine = torch.tensor([right, float(len(held_out))], dtype=torch.float64)
    counts = (await network_mean(peer, "judged right", mine, part=3)).value
    peer.tensors[KEPT] = vector
    peer.facts[KEPT] = float(counts[0] / counts[1]) if counts[1] > 0 else 0.0


def judge_of(vector: torch.Tensor, shape: tuple[int, int, int], classes: int) -> Judge:
    """The judge with these parameters, (P,)."""
    net = untrained_net(shape, classes, 0)
    nn.utils.vector_to_parameters(vector.detach().cpu(), net.parameters())
    return Judge(net, classes)


def length_of(shape: tuple[int, int, int], classes: int) -> int:
    """How many parameters the judge has."""
    return sum(each.numel() for each in untrained_net(shape, classes, 0).parameters())


def _parts(peer: Peer) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of its own images the peer trains on, and which fifth it holds out."""
    if peer.labels is None:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    order = torch.from_numpy(peer.rng("judge split").permutation(peer.samples))
    return order[peer.samples // 5 :], order[: peer.samples // 5]


def _gradient(
    peer: Peer, net: nn.Sequential, vector: torch.Tensor, training: torch.Tensor
) -> torch.Tensor:
    """Of the cross-entropy on a mini-batch of the peer's own images, (P,)."""
    assert peer.labels is not None
    picked = training[torch.from_numpy(peer.rng("judge batches").integers(0, len(training), BATCH))]
    targets = torch.from_numpy(np.asarray(peer.labels)[picked.numpy()])
    nn.utils.vector_to_parameters(vector, net.parameters())
    logits = net(peer.pixels[picked].cpu())
    loss = functional.cross_entropy(logits, targets)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    return nn.utils.parameters_to_vector(gradients)

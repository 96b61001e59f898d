"""Oasis: clients with similar data form groups, and each group trains a federated GAN of its own.

Source: Hu, Tu, Gong, Jiang, Zheng, Cheng, "Tackling Multiplayer Interaction for Federated
Generative Adversarial Networks" (IEEE TMC 23(12), 2024, doi:10.1109/TMC.2024.3438148).

Before the first round every client sends a vector that represents its data, and the server groups
the clients by it (algorithm 1). In every round sampled clients train their group's model with a
loss-aware regulariser (algorithm 2), and the models of each group are averaged. The result is a
mixture of the groups' generators, weighted by the samples that each group holds.

Where the paper is silent or contradicts itself: the annealing is gamma_0 alpha^(tau/T), since the
printed line, repeated, makes gamma vanish in ten steps (``annealing: literal`` has it); the
generator's loss is the experiment's (the paper prints the saturating one, and reports numbers that
only the other can give); weights are normalised within the group.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from algorithms.fedavg import FedAvgConfig, mean_of, sampled
from algorithms.oasis.annealing import Annealed, Annealing
from algorithms.oasis.clustering import Grouping, find_groups
from algorithms.oasis.representation import Representation, represent
from peer.effects import Letter
from peer.peer import PAIR, Peer
from peer.training import Training, train
from topology.errors import UserError


class OasisConfig(FedAvgConfig):
    """Settings of ``algorithm: {name: oasis, ...}``."""

    fraction: float = Field(0.1, gt=0, le=1, description="Share of clients in a round.")
    regulariser: Annealing = Field(default_factory=Annealing)
    representation: Representation = Field(default_factory=Representation)
    grouping: Grouping = Field(default_factory=Grouping)


async def oasis(peer: Peer, config: OasisConfig) -> None:
    """The server's part or a client's."""
    await (server if peer.id == config.server else client)(peer, config)


async def server(peer: Peer, config: OasisConfig) -> None:
    """Group the clients once; then run FedAvg in each group."""
    clients = config.workers(peer.peers)
    async for _ in peer.rounds(config.rounds):
        if "groups" not in peer.facts:
            group(peer, config, await peer.gather("representation", clients))
        groups = peer.facts["groups"]
        chosen = sampled(peer, config)
        letters = {}
        for i, members in enumerate(groups):
            model = Letter("model", {net: peer.tensors[f"group-{i}/{net}"] for net in PAIR})
            letters.update({k: model for k in chosen if k in members})
        await peer.exchange("model", letters, ())
        updates = await peer.gather("update", letters)
        for i, members in enumerate(groups):
            came = {k: update for k, update in updates.items() if k in members}
            if came:  # a group without a sampled client keeps its model
                for net, w in mean_of(came, config.weighting).items():
                    peer.tensors[f"group-{i}/{net}"] = w
        peer.load({net: peer.tensors[f"group-0/{net}"] for net in PAIR})
        peer.note(participants=sorted(updates), groups=len(groups))


def group(peer: Peer, config: OasisConfig, letters: dict[int, Letter]) -> None:
    """Algorithm 1; a client that sent no representation joins the largest group, which is first.

    Raises:
        UserError: no client sent one.
    """
    if not letters:
        raise UserError("oasis: no client sent its representation; start them before the deadline")
    R = np.stack([letter.tensors["r"].cpu().numpy() for letter in letters.values()]).astype(float)
    ids, samples = list(letters), [int(letter.facts["samples"]) for letter in letters.values()]
    places = find_groups(R, samples, config.grouping, peer.seed)
    places.sort(key=lambda members: -sum(samples[c] for c in members))
    groups = [[ids[c] for c in members] for members in places]
    elsewhere = {k for members in groups[1:] for k in members}
    groups[0] = [k for k in config.workers(peer.peers) if k not in elsewhere]
    held = [sum(samples[c] for c in members) for members in places]
    peer.facts["groups"] = groups
    peer.facts["mixture"] = {f"group-{i}": n / sum(held) for i, n in enumerate(held)}  # pi_i
    for i in range(len(groups)):
        for net, w in peer.model().items():
            peer.tensors[f"group-{i}/{net}"] = w.clone()


async def client(peer: Peer, config: OasisConfig) -> None:
    """Send the representation once; then train the group's model in the rounds when chosen."""
    async for _ in peer.rounds(config.rounds):
        if not peer.facts.get("told"):
            r = torch.from_numpy(represent(peer, config.representation).astype(np.float32))
            await peer.send(config.server, "representation", {"r": r}, samples=peer.samples)
            peer.facts["told"] = True
        if peer.id not in sampled(peer, config):
            continue
        model = await peer.receive("model", config.server)
        if model is None:
            continue
        peer.load(model.tensors, buffers=config.sync_buffers)
        if config.optimizer_state == "reset":
            peer.reset_optimizer(*PAIR)
        planned = config.rounds * config.local_steps
        regulariser = Annealed(peer, config.regulariser, config.local_steps, planned)
        how = Training(config.order, config.n_d, config.mu, model.tensors, regulariser)
        await train(peer, config.local_steps, how)
        await peer.send(config.server, "update", peer.model(), samples=peer.samples)

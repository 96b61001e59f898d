"""FeGAN (Guerraoui, Guirguis, Kermarrec, Le Merrer 2020): federated GANs that mind the classes.

Before the first round devices tell the server their histograms of classes, and what they can do.
From then on the server samples devices so that the classes it sees stay balanced, and weighs what
comes back by how far a device's classes are from everybody's. ``balanced: false, kl: false`` is the
paper's FL-vanilla; the four combinations are its (s, w).

Where the released code departs from the paper, the paper is followed: the server holds no data, the
last local step counts, batch-norm statistics are averaged, weights are renormalised over those who
came. The code's softmax with a plus sign is kept (:func:`algorithms.fegan.sampling.kl_weights`).
"""

from __future__ import annotations

from algorithms.fegan.load import Capability
from algorithms.fegan.probe import probe
from algorithms.fegan.server_state import choose, correct, remember, weights
from algorithms.fegan.settings import FeGanConfig
from algorithms.histograms import histogram_of_clusters, histogram_of_labels
from peer.compute.combine import weighted_mean
from peer.effects import Letter
from peer.peer import PAIR, Peer
from peer.training import Training, train


async def fegan(peer: Peer, config: FeGanConfig) -> None:
    """The server's part or a device's."""
    await (server if peer.id == config.server else device)(peer, config)


async def server(peer: Peer, config: FeGanConfig) -> None:
    """Collect metadata once; then sample, send, gather, weigh."""
    devices = config.workers(peer.peers)
    async for _ in peer.rounds(config.rounds):
        if "loads" not in peer.facts:
            remember(peer, config, await peer.gather("metadata", devices))
        loads = {int(k): load for k, load in peer.facts["loads"].items()}  # E_k, B_k
        chosen = choose(peer, config, sorted(loads))
        tasks = dict.fromkeys(devices, Letter("task"))
        of_load = {load: task(peer, *load) for load in {tuple(loads[k]) for k in chosen}}
        tasks.update({k: of_load[tuple(loads[k])] for k in chosen})  # equal ones are packed once
        await peer.exchange("task", tasks, ())
        updates = await peer.gather("update", chosen)
        quorum = config.quorum if config.on_missing == "complete" else 1.0
        complete = bool(updates) and len(updates) >= quorum * len(chosen)
        if complete:
            models = {k: update.tensors for k, update in updates.items()}
            peer.load(weighted_mean(models, weights(peer, config, sorted(updates), loads)))
        if config.balanced:
            correct(peer, set(chosen) - updates.keys())
        peer.facts["history"] = [*peer.facts["history"], sorted(updates)]
        peer.note(participants=sorted(updates), aborted=not complete)


def task(peer: Peer, steps: int, batch: int) -> Letter:
    """The model, and how much of it to do."""
    return Letter("task", peer.model(), {"steps": steps, "batch": batch})


async def device(peer: Peer, config: FeGanConfig) -> None:
    """Tell once what there is; then train what comes, when something comes."""
    full = peer.state.batch
    async for _ in peer.rounds(config.rounds):
        if not peer.facts.get("told"):
            await tell(peer, config)
        given = await peer.receive("task", config.server)
        if given is None or not given.tensors:
            continue
        peer.load(given.tensors, buffers=config.sync_buffers)
        if config.optimizer_state == "reset":
            peer.reset_optimizer(*PAIR)
        peer.state.batch = int(given.facts["batch"])  # B_k
        how = Training(config.order, config.n_d, config.mu, anchors=given.tensors)
        await train(peer, int(given.facts["steps"]), how)  # E_k
        peer.state.batch = full
        await peer.send(config.server, "update", peer.model())


async def tell(peer: Peer, config: FeGanConfig) -> None:
    """The histogram, and what this device can do."""
    by_label = config.histogram == "labels"
    c = histogram_of_labels(peer) if by_label else histogram_of_clusters(peer, config.clusters)
    capability = config.capabilities.get(peer.id, Capability())
    if config.probe and peer.id not in config.capabilities:
        capability = await probe(peer)
    facts = capability.model_dump(exclude_defaults=True)
    await peer.send(config.server, "metadata", histogram=c, capability=facts)
    peer.facts["told"] = True

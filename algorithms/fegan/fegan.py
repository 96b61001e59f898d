"""FeGAN: federated GANs that balance the classes which the server's model sees.

Source: Guerraoui, Guirguis, Kermarrec, Le Merrer, "FeGAN: Scaling Distributed GANs" (Middleware
2020, doi:10.1145/3423211.3425688).

Before the first round devices send the server their histograms of classes, and how fast they are.
In every round the server then samples devices so that the classes seen so far stay balanced (s),
and weighs each model by how far its device's classes are from everybody's (w). ``balanced: false,
kl: false`` is the paper's FL-vanilla; the four combinations are its (s, w).

Where the released code departs from the paper, the paper is followed: the server holds no data, the
last local step counts, batch-norm statistics are averaged, weights are renormalised over the
devices that answered. The code's softmax with a plus sign is kept
(:func:`algorithms.fegan.sampling.kl_weights`).
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
    """Gather metadata once; then, in every round, sample, send, gather, average."""
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
        used = sorted(updates) if complete else []  # of an aborted round, the model sees nothing
        if used:
            models = {k: updates[k].tensors for k in used}
            peer.load(weighted_mean(models, weights(peer, config, used, loads)))
        if config.balanced:
            correct(peer, set(chosen) - set(used))
        peer.facts["history"] = [*peer.facts["history"], used]
        peer.note(participants=used, aborted=not complete)


def task(peer: Peer, steps: int, batch: int) -> Letter:
    """The model, and how to train it: E_k steps on batches of B_k."""
    return Letter("task", peer.model(), {"steps": steps, "batch": batch})


async def device(peer: Peer, config: FeGanConfig) -> None:
    """Send metadata once; then, in the rounds for which this device is chosen, train the model."""
    async for _ in peer.rounds(config.rounds):
        if not peer.facts.get("told"):
            await send_metadata(peer, config)
        given = await peer.receive("task", config.server)
        if given is None or not given.tensors:
            continue
        peer.load(given.tensors, buffers=config.sync_buffers)
        if config.optimizer_state == "reset":
            peer.reset_optimizer(*PAIR)
        batch = int(given.facts["batch"])  # B_k
        how = Training(config.order, config.n_d, config.mu, anchors=given.tensors, batch=batch)
        await train(peer, int(given.facts["steps"]), how)  # E_k
        await peer.send(config.server, "update", peer.model())


async def send_metadata(peer: Peer, config: FeGanConfig) -> None:
    """Send the histogram of classes, and this device's capability."""
    by_label = config.histogram == "labels"
    c = histogram_of_labels(peer) if by_label else histogram_of_clusters(peer, config.clusters)
    capability = config.capabilities.get(peer.id, Capability())
    if config.probe and peer.id not in config.capabilities:
        capability = await probe(peer)
    facts = capability.model_dump(exclude_defaults=True)
    await peer.send(config.server, "metadata", histogram=c, capability=facts)
    peer.facts["told"] = True

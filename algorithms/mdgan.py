"""MD-GAN: one generator at the server, a discriminator at every worker.

Source: Hardy, Le Merrer, Sericola, "MD-GAN: Multi-Discriminator Generative Adversarial Networks for
Distributed Datasets" (IPDPS 2019, arXiv:1811.03850), algorithm 1.

Workers send back dL_G/dx of the images that the server generated; the server propagates it through
its generator, whose forward pass it computes again from z. (Batch-norm statistics of G therefore
move twice a batch.) From time to time workers exchange their discriminators.

Where the paper is silent or ambiguous: k is max(2, floor(ln N)) batches; a discriminator's
optimizer is reset when it moves; feedback is of a mean loss, averaged over the N' workers that
answered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations

import torch
from pydantic import Field

from algorithms.partners import derangement
from algorithms.settings import Link, StarSettings
from peer.effects import Letter
from peer.peer import Peer


class MDGanConfig(StarSettings):
    """Settings of ``algorithm: {name: mdgan, ...}``; the paper's: L = 1, E = 1, b = 10 or 100."""

    k: int | None = Field(None, ge=1, description="Batches a round; max(2, floor(ln N)) if absent.")
    n_d: int = Field(1, ge=1, description="L: discriminator steps a round, on the same batches.")
    swap: bool = Field(True, description="Discriminators change places (needs worker links).")
    swap_epochs: float = Field(1.0, gt=0, description="E: epochs of a worker between two swaps.")

    def nets(self, peer: int) -> tuple[str, ...]:
        """A generator at the server, a discriminator at a worker."""
        return ("generator",) if peer == self.server else ("discriminator",)

    def links(self, peers: int) -> Iterable[Link]:
        """Those of the star and, where discriminators swap, those between any two workers."""
        between = combinations(self.workers(peers), 2) if self.swap else ()
        return [*super().links(peers), *between]

    def batches(self, workers: int) -> int:
        """How many batches a round for N ``workers``: k, at most max(2, N)."""
        k = max(2, math.floor(math.log(workers))) if self.k is None else self.k
        return min(k, max(2, workers))


async def mdgan(peer: Peer, config: MDGanConfig) -> None:
    """The server's part or a worker's."""
    await (server if peer.id == config.server else worker)(peer, config)


async def server(peer: Peer, config: MDGanConfig) -> None:
    """Generate k batches, send two to each worker, and step along the errors that come back."""
    workers = config.workers(peer.peers)
    k = config.batches(len(workers))
    async for iteration in peer.rounds(config.rounds):
        if iteration == 0:
            counts = await peer.gather("samples", workers)
            peer.facts["samples"] = [letter.facts["samples"] for letter in counts.values()]
        z = [peer.noise() for _ in range(k)]
        X = [await peer.generate("generator", each) for each in z]
        swap = config.swap and len(workers) > 1 and is_due(peer, config, iteration)
        g_of, d_of = ({w: (n + i) % k for n, w in enumerate(workers, 1)} for i in (0, 1))
        letters = {
            w: Letter("batches", {"g": X[g_of[w]], "d": X[d_of[w]]}, {"swap": swap})
            for w in workers
        }
        await peer.exchange("batches", letters, ())
        answers = await peer.gather("feedback", workers)
        if not answers:
            continue
        errors = [torch.zeros_like(images) for images in X]
        for w, answer in answers.items():  # sum over n of e_n / N', by the batch they are of
            errors[g_of[w]].add_(answer.tensors["e"], alpha=1 / len(answers))
        await peer.descend(z, errors)


async def worker(peer: Peer, config: MDGanConfig) -> None:
    """Train D on the batch ``d``, send dL_G/dx of the batch ``g``, and swap D if it is time."""
    async for iteration in peer.rounds(config.rounds):
        if iteration == 0:
            await peer.send(config.server, "samples", samples=peer.samples)
        batches = await peer.receive("batches", config.server)
        if batches is None:
            continue
        real = peer.images()  # one batch for all L steps
        for _ in range(config.n_d):
            await peer.adapt("discriminator", real=real, fake=batches.tensors["d"])
        error = await peer.error_of_images(batches.tensors["g"])  # e_n, (batch, c, h, w)
        await peer.send(config.server, "feedback", {"e": error})
        if batches.facts["swap"]:
            await move(peer, config)


async def move(peer: Peer, config: MDGanConfig) -> None:
    """Send D to a worker and take another's, by a derangement that every worker draws."""
    workers = config.workers(peer.peers)
    to = dict(zip(workers, derangement(workers, peer.common_rng("swap")), strict=True))
    (source,) = [w for w in workers if to[w] == peer.id]
    letter = Letter("discriminator", peer.model(["discriminator"]))
    came = (await peer.exchange("discriminator", {to[peer.id]: letter}, [source])).get(source)
    if came is not None:  # otherwise it goes on with its own
        peer.load(came.tensors)
        peer.reset_optimizer("discriminator")


def is_due(peer: Peer, config: MDGanConfig, iteration: int) -> bool:
    """Whether discriminators swap: every m E / b iterations, m being the mean n_k of workers."""
    samples = peer.facts.get("samples")
    if not samples:
        return False  # no worker was there to say how many it has
    m = sum(samples) / len(samples)
    period = max(1, round(m * config.swap_epochs / peer.batch))
    return bool((iteration + 1) % period == 0)

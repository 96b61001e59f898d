"""Partitions that are uneven on purpose: Dirichlet shares, FeGAN's engine, halves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peer.data.images import Images
from peer.data.partition_spec import Dirichlet, Fegan, Halves
from topology.errors import UserError

Shard = NDArray[np.int64]
Labels = NDArray[np.int64]

_ATTEMPTS = 1000


def split_halves(_: Halves, images: Images, peers: int, rng: np.random.Generator) -> list[Shard]:
    """Random parts that differ by one image at most (Distributed-GAN's halves, for any number)."""
    return np.array_split(rng.permutation(len(images)), peers)


def split_dirichlet(
    settings: Dirichlet, labels: Labels, peers: int, rng: np.random.Generator
) -> list[Shard]:
    """Each class shared out by p ~ Dir(alpha), as NIID-Bench and PFLlib do.

    A peer that holds n / N images already gets no more of a class that is drawn later (where all
    would get none, p is uniform); everything is drawn again until the poorest holds
    ``least`` images (by default n / N / 2, or 40: PFLlib's for its batch of 10).
    """
    n, classes = len(labels), int(labels.max()) + 1
    least = settings.least if settings.least is not None else max(1, min(40, n // peers // 2))
    if settings.least is None and peers > n:
        raise UserError(
            f"data.partition: dirichlet cannot give {n} images to {peers} peers that hold data; "
            "lower peers"
        )
    if least * peers > n:
        raise UserError(
            f"data.partition.least: {least} images for each of {peers} peers that hold data are "
            f"more than the {n} there are; lower it"
        )
    for _ in range(_ATTEMPTS):
        parts: list[list[Shard]] = [[] for _ in range(peers)]
        held = np.zeros(peers)
        for x in range(classes):
            members = rng.permutation(np.flatnonzero(labels == x))
            p = rng.dirichlet(np.full(peers, settings.alpha)) * (held < n / peers)
            p = p / p.sum() if p.sum() > 0 else np.full(peers, 1 / peers)
            cuts = (np.cumsum(p)[:-1] * len(members)).astype(np.int64)
            for k, part in enumerate(np.split(members, cuts)):
                parts[k].append(part)
                held[k] += len(part)
        if held.min() >= least:
            return [np.concatenate(of_peer) for of_peer in parts]
    raise UserError(
        f"data.partition: no draw of Dirichlet({settings.alpha:g}) in {_ATTEMPTS} gave each of "
        f"{peers} peers {least} images; raise data.partition.alpha or lower data.partition.least"
    )


def split_fegan(
    settings: Fegan, labels: Labels, peers: int, rng: np.random.Generator
) -> list[Shard]:
    """FeGAN's data engine: later devices have more classes, and more of each (section 4).

    Device i = 1..N draws r_c ~ U{1..max_class i / N} classes, and of each r_s ~
    U{1..min(i^2, max_samples i / N)} images. Bounds are at least 1, and no more than there is.
    Devices draw for themselves, so that they overlap; ``disjoint`` gives each image away once.
    ``as_released``: the released code's numbers, r_c = floor(max_class (i-1) / N) + 1 classes and
    of each U{1..(i-1)^2} images, or i max_samples / (N + 1) where that is above max_samples.
    """
    classes = int(labels.max()) + 1
    left = [rng.permutation(np.flatnonzero(labels == x)) for x in range(classes)]
    there = [x for x in range(classes) if len(left[x])]
    shards = []
    for i in range(1, peers + 1):
        count = _classes_of(settings, i, peers, rng)
        parts = []
        for x in rng.choice(there, min(count, len(there)), replace=False):
            members = left[int(x)]
            wanted = min(_samples_of(settings, i, peers, rng), len(members))
            if settings.disjoint:
                parts.append(members[:wanted])
                left[int(x)] = members[wanted:]
            else:
                parts.append(rng.choice(members, wanted, replace=False))
        shards.append(np.concatenate(parts))
    return shards


def _classes_of(settings: Fegan, i: int, peers: int, rng: np.random.Generator) -> int:
    if settings.as_released:
        return settings.max_class * (i - 1) // peers + 1
    return int(rng.integers(1, max(1, settings.max_class * i // peers), endpoint=True))


def _samples_of(settings: Fegan, i: int, peers: int, rng: np.random.Generator) -> int:
    if settings.as_released:
        drawn = int(rng.integers(1, max(1, (i - 1) ** 2), endpoint=True))
        if drawn > settings.max_samples:
            drawn = i * settings.max_samples // (peers + 1)
        return max(1, drawn)
    highest = max(1, min(i * i, settings.max_samples * i // peers))
    return int(rng.integers(1, highest, endpoint=True))

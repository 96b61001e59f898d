"""Who holds which images: a table of partitions, each a function of settings, images and a stream.

Every peer works out the whole partition for itself, from the same images and the same seed, and
keeps its own part: nobody hands anything out.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peer.data.classes import find_class, shown
from peer.data.images import Images
from peer.data.partition_spec import All, ClassSets, Iid, Labels, Own, Pairs
from peer.data.spec import DataSpec
from peer.data.uneven import split_dirichlet, split_fegan, split_halves
from topology.errors import UserError, note

Shard = NDArray[np.int64]


def partition(spec: DataSpec, images: Images, peers: int, seed: int) -> list[Shard]:
    """Share `images` out among `peers`; the same arguments give the same parts on every machine.

    Args:
        spec: the experiment's `data`.
        images: all of them, or, for `own`, those of the peer that asks.
        peers: how many hold data (of a star, the workers).
        seed: the experiment's.

    Returns:
        One sorted array of indices into `images` a peer, none empty.

    Raises:
        UserError: a peer would be left without images, or the partition does not fit the data.
    """
    if peers < 1:
        raise UserError(f"peers: {peers} of them hold data; raise it to have one at least")
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"partition"),))
    rng = np.random.Generator(np.random.PCG64(sequence))
    shards = PARTITIONS[spec.partition.name](spec.partition, images, peers, rng)
    for position, shard in enumerate(shards):
        if not len(shard):
            raise UserError(_without_images(spec, images, peers, position))
    return [np.sort(shard) for shard in shards]


def label_counts(images: Images, indices: Sequence[int] | Shard) -> dict[int, int]:
    """Return how many of `images` at `indices` are of each class, of the classes that are there.

    Empty where the images have no labels.
    """
    if images.labels is None:
        return {}
    labels, counts = np.unique(
        images.labels[np.asarray(indices, dtype=np.int64)], return_counts=True
    )
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def split_evenly(_: Iid, images: Images, peers: int, rng: np.random.Generator) -> list[Shard]:
    """A seeded permutation in equal parts of floor(n / K); the remainder is nobody's (FeGAN)."""
    size = len(images) // peers
    order = rng.permutation(len(images))
    return [order[k * size : (k + 1) * size] for k in range(peers)]


def split_pairs(
    settings: Pairs, images: Images, peers: int, rng: np.random.Generator
) -> list[Shard]:
    """Two classes a peer, disjointly: Diffusion GAN's non-homogeneous data (section 5.2)."""
    labels = _labels_of(images, settings.name)
    pairs: Sequence[Sequence[int]]
    if settings.pairs is None:
        pairs = [(2 * k, 2 * k + 1) for k in range(images.classes // 2)]
        if not pairs:
            raise UserError(
                f"data.partition: pairs needs two classes, and {images.name} has "
                f"{images.classes}; use data.partition: iid"
            )
    else:
        pairs = _numbered(settings.pairs, images, "pairs")
        if len(pairs) > peers:
            raise UserError(
                f"data.partition.pairs: {len(pairs)} pairs for {peers} peers that hold data leave "
                f"{len(pairs) - peers} to nobody; give at most {peers}, or raise peers"
            )
    sets = [pairs[k % len(pairs)] for k in range(peers)]
    _say_unheld(sets, labels, images)
    return _split_classes(labels, sets, settings.cap, rng)


def split_labels(
    settings: Labels, images: Images, peers: int, rng: np.random.Generator
) -> list[Shard]:
    """The classes named for each peer; peers that share one split it disjointly, in id order."""
    labels = _labels_of(images, settings.name)
    sets = _numbered(settings.labels, images, "labels")
    if len(settings.labels) != peers:
        raise UserError(
            f"data.partition.labels: {len(settings.labels)} sets for {peers} peers that hold data; "
            f"give {peers}, one a peer"
        )
    _say_unheld(sets, labels, images)
    return _split_classes(labels, sets, settings.cap, rng)


def share_all(_: All | Own, images: Images, peers: int, _rng: np.random.Generator) -> list[Shard]:
    """Everything, to everybody: of one common source, or each of its own."""
    return [np.arange(len(images)) for _ in range(peers)]


def _split_classes(
    labels: NDArray[np.int64],
    sets: Sequence[Sequence[int]],
    cap: int | None,
    rng: np.random.Generator,
) -> list[Shard]:
    """Share each class out in near-equal parts among the peers whose set names it, in id order."""
    order = rng.permutation(len(labels))
    owner = np.full(len(labels), -1)
    for label in sorted(set().union(*sets)):
        owners = [k for k, classes in enumerate(sets) if label in classes]
        members = order[labels[order] == label]
        for k, part in zip(owners, np.array_split(members, len(owners)), strict=True):
            owner[part] = k
    # A cap keeps those that come first in the permutation, hence a random choice of the shard.
    return [order[owner[order] == k][:cap] for k in range(len(sets))]


def _labels_of(images: Images, name: str) -> NDArray[np.int64]:
    if images.labels is None:
        raise UserError(
            f"data.partition: {name} goes by label, and {images.name} has no labels; add them at "
            "data.path (idx: a labels-idx1-ubyte file, npz: an array `labels`), "
            "or use data.partition: iid"
        )
    return images.labels


def _numbered(sets: ClassSets, images: Images, key: str) -> list[list[int]]:
    """The sets of classes that a user named, as numbers."""
    numbered = []
    for place, classes in enumerate(sets):
        found = [find_class(given, images.class_names, images.classes) for given in classes]
        for given, number in zip(classes, found, strict=True):
            if number is None:
                raise UserError(
                    f"data.partition.{key}: there is no class {given}; "
                    f"name classes of {images.name}, {_classes_of(images)}"
                )
        numbers = [number for number in found if number is not None]
        if len(set(numbers)) < len(numbers):
            raise UserError(
                f"data.partition.{key}: set {place} is {list(classes)}, which names a class twice; "
                "name each once"
            )
        numbered.append(numbers)
    return numbered


def _classes_of(images: Images) -> str:
    """What classes there are, for a message: ``0 to 9``, or their names."""
    names = images.class_names
    if not names or names == tuple(map(str, range(len(names)))):
        return f"0 to {images.classes - 1}"
    return shown(names)


def _say_unheld(sets: Sequence[Sequence[int]], labels: NDArray[np.int64], images: Images) -> None:
    """Say which classes no peer holds: their images take no part."""
    unheld = sorted(set(np.unique(labels).tolist()) - set().union(*sets))
    if unheld:
        count = int(np.isin(labels, unheld).sum())
        names = shown([images.class_name(x) for x in unheld])
        note(
            f"data.partition: {count} of the {len(labels)} images are nobody's, those of class "
            f"{names}; name it in data.partition, or raise peers, if it is to be held"
        )


def _without_images(spec: DataSpec, images: Images, peers: int, position: int) -> str:
    remedies = ["lower peers"]
    if spec.limit is not None:
        remedies.append("raise data.limit")
    if isinstance(spec.partition, Pairs | Labels):
        remedies.append(f"give it other classes in data.partition.{spec.partition.name}")
    return (
        f"data.partition: {spec.partition.name} leaves peer {position} (of {peers} that hold data, "
        f"from 0) without any of the {len(images)} images; {' or '.join(remedies)}"
    )


def _by_label(split: Callable[..., list[Shard]]) -> Callable[..., list[Shard]]:
    def checked(settings: Any, images: Images, peers: int, rng: np.random.Generator) -> list[Shard]:
        return split(settings, _labels_of(images, settings.name), peers, rng)

    return checked


PARTITIONS: dict[str, Callable[[Any, Images, int, np.random.Generator], list[Shard]]] = {
    "iid": split_evenly,
    "pairs": split_pairs,
    "labels": split_labels,
    "own": share_all,
    "all": share_all,
    "halves": split_halves,
    "dirichlet": _by_label(split_dirichlet),
    "fegan": _by_label(split_fegan),
}

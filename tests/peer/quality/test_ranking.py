"""Whether random features rank sets of images as a trained judge does."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from peer.data import Images, load_source
from peer.data.spec import DataSpec
from peer.quality.classifier import train_judge
from peer.quality.frechet import Reference, gaussian
from peer.quality.random_features import random_features
from peer.quality.samples import draw_samples
from peer.streams import stream


def generators(real: torch.Tensor, labels: np.ndarray) -> dict[str, torch.Tensor]:
    """Samples of known-good and known-bad generators (n, c, h, w), made of held-out images."""
    draws = stream(1, "ranking")
    n = len(real)
    noise = torch.from_numpy(draws.standard_normal(tuple(real.shape))).float()
    found = {"good": real}
    for strength in (0.1, 0.3, 0.6, 1.0):
        found[f"noise {strength}"] = (real + strength * noise).clamp(-1, 1)
    for classes in (8, 5, 2, 1):
        kept = np.flatnonzero(labels < classes)
        found[f"{classes} classes"] = real[draws.choice(kept, n)]
    for few in (50, 5, 1):
        found[f"{few} images"] = real[draws.integers(0, few, n)]
    found["static"] = noise.clamp(-1, 1)
    found["grey"] = torch.zeros_like(real) + 0.01 * noise
    return found


def agreement(images: Images, held_out: Images) -> float:
    """Spearman's correlation of RFD and CFID over the generators."""
    everything = images.take(np.arange(len(images)))
    assert images.labels is not None
    assert held_out.labels is not None
    judge = train_judge(everything, images.labels, images.classes)
    net = random_features(images.shape[0])
    by_random = Reference(*gaussian(net(everything)))
    by_judge = Reference(*judge.reference)
    real = held_out.take(np.arange(len(held_out)))
    rows = []
    for samples in generators(real, held_out.labels).values():
        random = by_random.distance(*gaussian(net(samples)))
        rows.append((random, by_judge.distance(*gaussian(judge.features(samples)))))
    return float(spearmanr(*zip(*rows, strict=True)).statistic)


def halves(images: Images) -> tuple[Images, Images]:
    assert images.labels is not None
    order = stream(2, "halves").permutation(len(images))
    parts = (np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :]))
    first, second = (
        Images(images.pixels[p], images.labels[p], images.name, images.unit, images.offset)
        for p in parts
    )
    return first, second


def test_on_digits() -> None:
    assert agreement(*halves(load_source(DataSpec(source="digits", partition="iid")))) >= 0.9


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("source", "folder", "limit"), [("idx", "mnist", 4000), ("cifar10", "cifar10", 4000)]
)
def test_on_real_pictures(real_data: Path, source: str, folder: str, limit: int) -> None:
    keys = {"source": source, "path": str(real_data / folder), "partition": "iid", "limit": limit}
    assert agreement(*halves(load_source(DataSpec.model_validate(keys)))) >= 0.9


def test_the_pairs_are_not_all_alike() -> None:
    """The test could not fail where all sets were equally far."""
    images = load_source(DataSpec(source="digits", partition="iid"))
    assert images.labels is not None
    sets = generators(images.take(np.arange(len(images))), images.labels)
    net = random_features(1)
    reference = Reference(*gaussian(net(sets["good"])))
    found = [reference.distance(*gaussian(net(x))) for x in sets.values()]
    assert all(a != b for a, b in itertools.pairwise(sorted(found)))
    assert draw_samples is not None

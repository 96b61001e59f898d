"""How good a generator is: which classes it draws, and how far its samples are from real images.

Where all data come from one labelled source, a classifier trained on that source (the judge)
looks at a thousand samples of each peer. A sample counts for a class only if the judge gives that
class a probability of 0.9 or more; the other samples count for none, but stay in every
denominator. A class is covered if its confident samples are 1 % or more of *all* samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import algorithms
from peer.data import label_counts, partition
from peer.experiment import Experiment
from peer.gan.conditional import Asked
from peer.gan.draw import CHUNK
from peer.program import Program
from peer.quality.classifier import Judge, judge_for
from peer.quality.coverage import (
    class_histogram,
    common_images,
    confident_classes,
    count_covered,
)
from peer.quality.frechet import frechet_distance, gaussian
from peer.quality.samples import draw_samples
from peer.quality.scorer import finite_or_none

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Quality:
    """The judge's verdict on every peer's generator.

    Attributes:
        samples: samples judged a peer.
        classes: classes that the source has.
        judge_accuracy: of the judge, on images that it was not trained on.
        histogram: by peer, confident samples of each class.
        coverage: by peer, classes with 1 % or more of all samples.
        cfid: by peer, Fréchet distance to the whole source on the judge's features; NaN where a
            sample is not finite. Never comparable with an FID.
        absent_share: by peer, samples that are confidently of a class absent from the peer's own
            data, as a share of all its samples.
        labels: by peer, the classes that its own data hold.
        as_asked: by peer whose generator is told classes, samples that the judge takes for the
            class asked, as a share: the mean over the classes, which are asked for in turn.
    """

    samples: int
    classes: int
    judge_accuracy: float
    histogram: Mapping[int, tuple[int, ...]]
    coverage: Mapping[int, int]
    cfid: Mapping[int, float]
    absent_share: Mapping[int, float]
    labels: Mapping[int, tuple[int, ...]]
    as_asked: Mapping[int, float] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """In types that JSON knows: ids as text, NaN as null."""
        record = asdict(self)
        for key in ("coverage", "absent_share", "as_asked"):
            record[key] = {str(k): value for k, value in record[key].items()}
        for key in ("histogram", "labels"):
            record[key] = {str(k): list(values) for k, values in record[key].items()}
        record["cfid"] = {str(k): finite_or_none(x) for k, x in self.cfid.items()}
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Quality:
        """What :meth:`as_record` wrote."""
        return cls(
            samples=int(record["samples"]),
            classes=int(record["classes"]),
            judge_accuracy=float(record["judge_accuracy"]),
            histogram={int(k): tuple(counts) for k, counts in record["histogram"].items()},
            coverage={int(k): int(n) for k, n in record["coverage"].items()},
            cfid={int(k): math.nan if x is None else float(x) for k, x in record["cfid"].items()},
            absent_share={int(k): float(x) for k, x in record["absent_share"].items()},
            labels={int(k): tuple(classes) for k, classes in record["labels"].items()},
            as_asked={int(k): float(x) for k, x in record.get("as_asked", {}).items()},
        )


def seen_as_asked(probabilities: Floats, generator: Asked) -> Floats:
    """By class, the share of the samples asked as it that the judge takes for it, (classes,).

    NaN of a class that was not asked for. ``probabilities`` (n, classes) are of samples as
    :func:`~peer.quality.samples.draw_samples` draws them.
    """
    n, classes = probabilities.shape
    parts = [generator.asked(min(CHUNK, n - start)) for start in range(0, n, CHUNK)]
    wanted = torch.cat(parts).numpy()  # (n,)
    asked = np.bincount(wanted, minlength=classes)
    seen = np.bincount(wanted[probabilities.argmax(axis=1) == wanted], minlength=classes)
    return np.where(asked > 0, seen / np.maximum(asked, 1), np.nan)


def share_absent(histogram: Ints, own: Sequence[int], samples: int) -> float:
    """Confident samples of classes that are not in ``own``, as a share of all ``samples``."""
    return float(np.delete(histogram, list(own)).sum() / samples)


class Source:
    """The labelled images that all peers' data come from, with their judge.

    Args:
        experiment: names the source and the partition.
        folder: where relative paths of the experiment start; the experiment's own if None.
        cache: where judges are kept; the user's cache folder if None.
        notify: is told when a judge must be trained, which takes long.
        program: the experiment's, if it has been found already.

    Raises:
        UserError: there is no labelled common source, or not on this machine.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path | None = None,
        cache: Path | None = None,
        notify: Callable[[str], None] | None = None,
        program: Program | None = None,
    ) -> None:
        self.images = common_images(experiment, folder)
        self.experiment = experiment
        program = program or algorithms.find(experiment, check=False)
        workers = program.workers(experiment.peers)
        shards = partition(experiment.data, self.images, len(workers), experiment.seed)
        self.shards = dict(zip(workers, shards, strict=True))  # a server holds none
        self.labels = {k: tuple(label_counts(self.images, s)) for k, s in self.shards.items()}
        assert self.images.labels is not None  # common_images sees to it
        everything = self.images.take(np.arange(len(self.images)))
        self.judge: Judge = judge_for(
            everything,
            self.images.labels,
            self.images.classes,
            cache=cache,
            notify=notify,
        )

    def examples(self, peer: int, count: int) -> torch.Tensor:
        """``count`` images (count, c, h, w) of ``peer``'s own data, its classes taking turns."""
        shard = self.shards[peer]
        assert self.images.labels is not None
        of_class = [shard[self.images.labels[shard] == label] for label in self.labels[peer]]
        turns = [
            members[i // len(of_class) % len(members)]
            for i, members in zip(range(count), itertools.cycle(of_class), strict=False)
        ]
        return self.images.take(turns)

    def judge_generators(self, generators: Mapping[int, nn.Module], z_dim: int) -> Quality:
        """Judge ``experiment.metrics.samples`` samples of each of ``generators``."""
        samples, classes = self.experiment.metrics.samples, self.images.classes
        histogram, cfid, as_asked = {}, {}, {}
        for k, generator in sorted(generators.items()):
            drawn = draw_samples(generator, z_dim, samples, self.experiment.seed)
            probabilities, features = self.judge.verdicts(drawn)
            histogram[k] = class_histogram(confident_classes(probabilities), classes)
            cfid[k] = frechet_distance(*self.judge.reference, *gaussian(features))
            if isinstance(generator, Asked):
                as_asked[k] = float(np.nanmean(seen_as_asked(probabilities, generator)))
        return Quality(
            samples=samples,
            classes=classes,
            judge_accuracy=self.judge.accuracy,
            histogram={k: tuple(counts.tolist()) for k, counts in histogram.items()},
            coverage={k: count_covered(counts, samples) for k, counts in histogram.items()},
            cfid=cfid,
            absent_share={
                k: share_absent(counts, self.labels[k], samples)
                for k, counts in histogram.items()
                if k in self.labels
            },
            labels={k: self.labels[k] for k in histogram if k in self.labels},
            as_asked=as_asked,
        )


def evaluate_generators(
    experiment: Experiment,
    generators: Mapping[int, nn.Module],
    folder: Path | None = None,
    *,
    cache: Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> Quality:
    """Judge generators, trained or not, as peers of ``experiment``.

    Args:
        experiment: names the source, the partition, the GAN, the seed and the number of samples.
        generators: by peer, z (batch, z_dim) to images (batch, c, h, w) in [-1, 1].
        folder: where relative paths of the experiment start; the experiment's own if None.
        cache: where judges are kept; the user's cache folder if None.
        notify: is told when a judge must be trained, which takes long.

    Raises:
        UserError: there is no labelled common source, or not on this machine.
    """
    source = Source(experiment, folder, cache, notify)
    images = source.images
    z_dim = experiment.build_gan(images.shape, classes=images.classes).z_dim
    return source.judge_generators(generators, z_dim)

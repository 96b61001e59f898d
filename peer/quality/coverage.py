"""Which classes a generator draws, by a classifier's verdicts on its samples (the judge).

A sample counts for a class only if the judge gives that class a probability of 0.9 or more; the
others count for none, but stay in every denominator. A class is covered if its confident samples
are 1 % or more of *all* samples.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from peer.data import Images, load_source
from peer.data.spec import Own
from peer.experiment import Experiment
from topology.errors import UserError

CONFIDENCE = 0.9
COVERED_PERCENT = 1

_FEWEST = 50
"""Images that a judge can be trained on, at least."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def confident_classes(probabilities: Floats) -> Ints:
    """The class of each sample (n,), or -1 where the judge is less than 0.9 sure of any.

    Args:
        probabilities: (n, classes). NaN (a sample that is not finite) is sure of nothing.
    """
    best = probabilities.argmax(axis=1)
    sure = probabilities[np.arange(len(best)), best] >= CONFIDENCE
    return np.where(sure, best, -1)


def class_histogram(confident: Ints, classes: int) -> Ints:
    """Confident samples of each class (classes,), from :func:`confident_classes`."""
    return np.bincount(confident[confident >= 0], minlength=classes).astype(np.int64)


def count_covered(histogram: Ints, samples: int) -> int:
    """Classes whose confident samples are 1 % or more of all ``samples``."""
    return int((histogram * 100 >= COVERED_PERCENT * samples).sum())


def common_images(experiment: Experiment, folder: Path | None = None) -> Images:
    """The labelled images that all peers' data come from.

    Raises:
        UserError: each peer has its own images, they have no labels, or they are not here.
    """
    if isinstance(experiment.data.partition, Own):
        raise UserError(
            "data.partition: own leaves no common source to judge samples by; with "
            "metrics.quality_every the peers measure RFD, NDB and, with metrics.judge, coverage "
            "themselves (quality.jsonl); precision, recall, KID and the mode score need all images "
            "in one place"
        )
    images = load_source(experiment.data, folder=folder or experiment.folder)
    if not has_classes(images):
        raise UserError(f"data: {images.name} has no labels to judge samples by")
    if len(images) < _FEWEST:
        raise UserError(
            f"data: {images.name} has {len(images)} images, too few to train a judge on; "
            f"{_FEWEST} would do"
        )
    return images


def has_classes(images: Images) -> bool:
    """Whether there are labels, of two classes or more."""
    return images.labels is not None and images.classes >= 2


def is_judgeable(images: Images) -> bool:
    """Whether a judge can be trained on these images."""
    return has_classes(images) and len(images) >= _FEWEST

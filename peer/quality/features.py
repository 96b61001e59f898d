"""What images are compared by: one choice for all peers of an experiment."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from peer.data.spec import Own
from peer.experiment import Experiment
from peer.quality.classifier import FEATURES as OF_JUDGE
from peer.quality.classifier import Judge
from peer.quality.inception import FEATURES as OF_INCEPTION
from peer.quality.inception import Inception
from peer.quality.random_features import random_features


class Features(Protocol):
    """Features of images.

    Attributes:
        measure: what the Fréchet distance on them is called: fid, cfid or rfd.
        dimension: d.
    """

    @property
    def measure(self) -> str:
        """The distance's name."""

    @property
    def dimension(self) -> int:
        """d."""

    def __call__(self, images: torch.Tensor) -> npt.NDArray[np.float64]:
        """Features (n, d) of ``images`` (n, c, h, w) in [-1, 1]; NaN where an image is not."""


class InceptionFeatures:
    """Those of the FID, with weights from a local file.

    Raises:
        UserError: torch-fidelity is not there, or ``path`` holds no such net.
    """

    measure = "fid"
    dimension = OF_INCEPTION

    def __init__(self, path: Path) -> None:
        self._net = Inception(path, key="metrics.inception:")

    def __call__(self, images: torch.Tensor) -> npt.NDArray[np.float64]:
        """(n, 2048)."""
        return self._net.features(images.cpu())


class JudgeFeatures:
    """Those of a classifier that was trained on the labelled source of all peers' images."""

    measure = "cfid"
    dimension = OF_JUDGE

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def __call__(self, images: torch.Tensor) -> npt.NDArray[np.float64]:
        """(n, 128)."""
        return self._judge.features(images)


def features_for(experiment: Experiment, channels: int, judge: Judge | None = None) -> Features:
    """The features of an experiment: Inception's, else the ``judge``'s, else random ones.

    Raises:
        UserError: ``metrics.inception`` cannot be used.
    """
    if experiment.metrics.inception is not None:
        return _inception(experiment.folder / Path(experiment.metrics.inception).expanduser())
    return random_features(channels) if judge is None else JudgeFeatures(judge)


def dimension_of(experiment: Experiment) -> int:
    """d, of private images, without loading any weights."""
    return random_features(1).dimension if experiment.metrics.inception is None else OF_INCEPTION


def gathers_moments(experiment: Experiment) -> bool:
    """Whether peers find the moments of the network's images together, before they train."""
    return bool(experiment.metrics.quality_every) and isinstance(experiment.data.partition, Own)


@cache
def _inception(path: Path) -> InceptionFeatures:
    return InceptionFeatures(path)

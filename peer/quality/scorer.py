"""Scores of a generator while it trains: against the network's images, and against a peer's own.

The difference of the two is what the network taught a peer. The distance is Fréchet's on features
that are the same at every peer (:mod:`peer.quality.features`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peer.data import load_source
from peer.experiment import Experiment
from peer.quality.classifier import Judge, judge_for
from peer.quality.coverage import class_histogram, confident_classes, count_covered, is_judgeable
from peer.quality.features import Features, features_for, gathers_moments
from peer.quality.frechet import Reference
from peer.quality.mixture import final_generator
from peer.quality.ndb import different_bins
from peer.quality.samples import draw_samples
from peer.quality.together import bins, shared_judge
from peer.quality.together.moments import BLOCK, Moments
from peer.quality.together.network_moments import KEPT
from peer.state import PeerState

REMEMBERED = 64
"""Peers of one process whose references are kept."""


@dataclass(frozen=True)
class Score:
    """How far a generator's samples are from real images.

    Attributes:
        measure: fid, cfid or rfd.
        network: the distance to the network's images; None where they are not known, or a sample
            is not finite.
        own: that to the peer's own images alone; None where it holds too few.
        images: how many the network's are.
        covered: classes that the samples cover; None where nobody can tell.
        ndb: of the bins of private images, the share in which samples and images differ
            significantly; None where nobody counted.
        accuracy: of the judge that peers trained together, on images that it was not trained on.
    """

    measure: str
    network: float | None
    own: float | None
    images: int
    covered: int | None
    accuracy: float | None = None
    ndb: float | None = None

    def as_record(self) -> dict[str, Any]:
        """For a line of JSON: the network's distance under the measure's own name."""
        return {
            "measure": self.measure,
            self.measure: self.network,
            "own": self.own,
            "images": self.images,
            "covered": self.covered,
            **({} if self.accuracy is None else {"judge_accuracy": self.accuracy}),
            **({} if self.ndb is None else {"ndb": self.ndb}),
        }

    def scalars(self) -> dict[str, float]:
        """What is known, by name."""
        found = {self.measure: self.network, f"{self.measure}_own": self.own}
        known = {name: x for name, x in found.items() if x is not None}
        counted = {"covered": self.covered, "ndb": self.ndb}
        return known | {name: float(x) for name, x in counted.items() if x is not None}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Score:
        """What :meth:`as_record` wrote; of older logs, CFIDs.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        measure = str(record.get("measure", "cfid"))
        distances = record[measure], record.get("own")
        network, own = (None if x is None else float(x) for x in distances)
        covered, accuracy = record.get("covered"), record.get("judge_accuracy")
        return cls(
            measure,
            network,
            own,
            int(record.get("images", 0)),
            None if covered is None else int(covered),
            None if accuracy is None else float(accuracy),
            None if record.get("ndb") is None else float(record["ndb"]),
        )


class Scorer:
    """Scores generators of one experiment: one object for all its peers, or one at each.

    Args:
        experiment: names the data, the features, the seed and the number of samples.
        notify: is told when a judge must be trained, which takes long.

    Raises:
        UserError: the images are not here, or ``metrics.inception`` cannot be used.
    """

    def __init__(self, experiment: Experiment, notify: Callable[[str], None] | None = None) -> None:
        self.experiment = experiment
        self._own: dict[int, Reference | None] = {}
        self._common: tuple[Reference, int] | None = None
        self._gathered: dict[int, tuple[Reference, int]] = {}  # by peer, who each found their own
        self._judge: Judge | None = None
        self._features: Features | None = None
        if not gathers_moments(experiment):
            self._look_at_common_source(notify)
        elif experiment.metrics.inception is not None:
            self._features = features_for(experiment, 3)  # better refused now

    def score(self, state: PeerState) -> Score:
        """Score what ``state`` would end with now, a generator or a mixture of several."""
        drawn = draw_samples(
            final_generator(state),
            state.gan.z_dim,
            self.experiment.metrics.samples,
            self.experiment.seed,
        )
        if self._features is None:
            self._features = features_for(self.experiment, drawn.shape[1])
        covered, accuracy, samples = None, None, None  # samples: features (n, d)
        if self._judge is not None:
            probabilities, of_judge = self._judge.verdicts(drawn)
            covered = covered_by(probabilities)
            samples = of_judge if self._features.measure == "cfid" else None
        elif shared_judge.KEPT in state.tensors:
            accuracy = float(state.facts[shared_judge.KEPT])
            if accuracy >= shared_judge.TRUSTED:
                vector = state.tensors[shared_judge.KEPT]
                judge = shared_judge.judge_of(vector, state.gan.shape, state.classes)
                covered = covered_by(judge.probabilities(drawn))
        if samples is None:
            samples = self._features(drawn)
        network, own = self._of_network(state), self._of_peer(state, self._features)
        return Score(
            self._features.measure,
            finite_or_none(network[0].distance_of(samples)) if network else None,
            finite_or_none(own.distance_of(samples)) if own else None,
            network[1] if network else 0,
            covered,
            accuracy,
            _ndb(state, samples),
        )

    def _look_at_common_source(self, notify: Callable[[str], None] | None) -> None:
        """All peers' images come from one place: everybody can look at all of them."""
        experiment = self.experiment
        images = load_source(experiment.data, folder=experiment.folder)
        if is_judgeable(images) and images.labels is not None:
            everything = images.take(np.arange(len(images)))
            self._judge = judge_for(everything, images.labels, images.classes, notify=notify)
        features = features_for(experiment, images.shape[0], self._judge)
        self._features = features
        if self._judge is not None and features.measure == "cfid":
            self._common = Reference(*self._judge.reference), len(images)
            return
        moments = Moments.none(features.dimension)
        for start in range(0, len(images), BLOCK):
            block = images.take(np.arange(start, min(start + BLOCK, len(images))))
            moments += Moments.of(features, block, features.dimension)
        self._common = Reference(*moments.gaussian()), len(images)

    def _of_network(self, state: PeerState) -> tuple[Reference, int] | None:
        """The network's images, and how many they are; None where this peer does not know yet."""
        if self._common is not None:
            return self._common
        if state.peer not in self._gathered and KEPT in state.tensors:
            moments = Moments.unpacked(state.tensors[KEPT])
            if moments.count >= 2:
                if len(self._gathered) == REMEMBERED:
                    del self._gathered[min(self._gathered)]
                found = Reference(*moments.gaussian()), round(moments.count)
                self._gathered[state.peer] = found
        return self._gathered.get(state.peer)

    def _of_peer(self, state: PeerState, features: Features) -> Reference | None:
        """The peer's own images; None where they are fewer than two."""
        if state.peer not in self._own:
            shard, reference = state.shard, None
            if shard is not None and len(shard) >= 2:
                moments = Moments.of(features, shard.pixels, features.dimension)
                reference = Reference(*moments.gaussian())
            self._own[state.peer] = reference
        return self._own[state.peer]


def _ndb(state: PeerState, samples: npt.NDArray[np.float64]) -> float | None:
    """The share of bins that differ, of samples with these features, (n, d)."""
    if bins.KEPT not in state.tensors or not np.isfinite(samples).all():
        return None
    ours = bins.count(samples, Moments.unpacked(state.tensors[KEPT]))
    return different_bins(state.tensors[bins.KEPT].numpy(), ours).share


def covered_by(probabilities: npt.NDArray[np.float64]) -> int:
    """How many classes are covered by samples to which a judge gives these, (n, classes)."""
    n, classes = probabilities.shape
    return count_covered(class_histogram(confident_classes(probabilities), classes), n)


def finite_or_none(value: float) -> float | None:
    """For JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None

"""Reading the quality logs that a run left: scores against rounds and time."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from peer.quality.quality_log import read_records, read_scores
from peer.quality.scorer import Score
from sim.metrics.pace import time_to_score

FILES = ("quality*.jsonl", "peer-*/quality.jsonl")
"""One a simulation, or one for each of its processes; one a real peer."""


class QualityCurve(NamedTuple):
    """Scores against rounds: means over the scored generators of one run, (R,) each.

    Attributes:
        measure: fid, cfid or rfd.
        rounds: completed.
        seconds: virtual, in a simulation.
        covered: classes; NaN where nobody could tell.
        network: distance to the network's images; NaN where it is not known.
        own: distance of each generator to its peer's own images.
    """

    measure: str
    rounds: np.ndarray
    seconds: np.ndarray
    covered: np.ndarray
    network: np.ndarray
    own: np.ndarray


def read_quality_log(folder: Path) -> QualityCurve | None:
    """The quality log of a run's folder; None where there is none."""
    by_round: defaultdict[int, list[tuple[float, Score]]] = defaultdict(list)
    measure = ""
    for path in quality_logs(folder):
        for record in read_records(path):
            try:
                score = Score.from_record(record)
                by_round[int(record["round"])].append((float(record["seconds"]), score))
            except (ValueError, KeyError, TypeError):
                continue  # something else's line
            measure = measure or score.measure
    if not by_round:
        return None
    rows = [
        (
            round,
            max(seconds for seconds, _ in scores),
            *(
                np.mean([_or_nan(getattr(score, name)) for _, score in scores])
                for name in ("covered", "network", "own")
            ),
        )
        for round, scores in sorted(by_round.items())
    ]
    return QualityCurve(measure, *(np.array(column) for column in zip(*rows, strict=True)))


def final_scores(folder: Path) -> dict[int, Score]:
    """The last score of every peer in a run's quality logs, by peer."""
    found: dict[int, Score] = {}
    for path in quality_logs(folder):
        found |= read_scores(path)
    return dict(sorted(found.items()))


def quality_logs(folder: Path) -> list[Path]:
    """The files of a run's scores: one of a simulation, or one of each process or peer."""
    return sorted(path for pattern in FILES for path in folder.glob(pattern))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def time_to_target(curve: QualityCurve, target: float) -> float | None:
    """Virtual seconds until the mean distance first was at most ``target``; None: never."""
    return time_to_score(list(curve.seconds), list(curve.network), target)

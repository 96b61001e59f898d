"""The quality log: ``quality.jsonl``, generators judged every ``metrics.quality_every`` rounds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from peer.experiment import Experiment
from peer.program import Program
from peer.state.recorder import round_to
from sim.metrics.pace import time_to_score
from sim.metrics.quality import Source, finite_or_none
from sim.records.mixture import final_generator
from sim.simulated_peer.simulated_peer import SimulatedPeer
from topology.errors import UserError

FILES = "quality*.jsonl"
"""One a run, or one for each of its processes."""


class QualityLog:
    """Judges the generators that a system is for, after every n-th round, and writes the verdicts.

    Args:
        experiment: says how often, and by which data.
        program: says whose generators.
        path: the file, one of a run's :data:`FILES`; it is appended to.
        clock: seconds of this machine.

    Attributes:
        judging: seconds of this machine that judging took, to be left out of the training's.

    Raises:
        UserError: there is no labelled common source to judge by.
    """

    def __init__(
        self, experiment: Experiment, program: Program, path: Path, clock: Callable[[], float]
    ) -> None:
        self.every = experiment.metrics.quality_every
        self.program = program
        self.path = path
        self.clock = clock
        self.judging = 0.0
        self._source = judged_source(experiment, program)
        self._z_dim = experiment.build_gan(self._source.images.shape).z_dim
        self._began = self.clock()  # after the judge was trained

    def write(self, peer: SimulatedPeer, round: int) -> dict[str, float]:
        """Judge one peer after ``round``, if it is time to; returns its scores by name."""
        state, began = peer.state, self.clock()
        if round % self.every and round != self.program.rounds:
            return {}
        if not self.program.makes_product(state.peer, state.peers):
            return {}
        quality = self._source.judge_generators({state.peer: final_generator(state)}, self._z_dim)
        record = {
            "peer": state.peer,
            "round": round,
            "seconds": round_to(peer.now, 6),  # virtual
            "wall_seconds": round_to(began - self._began - self.judging, 6),
            "bytes_out": peer.bytes_out,
            "covered": quality.coverage[state.peer],
            "cfid": finite_or_none(quality.cfid[state.peer]),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.judging += self.clock() - began
        return {"covered": quality.coverage[state.peer], "cfid": quality.cfid[state.peer]}


def judged_source(experiment: Experiment, program: Program) -> Source:
    """The experiment's images with their judge, which is trained now if it is not in the cache.

    Raises:
        UserError: there is no labelled common source to judge by.
    """
    try:
        return Source(experiment, program=program)
    except UserError as problem:
        raise UserError(f"metrics.quality_every: nothing to judge by: {problem}") from None


class QualityCurve(NamedTuple):
    """Quality against rounds: means over the judged generators of one run, (R,) each."""

    rounds: np.ndarray
    seconds: np.ndarray  # virtual
    covered: np.ndarray
    cfid: np.ndarray


def read_quality_log(folder: Path) -> QualityCurve | None:
    """The quality log of a run's folder; None where there is none."""
    lines: list[str] = []
    for path in sorted(folder.glob(FILES)):
        lines += path.read_text(encoding="utf-8").splitlines()
    by_round: dict[int, list[Mapping[str, float]]] = {}
    for line in lines:
        try:
            record = json.loads(line)
            by_round.setdefault(int(record["round"]), []).append(record)
        except (ValueError, KeyError, TypeError):
            continue  # a line that was cut short
    if not by_round:
        return None
    rows = [
        (
            r,
            max(float(of["seconds"]) for of in records),
            np.mean([of["covered"] for of in records]),
            np.mean([math.nan if of["cfid"] is None else of["cfid"] for of in records]),
        )
        for r, records in sorted(by_round.items())
    ]
    return QualityCurve(*(np.array(column) for column in zip(*rows, strict=True)))


def time_to_target(curve: QualityCurve, target: float) -> float | None:
    """Virtual seconds until the mean CFID first was ``target`` or less; None if it never was."""
    return time_to_score(list(curve.seconds), list(curve.cfid), target)

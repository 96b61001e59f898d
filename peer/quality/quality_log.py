"""The quality log: a line of ``quality.jsonl`` for every score of a generator."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from peer.experiment import Experiment
from peer.program import Program
from peer.quality.scorer import Score, Scorer
from peer.state import PeerState
from peer.state.json_lines import JsonLines
from peer.state.recorder import round_to


class QualityLog:
    """Scores the generators that a system is for, after every n-th round, and writes the scores.

    Args:
        experiment: says how often, and by which data.
        program: says whose generators.
        path: the file; it is appended to.
        clock: seconds of this machine.
        tell: gets a line when scores cannot be written for a time.

    Attributes:
        judging: seconds of this machine that scoring took, to be left out of the training's.
        last: the newest score of each peer, by its id.

    Raises:
        UserError: the images are not here, or ``metrics.inception`` cannot be used.
    """

    def __init__(
        self,
        experiment: Experiment,
        program: Program,
        path: Path,
        clock: Callable[[], float],
        tell: Callable[[str], None] = print,
    ) -> None:
        self.program = program
        self.path = path
        self.judging = 0.0
        self.last = read_scores(path)  # of a run that is gone on with
        self._every = experiment.metrics.quality_every
        self._clock = clock
        self._scorer = Scorer(experiment)
        self._tell = tell
        self._lines: JsonLines | None = None

    def write(
        self, state: PeerState, round: int, *, seconds: float, wall: float, bytes_out: int
    ) -> Score | None:
        """Score one peer after ``round``, if it is time to; None if it is not.

        Args:
            state: the peer's.
            round: rounds completed.
            seconds: the driver's time, virtual in a simulation.
            wall: of this machine, without scoring.
            bytes_out: that the peer has sent.
        """
        if round % self._every and round != self.program.rounds:
            return None
        if not self.program.makes_product(state.peer, state.peers):
            return None
        began = self._clock()
        score = self._scorer.score(state)
        self.last[state.peer] = score
        if self._lines is None:  # not before: whatever is refused leaves no file
            self._lines = JsonLines(self.path, self._tell)
        record = {
            "peer": state.peer,
            "round": round,
            "seconds": round_to(seconds, 6),
            "wall_seconds": round_to(wall, 6),
            "bytes_out": bytes_out,
        }
        self._lines.write(record | score.as_record())
        self.judging += self._clock() - began
        return score

    def sync(self) -> None:
        """Wait until the scores are on the disk, as before a checkpoint of those rounds."""
        if self._lines is not None:
            self._lines.sync()

    def summary_of(self, peer: int) -> dict[str, Any] | None:
        """The newest score of one peer, for its summary; None where there is none."""
        return summary_of({peer: self.last[peer]}) if peer in self.last else None

    def __enter__(self) -> QualityLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lines is not None:
            self._lines.close()


def summary_of(scores: Mapping[int, Score]) -> dict[str, Any] | None:
    """Scores as ``summary.json`` has them; None where there are none.

    ``{measure, network: {peer: distance}, own: {peer: distance}, images}``.
    """
    if not scores:
        return None
    return {
        "measure": next(iter(scores.values())).measure,
        "network": {str(k): score.network for k, score in sorted(scores.items())},
        "own": {str(k): score.own for k, score in sorted(scores.items())},
        "images": max(score.images for score in scores.values()),
        **_judged(scores),
    }


def _judged(scores: Mapping[int, Score]) -> dict[str, Any]:
    """What the judge that peers trained together says, and how often it is right."""
    known = {k: score for k, score in sorted(scores.items()) if score.accuracy is not None}
    if not known:
        return {}
    return {
        "judge_accuracy": next(iter(known.values())).accuracy,
        "covered": {str(k): score.covered for k, score in known.items()},
    }


def read_scores(path: Path) -> dict[int, Score]:
    """The last whole score of each peer in a quality log, by peer."""
    found = {}
    for record in read_records(path):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            found[int(record["peer"])] = Score.from_record(record)
    return found


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a quality log, without those that were cut short."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record

"""A run's folder while it is written, as facts that come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from peer.live.facts import Fact, finite, picture_fact, round_fact, score_fact
from peer.loggers.pictures import FOLDER, round_of
from peer.quality.scorer import Score
from peer.state.count_sketch import Sketch, decode, estimate_disagreement

MOST_BYTES = 4 * 2**20
"""Of one file in one look: a page that is opened late gets what there is in several."""


class Estimates:
    """The disagreement, round by round, of those whose sketches of a round are here."""

    def __init__(self) -> None:
        self._sketches: dict[int, dict[int, Mapping[str, Sketch]]] = {}  # by round, by peer
        self._new: set[int] = set()  # rounds of which more has come

    def add(self, peer: int, round: int, sketches: Mapping[str, Sketch]) -> None:
        """A peer's sketches, each (m,), of a round have come."""
        self._sketches.setdefault(round, {})[peer] = sketches
        self._new.add(round)

    def news(self) -> Iterator[Fact]:
        """The estimates of rounds of which more has come since the last look."""
        for round in sorted(self._new):
            of_round = self._sketches[round]
            values: dict[str, float] = {}
            for net in sorted({net for of in of_round.values() for net in of}):
                known = [of[net] for of in of_round.values() if net in of]
                if len(known) > 1 and len({len(sketch) for sketch in known}) == 1:
                    values[net], _ = estimate_disagreement(np.array(known))
            if values:
                found = finite(values)
                yield {"kind": "disagreement", "peer": None, "round": round, "values": found}
        self._new.clear()
        while len(self._sketches) > 200:  # rounds; whoever is further behind is not waited for
            del self._sketches[min(self._sketches)]


class Follower:
    """Reads what a run has written since the last look.

    Args:
        folder: the run's; a simulation writes records for all peers, each real peer its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offsets: dict[Path, int] = {}
        self._pictures: dict[Path, Path] = {}  # the newest that was told, by folder
        self._estimates = Estimates()

    def news(self) -> list[Fact]:
        """Facts that were not there before, in the order of their rounds within each file."""
        found: list[Fact] = []
        for pattern, read in (
            ("metrics*.jsonl", self._rounds),
            ("peer-*/metrics.jsonl", self._rounds),
            ("network*.jsonl", _disagreement),
            ("quality*.jsonl", _score),
            ("peer-*/quality.jsonl", _score),
        ):
            for path in sorted(self.folder.glob(pattern)):
                found += self._lines(path, read)
        found += self._estimates.news()
        found += self._new_pictures()
        return found

    def _lines(self, path: Path, read: Callable[[Any], Iterator[Fact]]) -> Iterator[Fact]:
        """Facts of the whole lines that ``path`` has more than at the last look."""
        offset = self._offsets.get(path, 0)
        try:
            with path.open("rb") as file:
                if file.seek(0, 2) < offset:
                    offset = 0  # records of later rounds were cut off: read it all again
                file.seek(offset)
                content = file.read(MOST_BYTES)
        except OSError:
            return
        whole = content.rfind(b"\n") + 1
        self._offsets[path] = offset + whole
        for line in content[:whole].splitlines():
            try:
                yield from list(read(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # half a line, which a full disk left

    def _rounds(self, record: Any) -> Iterator[Fact]:
        peer, round = int(record["peer"]), int(record["round"])
        losses = record.get("losses") or {}
        yield round_fact(
            peer,
            round,
            at=float(record.get("seconds", 0.0)),
            losses={net: _number(x) for net, x in losses.items()},
            bytes_in=int(record.get("bytes_in", 0)),
            bytes_out=int(record.get("bytes_out", 0)),
            missing=[int(k) for k in record.get("missing", ())],
        )
        if record.get("sketches"):
            sketches = {net: _sketch(text) for net, text in dict(record["sketches"]).items()}
            known = {net: sketch for net, sketch in sketches.items() if sketch is not None}
            self._estimates.add(peer, round, known)

    def _new_pictures(self) -> Iterator[Fact]:
        """A peer's newest picture, if it is new: what lies between two looks was not seen."""
        for home in sorted(self.folder.glob(f"peer-*/{FOLDER}")):
            newest = max(home.glob("round-*.png"), default=None)
            if newest is None or newest == self._pictures.get(home):
                continue
            round = round_of(newest)
            try:
                content = newest.read_bytes()
            except OSError:
                continue
            if round is None or not content.endswith(b"IEND\xaeB`\x82"):
                continue  # it is being written
            self._pictures[home] = newest
            yield picture_fact(int(home.parent.name.removeprefix("peer-")), round, content)


def _number(value: Any) -> float:
    """A number of a record; null stands for one that is not finite."""
    return float("nan") if value is None else float(value)


def _sketch(text: str) -> Sketch | None:
    try:
        return decode(text)
    except ValueError:
        return None


def _disagreement(record: Any) -> Iterator[Fact]:
    values = {str(net): _number(x) for net, x in record["disagreement"].items()}
    round = int(record["round"])
    yield {"kind": "disagreement", "peer": None, "round": round, "values": finite(values)}


def _score(record: Any) -> Iterator[Fact]:
    score = Score.from_record(record)
    yield score_fact(int(record["peer"]), int(record["round"]), score)

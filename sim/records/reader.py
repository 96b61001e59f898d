"""Reads a run directory: a simulator's, or the folders of real peers, gathered in one place.

A run directory may be incomplete: a killed peer leaves a truncated last line, or no folder at all.
What can be read is read; what is missing is reported as missing, not guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from peer.experiment import Experiment, load
from peer.state.count_sketch import Sketch, decode, estimate_disagreement
from topology.errors import UserError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
T = TypeVar("T")

_PEER_FOLDER = re.compile(r"peer-(\d+)$")


@dataclass(frozen=True)
class Record:
    """One peer after one round. Seconds and bytes count from the start of the run."""

    peer: int
    round: int
    seconds: float
    bytes_in: int
    bytes_out: int
    missing: tuple[int, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    gradient_norms: Mapping[str, float] = field(default_factory=dict)
    sketches: Mapping[str, str] = field(default_factory=dict)
    participants: tuple[tuple[int, ...], ...] = ()  # a round, whose updates a server used

    def sketch(self, net: str) -> Sketch | None:
        """The count sketch of ``net``; None where there is none that can be read."""
        try:
            return decode(self.sketches[net])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True)
class PeerResult:
    """What a peer that finished says of itself.

    Attributes:
        missing: exchanges that each neighbour missed.
        labels: images of each class that it holds; None where its data have no labels.
        shape: channels, height and width of its images, where it says so.
        mixture: the share of each of its generators, where it ends with several.
        class_names: by number, where they are more than their numbers.
    """

    peer: int
    rounds: int
    arena_blake2b: str
    seconds: float
    bytes_in: int
    bytes_out: int
    missing: Mapping[int, int]
    labels: Mapping[int, int] | None
    shape: tuple[int, int, int] | None = None
    mixture: Mapping[str, float] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One net's disagreement against rounds.

    Attributes:
        rounds: (R,) rounds completed.
        values: (R,) squared parameter units.
        errors: (R,) standard errors relative to the values; None where the values are exact.
    """

    rounds: Ints
    values: Floats
    errors: Floats | None = None


@dataclass(frozen=True)
class RecordedRun:
    """A run directory in memory.

    Attributes:
        folder: where it lies.
        experiment: what was run.
        records: by peer, in the order of rounds, the last one of each round.
        exact: by net, the disagreement that the simulator logged; empty for real peers.
        results: of the peers that finished.
        generators: files of final generators, by peer.
        unreadable: lines that are not whole records.
    """

    folder: Path
    experiment: Experiment
    records: Mapping[int, tuple[Record, ...]]
    exact: Mapping[str, Curve]
    results: Mapping[int, PeerResult]
    generators: Mapping[int, Path]
    unreadable: int

    @property
    def rounds(self) -> int:
        """Rounds that the furthest peer completed."""
        finished = [result.rounds for result in self.results.values()]
        logged = [records[-1].round for records in self.records.values() if records]
        return max(finished + logged, default=0)

    @property
    def is_virtual(self) -> bool:
        """Whether the clock of the records is the simulator's, which writes one log for all."""
        return any(self.folder.glob("metrics*.jsonl"))  # or one a process of the simulation

    @property
    def unfinished(self) -> tuple[int, ...]:
        """Peers that left no result: killed, never started, or not gathered."""
        return tuple(k for k in range(self.experiment.peers) if k not in self.results)

    @property
    def without_generator(self) -> tuple[int, ...]:
        """Peers that finished and left no generator: they hold none (MD-GAN's workers)."""
        return tuple(k for k in sorted(self.results) if k not in self.generators)

    @property
    def nets(self) -> tuple[str, ...]:
        """Names of the nets that were measured, generators first."""
        found = {net for record in self._all() for net in {**record.losses, **record.sketches}}
        return tuple(sorted(found | set(self.exact), key=lambda net: ("generator" not in net, net)))

    def losses(self, net: str) -> tuple[Ints, Floats]:
        """Rounds (R,) and the loss of ``net`` (R, K), NaN where a peer logged none."""
        return self._series(lambda record: record.losses.get(net))

    def gradient_norms(self, net: str) -> tuple[Ints, Floats]:
        """Rounds (R,) and the norm of ``net``'s mini-batch gradient (R, K)."""
        return self._series(lambda record: record.gradient_norms.get(net))

    def bytes_in(self) -> tuple[Ints, Floats]:
        """Rounds (R,) and bytes received since the start (R, K)."""
        return self._series(lambda record: record.bytes_in)

    def bytes_out(self) -> tuple[Ints, Floats]:
        """Rounds (R,) and bytes sent since the start (R, K)."""
        return self._series(lambda record: record.bytes_out)

    def seconds(self) -> tuple[Ints, Floats]:
        """Rounds (R,) and seconds since the start (R, K)."""
        return self._series(lambda record: record.seconds)

    def disagreement(self, net: str) -> Curve | None:
        """Exact where the simulator logged it, else estimated from sketches, else None.

        An estimate is of the peers that logged a sketch in that round, if they are two or more.
        """
        if net in self.exact:
            return self.exact[net]
        rounds: dict[int, list[Sketch]] = {}
        for record in self._all():
            sketch = record.sketch(net)
            if sketch is not None:
                rounds.setdefault(record.round, []).append(sketch)
        estimates = [
            (r, *estimate_disagreement(sketches))
            for r, sketches in sorted(rounds.items())
            if len(sketches) > 1 and len({len(sketch) for sketch in sketches}) == 1
        ]
        if not estimates:
            return None
        when, values, errors = (np.array(column) for column in zip(*estimates, strict=True))
        return Curve(when, values, errors)

    def _all(self) -> Iterator[Record]:
        for records in self.records.values():
            yield from records

    def _series(self, value: Callable[[Record], float | None]) -> tuple[Ints, Floats]:
        rounds = sorted({record.round for record in self._all()})
        row = {r: i for i, r in enumerate(rounds)}
        values = np.full((len(rounds), self.experiment.peers), np.nan)
        for record in self._all():
            measured = value(record)
            if measured is not None:
                values[row[record.round], record.peer] = measured
        return np.array(rounds, dtype=np.int64), values


def read_run(folder: str | Path) -> RecordedRun:
    """Read a run directory: a simulator's, or one with ``peer-<k>`` folders of real peers.

    Peers' folders may also lie one level down, as they do where each machine's run directory was
    copied into one place.

    Raises:
        UserError: not a run directory, or one peer's results are there twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run directory")
    experiment = load(_experiment_file(folder))
    folders = peer_folders(folder, experiment.peers)
    logs = sorted(folder.glob("metrics*.jsonl")) or [  # several where several processes wrote
        peer_folder / "metrics.jsonl"
        for peer_folder in folders.values()
        if (peer_folder / "metrics.jsonl").is_file()
    ]
    lost = 0
    records: dict[int, dict[int, Record]] = {}
    for path in logs:
        lines, skipped = _read_lines(path, _record)
        lost += skipped
        for record in lines:
            # A peer that went on from a checkpoint logs some rounds again: the last one counts.
            if 0 <= record.peer < experiment.peers:
                records.setdefault(record.peer, {})[record.round] = record
    network, skipped = _read_lines(folder / "network.jsonl", _network_record)
    results = {
        k: result
        for k, peer_folder in folders.items()
        if (result := _result(k, peer_folder)) is not None
    }
    return RecordedRun(
        folder=folder,
        experiment=experiment,
        records={
            k: tuple(of_peer[r] for r in sorted(of_peer)) for k, of_peer in sorted(records.items())
        },
        exact=_curves(dict(network)),
        results=results,
        generators={
            k: peer_folder / "generator.safetensors"
            for k, peer_folder in folders.items()
            if (peer_folder / "generator.safetensors").is_file()
        },
        unreadable=lost + skipped,
    )


def _experiment_file(folder: Path) -> Path:
    """The run's own, or that of one of the machines it was gathered from (or of a peer)."""
    own = folder / "experiment.yaml"
    if own.is_file():
        return own
    gathered = sorted(folder.glob("*/experiment.yaml")) + sorted(folder.glob("*/*/experiment.yaml"))
    if not gathered:
        raise UserError(
            f"{folder}: not a run directory (it holds no experiment.yaml); "
            "name a folder that `sim` or `peer up` wrote, such as runs/ring-1"
        )
    return gathered[0]


def peer_folders(folder: Path, peers: int) -> dict[int, Path]:
    """The folders of real peers in a run directory, by id.

    Raises:
        UserError: one peer's is there twice.
    """
    found: dict[int, Path] = {}
    for peer_folder in sorted(folder.glob("peer-*")) + sorted(folder.glob("*/peer-*")):
        match = _PEER_FOLDER.search(peer_folder.name)
        if match is None or not peer_folder.is_dir() or (peer := int(match[1])) >= peers:
            continue
        if peer in found:
            raise UserError(
                f"peer {peer} is in {found[peer]} and in {peer_folder}; keep one of the two"
            )
        found[peer] = peer_folder
    return dict(sorted(found.items()))


def _read_lines(path: Path, parse: Callable[[Any], T]) -> tuple[list[T], int]:
    """Every line of a JSONL file that is a whole record, and how many others there are.

    The last line may be cut short where a peer was killed, and a peer that then resumed has gone
    on writing right behind it: neither is worth losing the report over.
    """
    if not path.is_file():
        return [], 0
    parsed: list[T] = []
    lost = 0
    text = path.read_text(encoding="utf-8", errors="replace")
    complete = text.endswith("\n")
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            parsed.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            lost += complete or number < len(lines)
    return parsed, lost


def _record(raw: Any) -> Record:
    return Record(
        peer=int(raw["peer"]),
        round=int(raw["round"]),
        seconds=float(raw.get("seconds", 0.0)),
        bytes_in=int(raw.get("bytes_in", 0)),
        bytes_out=int(raw.get("bytes_out", 0)),
        missing=tuple(int(k) for k in raw.get("missing", ())),
        losses=_numbers(raw.get("losses", {})),
        gradient_norms=_numbers(raw.get("gradient_norms", {})),
        sketches=dict(raw.get("sketches") or {}),
        participants=tuple(tuple(int(k) for k in of) for of in raw.get("participants", ())),
    )


def _network_record(raw: Any) -> tuple[int, dict[str, float]]:
    return int(raw["round"]), _numbers(raw["disagreement"])


def _numbers(raw: Any) -> dict[str, float]:
    """A JSON mapping of numbers; null stands for one that is not finite."""
    return {str(key): float("nan") if x is None else float(x) for key, x in raw.items()}


def _curves(network: Mapping[int, Mapping[str, float]]) -> dict[str, Curve]:
    nets = {net for of_round in network.values() for net in of_round}
    curves = {}
    for net in nets:
        points = sorted((r, of_round[net]) for r, of_round in network.items() if net in of_round)
        rounds, values = zip(*points, strict=True)
        curves[net] = Curve(np.array(rounds, dtype=np.int64), np.array(values, dtype=np.float64))
    return curves


def _result(peer: int, peer_folder: Path) -> PeerResult | None:
    path = peer_folder / "summary.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        labels, shape = raw.get("labels"), raw.get("shape")
        return PeerResult(
            peer=peer,
            rounds=int(raw["rounds"]),
            arena_blake2b=str(raw["arena_blake2b"]),
            seconds=float(raw.get("seconds", 0.0)),
            bytes_in=int(raw.get("bytes_in", 0)),
            bytes_out=int(raw.get("bytes_out", 0)),
            missing={int(k): int(n) for k, n in (raw.get("missing") or {}).items()},
            labels=None if labels is None else {int(c): int(n) for c, n in labels.items()},
            shape=None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2])),
            mixture={str(name): float(x) for name, x in (raw.get("mixture") or {}).items()},
            class_names=tuple(str(name) for name in raw.get("class_names") or ()),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None

"""What a run left, as the facts of a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from peer.live.facts import Fact, Network, finite, picture_fact, round_fact, score_fact
from peer.live.layout import lay_out
from peer.quality.quality_log import read_records
from peer.quality.scorer import Score
from sim.records.pictures import evenly, pictures_of
from sim.records.quality_log import quality_logs
from sim.records.reader import Record, RecordedRun

MOST_FACTS = 20_000
"""Of rounds, in all: some three megabytes of the page."""

MOST_POINTS = 2_000
"""Of the disagreement's curve."""

MOST_PICTURES = 12_000_000
"""Bytes of PNG files, in all."""

_SURELY = 4
"""Rounds of pictures that are kept, however large: the first, two between, and the last."""


def facts_of(run: RecordedRun) -> tuple[Network, list[Fact]]:
    """The network of a run, and what happened in it, thinned out evenly where it is much."""
    summary = _summary(run.folder)
    pictures, said = _pictures(run)
    disagreement, estimated = _disagreement(run)
    of_peers = {k: _thin(records, run) for k, records in run.records.items()}
    network = Network(
        rounds=max(run.rounds, int(run.experiment.algorithm.settings.get("rounds") or 0)),
        every=max((_widest(records) for records in of_peers.values()), default=1),
        links=sorted((min(a, b), max(a, b)) for a, b in run.experiment.graph_of_peers.edges),
        places=lay_out(run.experiment.graph_of_peers),
        holds=_holds(run, summary),
        class_names=summary.get("class_names") or (),
        nets=run.nets,
        clock="virtual" if run.is_virtual else "real",
        disagreement=f"Disagreement with the centroid{', from sketches' * estimated}",
        bounds={
            net: (float(bound["value"]), str(bound["name"]))
            for net, bound in (summary.get("disagreement_bound") or {}).items()
            if bound["value"] is not None
        },
        pictures=said,
        draws=frozenset(fact["peer"] for fact in pictures),
    )
    rounds = [_round(record, missing) for of in of_peers.values() for record, missing in of]
    return network, [*rounds, *_scores(run), *disagreement, *pictures, *_events(run)]


def _summary(folder: Path) -> Mapping[str, Any]:
    """What the run's report found: classes and bounds; empty where there is none that is whole."""
    try:
        found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _holds(run: RecordedRun, summary: Mapping[str, Any]) -> dict[int, list[int]]:
    """By peer, the classes of its data: as it said itself, or as the report found."""
    said = {k: of.labels for k, of in run.results.items() if of.labels is not None}
    found = {int(k): sorted(classes) for k, classes in (summary.get("labels") or {}).items()}
    return found | {k: sorted(x for x, n in of.items() if n) for k, of in said.items()}


def _thin(records: Sequence[Record], run: RecordedRun) -> list[tuple[Record, tuple[int, ...]]]:
    """Records at rounds spread evenly, each with whom the peer missed since the one before."""
    most = max(20, MOST_FACTS // run.experiment.peers)
    kept, after = [], 0
    for place in evenly(range(len(records)), most):
        missing = {who for record in records[after : place + 1] for who in record.missing}
        kept.append((records[place], tuple(sorted(missing))))
        after = place + 1
    return kept


def _widest(kept: Sequence[tuple[Record, tuple[int, ...]]]) -> int:
    """Rounds between two records that follow each other, at most."""
    rounds = [record.round for record, _ in kept]
    return max((b - a for a, b in pairwise(rounds)), default=1)


def _round(record: Record, missing: Sequence[int]) -> Fact:
    return round_fact(
        record.peer,
        record.round,
        at=record.seconds,
        losses=record.losses,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        missing=missing,
    )


def _scores(run: RecordedRun) -> list[Fact]:
    """Every score that was logged; of one peer and round the last."""
    found: dict[tuple[int, int], Fact] = {}
    for path in quality_logs(run.folder):
        for record in read_records(path):
            try:
                score, peer, round = Score.from_record(record), record["peer"], record["round"]
                found[int(peer), int(round)] = score_fact(int(peer), int(round), score)
            except (ValueError, KeyError, TypeError):
                continue  # something else's line
    return list(found.values())


def _disagreement(run: RecordedRun) -> tuple[list[Fact], bool]:
    """The disagreement of all nets by round, and whether it is estimated from sketches."""
    by_round: dict[int, dict[str, float]] = {}
    estimated = False
    for net in run.nets:
        curve = run.disagreement(net)
        if curve is None:
            continue
        estimated |= curve.errors is not None
        for round, value in zip(curve.rounds.tolist(), curve.values.tolist(), strict=True):
            by_round.setdefault(round, {})[net] = value
    return [
        {"kind": "disagreement", "peer": None, "round": round, "values": finite(by_round[round])}
        for round in evenly(sorted(by_round), MOST_POINTS)
    ], estimated


def _pictures(run: RecordedRun) -> tuple[list[Fact], str]:
    """The pictures that peers kept, of as many rounds as there is room for; and what to say."""
    files = {
        (round, k): file
        for k in range(run.experiment.peers)
        for round, file in pictures_of(run, k).items()
    }
    rounds = sorted({round for round, _ in files})
    if not rounds:
        return [], "None were kept: metrics.pictures_every says how often a peer draws."
    size = sum(file.stat().st_size for file in files.values())
    count = min(len(rounds), max(_SURELY, len(rounds) * MOST_PICTURES // max(size, 1)))
    shown = set(evenly(rounds, count))
    facts = [
        picture_fact(k, round, file.read_bytes())
        for (round, k), file in files.items()
        if round in shown
    ]
    said = "Always from the same z: pictures change as the peer learns."
    if len(shown) < len(rounds):
        said += f" Of {len(rounds):,} rounds with pictures, {len(shown):,} are in this page."
    return facts, said


def _events(run: RecordedRun) -> Iterator[Fact]:
    """When a peer began to go on without a neighbour, and when it had it back; and who ended."""
    for k, records in run.records.items():
        without: set[int] = set()
        for record in records:
            now = set(record.missing)
            for text, who in (("goes on without", now - without), ("has back", without - now)):
                if who:
                    called = ", ".join(f"peer {j}" for j in sorted(who))
                    yield _event(record.round, f"peer {k} {text} {called}")
            without = now
    for k in run.unfinished:
        records = run.records.get(k, ())
        last = records[-1].round if records else 0
        yield _event(last, f"peer {k} left no result; its last record is of this round")


def _event(round: int, text: str) -> Fact:
    return {"kind": "event", "round": round, "text": text}

"""Metrics of a run as a whole, from its records: delta loss, pace, traffic, what a server saw."""

from __future__ import annotations

from typing import Any

import numpy as np

import algorithms
from peer.data import label_counts
from peer.program import Program
from peer.quality.scorer import finite_or_none
from sim.metrics.pace import Floats, delta_loss, pace
from sim.metrics.quality import Source
from sim.metrics.seen import seen_by_rounds
from sim.records.quality_log import QualityCurve, time_to_target
from sim.records.reader import Ints, RecordedRun

_LAST_SHARE = 10


def measure_run(run: RecordedRun, source: Source | None = None) -> dict[str, Any]:
    """The measures of the run as a whole, by name; those that its records do not give are absent.

    Args:
        run: what was recorded.
        source: says what data the peers hold that did not report them, and what all data are.

    Returns:
        ``delta_loss`` (mean and standard deviation over peers, of the last tenth of the records, in
        nats), ``updates_per_second``, ``epochs_per_second``, ``bytes_per_second`` and
        ``bytes_per_peer`` (in and out, of a peer on average), ``virtual`` (whether the seconds are
        the simulator's), and ``seen`` (:class:`sim.metrics.seen.Seen` after the last round).
    """
    program = algorithms.find(run.experiment, check=False)
    return _delta_loss(run) | _pace(run, source, program) | _seen(run, source, program)


def measure_clock(run: RecordedRun, quality: QualityCurve | None) -> dict[str, Any]:
    """What the virtual clock of a simulation says.

    Returns:
        ``virtual_seconds`` (None for real peers), ``predicted`` (whether devices are given, so that
        virtual seconds predict those of real machines), ``quality_curve`` (the measure's
        name; rounds, virtual seconds, classes covered, distances to the network's images and to
        the peers' own, as logged) and ``time_to_target`` (None where it was never
        reached).
    """
    last = [records[-1].seconds for records in run.records.values() if records]
    virtual = max(last, default=None) if run.is_virtual else None
    found: dict[str, Any] = {
        "virtual_seconds": virtual,
        "predicted": virtual is not None and bool(run.experiment.devices),
    }
    if quality is None:
        return found
    columns = {name: of for name, of in quality._asdict().items() if name != "measure"}
    found["quality_curve"] = {"measure": quality.measure} | {
        name: [finite_or_none(x) for x in of.tolist()] for name, of in columns.items()
    }
    target = run.experiment.metrics.target
    if target is not None:
        reached = time_to_target(quality, target)
        found["time_to_target"] = {
            "measure": quality.measure,
            "distance": target,
            "seconds": reached,
        }
    return found


def delta_losses(run: RecordedRun) -> tuple[Ints, Floats, Floats] | None:
    """Rounds (R,), and the delta loss' mean (R,) and deviation (R,) over peers; None without any.

    Oasis defines it by the non-saturating loss, and by peers that train both nets.
    """
    if run.experiment.loss.name != "bce_ns":
        return None
    rounds, d = run.losses("discriminator")
    mean, std = delta_loss(d, run.losses("generator")[1])
    known = np.isfinite(mean)
    return (rounds[known], mean[known], std[known]) if known.any() else None


def _delta_loss(run: RecordedRun) -> dict[str, Any]:
    series = delta_losses(run)
    if series is None:
        return {}
    _, mean, std = (column[-max(1, len(column) // _LAST_SHARE) :] for column in series)
    return {"delta_loss": {"mean": float(mean.mean()), "std": float(std.mean())}}


def _pace(run: RecordedRun, source: Source | None, program: Program) -> dict[str, Any]:
    """By the clock of the records: virtual in a simulation, the peers' own otherwise."""
    moved = [result.bytes_in + result.bytes_out for result in run.results.values()]
    last = [records[-1].seconds for records in run.records.values() if records]
    seconds = max(last, default=0.0) or max((of.seconds for of in run.results.values()), default=0)
    if not moved or seconds <= 0:
        return {}
    by_rounds = participants(run, program)
    workers = program.workers(run.experiment.peers)
    updates = (
        sum(map(len, by_rounds))
        if by_rounds
        else sum(run.results[k].rounds for k in workers if k in run.results)
    )
    # At full load: FeGAN's weaker devices take fewer steps.
    iterations = getattr(program.settings, "local_steps", 1)
    steps = iterations * (1 if program.name == "mdgan" else getattr(program.settings, "n_d", 1))
    images = sum(sum(of.values()) for of in _holdings(run, source).values())
    bytes_per_peer = sum(moved) / len(moved)
    of = pace(updates, updates * steps * run.experiment.batch, images, bytes_per_peer, seconds)
    found = {name: value for name, value in of._asdict().items() if np.isfinite(value)}
    return found | {"bytes_per_peer": bytes_per_peer, "virtual": run.is_virtual}


def _seen(run: RecordedRun, source: Source | None, program: Program) -> dict[str, Any]:
    by_rounds, held = participants(run, program), _holdings(run, source)
    if not by_rounds or not {k for of in by_rounds for k in of} <= set(held):
        return {}
    real = label_counts(source.images, range(len(source.images))) if source else None
    seen = seen_by_rounds(by_rounds, held, real)
    last = {name: float(column[-1]) for name, column in seen._asdict().items()}
    return {"seen": {name: finite_or_none(x) for name, x in last.items()}}


def participants(run: RecordedRun, program: Program) -> list[tuple[int, ...]]:
    """Who took part in each round, as the server reported; empty where there is no server."""
    server = program.server
    records = run.records.get(server, ()) if server is not None else ()
    return [of_round for record in records for of_round in record.participants]


def _holdings(run: RecordedRun, source: Source | None) -> dict[int, dict[int, int]]:
    """Images by class that each peer holds: as it reported, else by the partition."""
    held = {}
    if source:
        held = {k: label_counts(source.images, shard) for k, shard in source.shards.items()}
    return held | {k: dict(of.labels) for k, of in run.results.items() if of.labels}

"""``sim evaluate``: everything that can be measured of a run that is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

import algorithms
from peer.checkpoint import write_json
from peer.data import label_counts
from peer.gan import build_gan
from sim.metrics.frechet import frechet_distance, gaussian
from sim.metrics.inception import Inception
from sim.metrics.kernel import kernel_distance
from sim.metrics.mixture import Mixture, load_run
from sim.metrics.ndb import Binning
from sim.metrics.pace import delta_loss, mode_score, pace
from sim.metrics.precision import precision_recall
from sim.metrics.quality import Source, class_histogram, confident_classes, count_covered
from sim.metrics.samples import draw_samples
from sim.metrics.seen import seen_by_rounds
from sim.records import RecordedRun, read_run
from sim.table import format_distance

_REFERENCE = 2000
"""Real images that kernel distances, balls and bins are worked out from, at most."""


def evaluate_run(
    run_dir: Path,
    *,
    inception: Path | None = None,
    cache: Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Judge every generator that a run left; write ``evaluation.json`` into it.

    Args:
        run_dir: of the run.
        inception: a local file of Inception weights; FID and KID are left out without it.
        cache: where judges are kept.
        notify: is told, in a few words, what takes long.

    Returns:
        ``peers``: measures by peer; ``run``: those of the run as a whole.

    Raises:
        UserError: no labelled common source to judge by, or a file of the wrong kind.
    """
    run = read_run(run_dir)
    source = Source(run.experiment, None, cache, notify)
    extractor = None if inception is None else Inception(inception)
    gan = build_gan(run.experiment, source.images.shape)
    count = run.experiment.metrics.samples
    real = _reference(source)
    _, real_features = source.judge.verdicts(real)
    binning = Binning(_flat(real))
    real_inception = None if extractor is None else extractor.features(real)
    peers: dict[str, dict[str, float | int]] = {}
    groups: dict[str, float] = {}
    for k, generator in load_run(run, gan).items():
        drawn = draw_samples(generator, gan.z_dim, count, run.experiment.seed)
        probabilities, features = source.judge.verdicts(drawn)
        balls = precision_recall(real_features, features)
        bins = binning.compare(_flat(drawn))
        counts = class_histogram(confident_classes(probabilities), source.images.classes)
        peers[str(k)] = {
            "coverage": count_covered(counts, count),
            "cfid": frechet_distance(*source.judge.reference, *gaussian(features)),
            "ckid": kernel_distance(real_features, features).mean,
            "precision": balls.precision,
            "recall": balls.recall,
            "mode_score": mode_score(probabilities),
            "ndb": bins.share,
            "js": bins.divergence,
        }
        if isinstance(generator, Mixture):
            groups = _of_groups(generator, source, gan.z_dim, count)
        if extractor is not None and real_inception is not None:
            ours = extractor.features(drawn)
            peers[str(k)]["fid"] = frechet_distance(*gaussian(real_inception), *gaussian(ours))
            peers[str(k)]["kid"] = kernel_distance(real_inception, ours).mean
    found = {"peers": peers, "run": _of_run(run, source)}
    if groups:
        found["run"]["groups"] = groups
    write_json(run.folder / "evaluation.json", _finite(found))
    return found


def _of_groups(mixture: Mixture, source: Source, z_dim: int, count: int) -> dict[str, float]:
    """CFID of each group's generator against the whole source, mean and std (Oasis, table 3)."""
    seed = source.experiment.seed
    values = []
    for part in mixture.parts:
        _, features = source.judge.verdicts(draw_samples(part, z_dim, count, seed))
        values.append(frechet_distance(*source.judge.reference, *gaussian(features)))
    return {"cfid_mean": float(np.mean(values)), "cfid_std": float(np.std(values))}


def _reference(source: Source) -> torch.Tensor:
    """Real images, every class, spread over the source: (n, c, h, w)."""
    n = len(source.images)
    return source.images.take(np.linspace(0, n - 1, min(n, _REFERENCE)).astype(np.int64))


def _flat(images: torch.Tensor) -> np.ndarray:
    """(n, pixels) in [0, 1]."""
    return np.asarray((images.flatten(1).numpy().astype(np.float64) + 1) / 2)


def _of_run(run: RecordedRun, source: Source) -> dict[str, Any]:
    """Delta-loss, throughput, traffic, and what a server has seen."""
    found: dict[str, Any] = {}
    _, d = run.losses("discriminator")
    _, g = run.losses("generator")
    if d.shape == g.shape and d.size:
        mean, std = delta_loss(d, g)
        known = np.flatnonzero(np.isfinite(mean))
        if len(known):
            found["delta_loss"] = {"mean": mean[known[-1]], "std": std[known[-1]]}
    seconds = max((result.seconds for result in run.results.values()), default=0.0)
    moved = [result.bytes_in + result.bytes_out for result in run.results.values()]
    if moved and seconds:
        program = algorithms.find(run.experiment, check=False)
        participants = _participants(run)
        workers = len(program.workers(run.experiment.peers))
        updates = sum(map(len, participants)) if participants else run.rounds * workers
        steps = int(run.experiment.algorithm.settings.get("local_steps", 1))
        of = pace(
            updates,
            updates * steps * run.experiment.batch,
            len(source.images),
            sum(moved) / len(moved),
            seconds,
        )
        found |= of._asdict()
        found["bytes_per_peer"] = sum(moved) / len(moved)
    participants = _participants(run)
    held = {k: of.labels for k, of in run.results.items() if of.labels}
    if participants and held:
        real = label_counts(source.images, range(len(source.images)))
        seen = seen_by_rounds(participants, held, real)
        found["seen"] = {name: float(column[-1]) for name, column in seen._asdict().items()}
    return found


def _participants(run: RecordedRun) -> list[tuple[int, ...]]:
    """Who took part in each round, by the server's account."""
    server = algorithms.find(run.experiment, check=False).server
    records = run.records.get(server, ()) if server is not None else ()
    return [of_round for record in records for of_round in record.participants]


def evaluation_table(found: Mapping[str, Any]) -> Table:
    """A row a generator."""
    peers: Mapping[str, Mapping[str, float]] = found["peers"]
    headings = {
        "coverage": "covers",
        "cfid": "CFID",
        "ckid": "CKID",
        "precision": "precision",
        "recall": "recall",
        "mode_score": "mode score",
        "ndb": "NDB/K",
        "js": "JS",
        "fid": "FID",
        "kid": "KID",
    }
    shown = [key for key in headings if any(key in of for of in peers.values())]
    table = Table(caption="C: on a classifier's features; not to be compared with FID or KID")
    table.add_column("peer", justify="right")
    for key in shown:
        table.add_column(headings[key], justify="right")
    for k, of in peers.items():
        table.add_row(k, *(format_distance(of.get(key)) for key in shown))
    return table


def _finite(value: Any) -> Any:
    """What JSON can hold: None for a number that is not finite."""
    match value:
        case dict():
            return {key: _finite(of) for key, of in value.items()}
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case np.integer():
            return int(value)
        case _:
            return value

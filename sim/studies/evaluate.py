"""``sim evaluate``: everything that can be measured of a run that is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.table import Table

from peer.gan import Gan
from peer.gan.conditional import Asked
from peer.quality.coverage import class_histogram, confident_classes, count_covered
from peer.quality.frechet import frechet_distance, gaussian
from peer.quality.inception import Inception
from peer.quality.mixture import Mixture, asked_for_all, mixture_in
from peer.quality.samples import draw_samples
from peer.state.checkpoint import write_json
from sim.metrics.kernel import kernel_distance
from sim.metrics.ndb import Binning
from sim.metrics.pace import mode_score
from sim.metrics.precision import precision_recall
from sim.metrics.quality import Source, seen_as_asked
from sim.records.generators import load_run
from sim.records.reader import read_run
from sim.records.run_metrics import measure_run
from sim.reporting.tables import format_distance
from topology.errors import UserError

REAL = 10_000
"""Real images that samples are compared with, at most: what published FIDs are made of."""


def evaluate_run(
    run_dir: Path,
    *,
    inception: Path | None = None,
    samples: int | None = None,
    real: int = REAL,
    cache: Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Judge every generator that a run left; write ``evaluation.json`` into it.

    Args:
        run_dir: of the run.
        inception: a local file of Inception weights; FID and KID are left out without it.
        samples: of each generator; the experiment's ``metrics.samples`` if None. An FID of fewer
            than 2,048 is of a singular covariance, and falls as they grow: compare equal numbers.
        real: images of the source to compare with, at most, spread over it.
        cache: where judges are kept.
        notify: is told, in a few words, what takes long.

    Returns:
        ``peers``: measures by peer; ``asked``, where generators are told classes: by peer and by
        class, the share of samples asked as it that the judge sees as it; ``run``: measures of the
        run as a whole (:func:`~sim.records.run_metrics.measure_run`); ``of``: how many samples,
        real images and bins.

    Raises:
        UserError: no labelled common source to judge by, no generator, or a file of the wrong kind.
    """
    say = notify or (lambda line: None)
    run = read_run(run_dir)
    if not run.generators:
        raise UserError(f"{run_dir}: no peer has left a generator; let the run end first")
    extractor = None if inception is None else Inception(inception)
    source = Source(run.experiment, None, cache, notify)
    gan = run.experiment.build_gan(source.images.shape, classes=source.images.classes)
    count = samples or run.experiment.metrics.samples
    reference = _spread(source, real)
    _, real_features = source.judge.verdicts(reference)
    # Precision and recall need sets of equal size.
    real_centres = real_features[_places(len(real_features), count)]
    say(f"bins from {len(reference):,} real images")
    binning = Binning(_flat(reference))
    real_inception = None
    if extractor is not None:
        say(f"Inception features of {len(reference):,} real images")
        real_inception = extractor.features(reference)
    peers: dict[str, dict[str, float | int]] = {}
    groups: dict[str, float] = {}
    asked: dict[str, dict[str, float]] = {}
    classes = source.images.classes
    names = [source.images.class_name(x) for x in range(classes)]
    for k, generator in load_run(run, gan).items():
        drawn = draw_samples(generator, gan.z_dim, count, run.experiment.seed)
        probabilities, features = source.judge.verdicts(drawn)
        balls = precision_recall(real_centres, features[_places(count, len(real_centres))])
        bins = binning.compare(_flat(drawn))
        counts = class_histogram(confident_classes(probabilities), classes)
        ckid = kernel_distance(real_features, features)
        peers[str(k)] = {
            "coverage": count_covered(counts, count),
            "cfid": frechet_distance(*source.judge.reference, *gaussian(features)),
            "ckid": ckid.mean,
            "ckid_std": ckid.std,
            "precision": balls.precision,
            "recall": balls.recall,
            "mode_score": mode_score(probabilities),
            "ndb": bins.share,
            "js": bins.divergence,
        }
        if isinstance(generator, Asked):
            shares = seen_as_asked(probabilities, generator)
            peers[str(k)]["as_asked"] = float(np.nanmean(shares))
            asked[str(k)] = dict(zip(names, shares.tolist(), strict=True))
        if (mixture := mixture_in(generator)) is not None:
            groups = _group_distances(mixture, source, gan, count)
        if extractor is not None and real_inception is not None:
            say(f"Inception features of {count:,} samples of peer {k}")
            ours = extractor.features(drawn)
            kid = kernel_distance(real_inception, ours)
            fid = frechet_distance(*gaussian(real_inception), *gaussian(ours))
            peers[str(k)] |= {"fid": fid, "kid": kid.mean, "kid_std": kid.std}
    found: dict[str, Any] = {
        "peers": peers,
        "run": measure_run(run, source) | ({"groups": groups} if groups else {}),
        **({"asked": asked} if asked else {}),
        "of": {"samples": count, "real": len(reference), "bins": binning.k},
    }
    write_json(run.folder / "evaluation.json", _finite(found))
    return found


def _group_distances(mixture: Mixture, source: Source, gan: Gan, count: int) -> dict[str, float]:
    """CFID of each group's generator against the whole source, mean and std (Oasis, table 3)."""
    seed = source.experiment.seed
    values = []
    for part in mixture.parts:
        drawn = draw_samples(asked_for_all(part, gan), gan.z_dim, count, seed)
        _, features = source.judge.verdicts(drawn)
        values.append(frechet_distance(*source.judge.reference, *gaussian(features)))
    return {"cfid_mean": float(np.mean(values)), "cfid_std": float(np.std(values))}


def _spread(source: Source, most: int) -> torch.Tensor:
    """Real images, every class, spread over the source: (n, c, h, w)."""
    return source.images.take(_places(len(source.images), most))


def _places(n: int, most: int) -> npt.NDArray[np.int64]:
    """At most ``most`` of n indices, evenly apart."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def _flat(images: torch.Tensor) -> np.ndarray:
    """(n, pixels) in [0, 1]."""
    return np.asarray((images.flatten(1).numpy().astype(np.float64) + 1) / 2)


def evaluation_table(found: Mapping[str, Any]) -> Table:
    """A row a generator."""
    peers: Mapping[str, Mapping[str, float]] = found["peers"]
    headings = {
        "coverage": "covers",
        "as_asked": "asked",
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
    of = found["of"]
    table = Table(
        caption=f"{of['samples']:,} samples a peer, {of['real']:,} real images, {of['bins']} bins. "
        "C: on a classifier's features; not to be compared with FID or KID"
    )
    table.add_column("peer", justify="right")
    for key in shown:
        table.add_column(headings[key], justify="right")
    for k, measures in peers.items():
        table.add_row(k, *(_brief(measures.get(key)) for key in shown))
    return table


def _brief(value: float | None) -> str:
    """As a distance; one below zero, which a kernel distance may be, with its sign."""
    if value is not None and value < 0:
        return "-" + format_distance(-value)
    return format_distance(value)


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

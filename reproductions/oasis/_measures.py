"""What the paper measures: losses over clients, and the distance and diversity of generators.

L_D is the sum over real and fake, L_G the non-saturating loss, and Delta = L_D - L_G, the larger
the better (definition 2). Losses are those without the regulariser.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import algorithms
from peer.quality.coverage import class_histogram, confident_classes, count_covered
from peer.quality.frechet import frechet_distance, gaussian
from peer.quality.mixture import Mixture, mixture_in
from peer.quality.samples import draw_samples
from peer.state.checkpoint import write_json
from reproductions.measures import plain
from reproductions.oasis._systems import LOCAL_STEPS
from sim.metrics.ndb import Binning
from sim.metrics.quality import Source
from sim.records.generators import load_run
from sim.records.reader import RecordedRun, read_run

SAMPLES = 5000
"""Of each generator, as many as the fewer of the paper's."""

REAL = 10_000
BINS = 100
_LAST = 5
"""A fifth of a run is its end."""

_binnings: dict[str, Binning] = {}

Floats = npt.NDArray[np.float64]


def losses(run: Path, points: int = 50) -> dict[str, Any]:
    """Losses and Delta over clients: of about ``points`` stretches of rounds, and at the end.

    In a stretch, a client's loss is its mean over the rounds in which it trained; ``mean`` and
    ``std`` are over the clients that did. ``end``: the same of the last fifth of all rounds, with
    ``highest_generator``, the highest mean L_G of any stretch.
    """
    recorded = read_run(run)
    rounds, of_d = recorded.losses("discriminator")  # (R,), (R, K)
    _, of_g = recorded.losses("generator")
    if not len(rounds):
        return {"rounds": [], "end": {}, "highest_generator": None}
    # A GAN that trains alone takes a step a round.
    steps = LOCAL_STEPS if recorded.experiment.algorithm.name == "local" else 1
    kinds = {"discriminator": of_d, "generator": of_g, "delta": of_d - of_g}
    stretches = np.array_split(np.arange(len(rounds)), min(points, len(rounds)))
    found: dict[str, Any] = {"rounds": plain([rounds[s].mean() / steps for s in stretches])}
    for kind, values in kinds.items():
        means, stds = zip(*(_over_clients(values[s]) for s in stretches), strict=True)
        found[kind] = {"mean": plain(means), "std": plain(stds)}
    last = slice(-max(1, len(rounds) // _LAST), None)
    ends = {kind: _over_clients(values[last]) for kind, values in kinds.items()}
    found["end"] = {kind: plain([mean])[0] for kind, (mean, _) in ends.items()}
    found["end_std"] = {kind: plain([std])[0] for kind, (_, std) in ends.items()}
    known = [x for x in found["generator"]["mean"] if x is not None]
    found["highest_generator"] = max(known, default=None)
    found["lowest_delta"] = min((x for x in found["delta"]["mean"] if x is not None), default=None)
    return found | {"delta_end": found["end"]["delta"], "generator_end": found["end"]["generator"]}


def _over_clients(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation over clients of their means over rounds; values (R, K)."""
    each = [column[np.isfinite(column)] for column in values.T]
    means = [float(column.mean()) for column in each if len(column)]
    return (statistics.fmean(means), statistics.pstdev(means)) if means else (np.nan, np.nan)


def synthesis(run: Path) -> dict[str, Any]:
    """CFID, NDB/K and classes covered by a run's generators, against all images.

    ``mean`` and ``std`` are over the generators of a system that trains several, as in the paper's
    tables (Oasis: the groups'; Ditto: the clients'); ``together`` is of all of them as one, each
    as often as its group or client has images (section 3.2: "combining the generator models").

    It takes a minute where there are many generators, and is kept in the run's folder, as several
    figures want it.
    """
    kept, program = run / "synthesis.json", Path(__file__).read_text()
    mark = hashlib.blake2b(program.encode(), digest_size=8).hexdigest()
    if kept.is_file() and (known := json.loads(kept.read_text()))["program"] == mark:
        return dict(known["found"])
    found = _synthesis(run)
    write_json(kept, {"program": mark, "found": found})
    return found


def _synthesis(run: Path) -> dict[str, Any]:
    recorded = read_run(run)
    source = Source(recorded.experiment, recorded.experiment.folder)
    gan = recorded.experiment.build_gan(source.images.shape, classes=source.images.classes)
    binning = _binning(recorded, source)
    program, peers = algorithms.find(recorded.experiment, check=False), recorded.experiment.peers
    ended = {k: G for k, G in load_run(recorded, gan).items() if program.makes_product(k, peers)}
    parts, together = _generators(source, ended)
    each = [_judged(part, gan.z_dim, source, binning) for part in parts]
    whole = each[0] if len(parts) == 1 else _judged(together, gan.z_dim, source, binning)
    found: dict[str, Any] = {"generators": len(parts), "bins": binning.k}
    for key in ("cfid", "ndb", "covered"):
        values = [of[key] for of in each]
        found[key], found[f"{key}_std"] = plain([np.mean(values), np.std(values)])
        found[f"{key}_together"] = plain([whole[key]])[0]
    return found


def _generators(
    source: Source, ended: Mapping[int, nn.Module]
) -> tuple[list[nn.Module], nn.Module]:
    """Those that a system trains, and all of them as one."""
    if len(ended) == 1:
        one = next(iter(ended.values()))
        mixture = mixture_in(one)
        return ([one], one) if mixture is None else (list(mixture.parts), mixture)
    shares = [float(len(source.shards[k])) for k in ended]
    return list(ended.values()), Mixture(list(ended.values()), shares)


def _judged(generator: nn.Module, z_dim: int, source: Source, binning: Binning) -> dict[str, float]:
    drawn = draw_samples(generator, z_dim, SAMPLES, source.experiment.seed)
    probabilities, features = source.judge.verdicts(drawn)
    counts = class_histogram(confident_classes(probabilities), source.images.classes)
    return {
        "cfid": frechet_distance(*source.judge.reference, *gaussian(features)),
        "ndb": binning.compare(_flat(drawn)).share,
        "covered": count_covered(counts, SAMPLES),
    }


def _binning(recorded: RecordedRun, source: Source) -> Binning:
    """Bins of the source, which are the same for all runs of it."""
    key = recorded.experiment.data.model_dump_json(exclude={"partition"})
    if key not in _binnings:
        places = np.linspace(0, len(source.images) - 1, min(len(source.images), REAL))
        _binnings[key] = Binning(_flat(source.images.take(places.astype(np.int64))), BINS)
    return _binnings[key]


def _flat(images: torch.Tensor) -> Floats:
    """(n, pixels) in [0, 1]."""
    return np.asarray((images.flatten(1).numpy().astype(np.float64) + 1) / 2)

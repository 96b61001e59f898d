"""What several reproductions measure of a run that is over; each gives types that JSON knows."""

from __future__ import annotations

import base64
import io
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from peer.data import load_source
from peer.loggers.mosaic import mosaic
from peer.quality.samples import draw_samples
from sim.records.generators import load_run
from sim.records.quality_log import final_scores, read_quality_log
from sim.records.reader import read_run


def final_scores_of(run: Path) -> dict[str, Any]:
    """Of the last scores in the quality log: distances and coverage of the generators judged.

    ``distance``: the mean to all images (a CFID where there are labels); ``own``: that to the
    peer's own images; ``covered``: classes of the poorest generator, ``covers`` of each.
    """
    scores = final_scores(run)
    covers = {str(k): s.covered for k, s in scores.items() if s.covered is not None}
    return {
        "measure": next(iter(scores.values())).measure if scores else None,
        "distance": _mean([score.network for score in scores.values()]),
        "own": _mean([score.own for score in scores.values()]),
        "covered": min(covers.values(), default=None),
        "covers": covers,
    }


def quality_curve(run: Path) -> dict[str, list[float | None]]:
    """The quality log: ``rounds``, virtual ``seconds``, ``distance`` and classes ``covered``."""
    curve = read_quality_log(run)
    if curve is None:
        return {"rounds": [], "seconds": [], "distance": [], "covered": []}
    return {
        "rounds": plain(curve.rounds),
        "seconds": plain(curve.seconds),
        "distance": plain(curve.network),
        "covered": plain(curve.covered),
    }


def loss_curves(run: Path, points: int = 60) -> dict[str, Any]:
    """Losses as means over peers, of about ``points`` stretches of rounds: ``rounds`` and by net.

    A stretch is the mean over its rounds, as the loss of one mini-batch is noise.
    """
    recorded = read_run(run)
    curves: dict[str, Any] = {}
    for net in recorded.nets:
        rounds, values = recorded.losses(net)
        if not len(rounds):
            continue
        chunks = np.array_split(np.arange(len(rounds)), min(points, len(rounds)))
        curves["rounds"] = plain([rounds[chunk].mean() for chunk in chunks])
        curves[net] = plain([_mean(values[chunk].ravel().tolist()) for chunk in chunks])
    return curves


def samples_png(run: Path, peer: int, count: int = 100, seed: int = 0) -> str:
    """``count`` samples of a peer's generator side by side, as a PNG in base64; none chosen."""
    recorded = read_run(run)
    images = load_source(recorded.experiment.data, folder=recorded.experiment.folder)
    gan = recorded.experiment.build_gan(images.shape, classes=images.classes)
    generator = load_run(recorded, gan)[peer]
    return png(mosaic(draw_samples(generator, gan.z_dim, count, seed)))


def png(picture: np.ndarray) -> str:
    """A picture (height, width, 1 or 3), uint8, as a PNG in base64."""
    buffer = io.BytesIO()
    squeezed = picture.squeeze(-1) if picture.shape[-1] == 1 else picture
    Image.fromarray(squeezed).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def plain(values: Any) -> list[float | None]:
    """An array as a list for JSON, with six digits; None for what is not finite."""
    numbers = [math.nan if x is None else float(x) for x in values]
    return [float(f"{x:.6g}") if math.isfinite(x) else None for x in numbers]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [x for x in values if x is not None and math.isfinite(x)]
    return statistics.fmean(known) if known else None

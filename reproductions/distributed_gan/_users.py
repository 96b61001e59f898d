"""What the paper's figures share: users of MNIST around a server, and what its generator draws."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peer.quality.frechet import frechet_distance, gaussian
from peer.quality.samples import draw_samples
from reproductions.claims import Found, mean
from reproductions.images import digits, mnist
from reproductions.measures import plain, samples_png
from sim.metrics.quality import Source
from sim.records.generators import load_run
from sim.records.reader import read_run

SEEDS = 3
FIRST, SECOND, THIRD = "selective_update", "average_output", "sequential"

SMALLER = (
    "MNIST at 28 pixels and the paper's MLPs, with the widths of a tutorial whose layers are those "
    "of its tables. The paper gives no optimiser, mini-batch or length: here it is Adam with step "
    "size 0.001, mini-batches of 50, and 2,000 to 4,000 rounds of one for each user. "
)
SMALLEST = (
    "Scikit-learn's digits of 8 pixels and a small MLP in place of MNIST, so that five seeds are "
    "cheap. Adam with step size 0.001 and mini-batches of 50, as the paper gives none of these. "
)

TUTORIAL = {"optimizer": {"lr": 0.0002}, "batch": 100}
"""Of the tutorial whose layers are those of the paper's tables."""


def users(
    approach: str,
    rounds: int,
    labels: Sequence[Sequence[int]] | None = None,
    *,
    count: int = 2,
    small: bool = False,
) -> dict[str, Any]:
    """Users around a server: random parts of MNIST, or of each user the classes named.

    With ``small`` it is scikit-learn's digits.
    """
    held = {"name": "labels", "labels": [list(of) for of in labels]} if labels else "halves"
    return {
        "peers": (len(labels) if labels else count) + 1,
        "graph": "star",
        "algorithm": {"name": "distributed_gan", "approach": approach, "rounds": rounds},
        "optimizer": {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
        "gan": "mlp-digits" if small else "distributed-mlp",
        "data": digits(held) if small else mnist(held),
        "batch": 50,
        "metrics": {"every": 10},
    }


def whole(approach: str) -> dict[str, Any]:
    """Two users with all classes between them: random parts, or 0 to 4 and 5 to 9."""
    if approach == FIRST:
        return users(FIRST, 4000)
    return users(approach, 3000, [range(5), range(5, 10)])


def pair(
    one: int, other: int, approach: str = SECOND, *, rounds: int = 2000, small: bool = False
) -> dict[str, Any]:
    """Two users with a digit each."""
    return users(approach, rounds, [[one], [other]], small=small)


def judged(run: Path) -> dict[str, Any]:
    """What the server's generator draws, by the judge, among the classes that the users hold.

    ``shares``: by class, confident samples as a share of all; ``covered``: classes of 1 % or more;
    ``sure``: the sum of ``shares``; ``distance``: CFID to all users' images together; ``samples``:
    a hundred, none chosen.
    """
    recorded = read_run(run)
    experiment = recorded.experiment
    source = Source(experiment)
    gan = experiment.build_gan(source.images.shape, classes=source.images.classes)
    generators = load_run(recorded, gan)
    quality = source.judge_generators(generators, gan.z_dim)
    histogram = quality.histogram[0]
    held = sorted({label for labels in source.labels.values() for label in labels})
    shares = {str(label): histogram[label] / quality.samples for label in held}
    real = source.images.take(np.sort(np.concatenate(list(source.shards.values()))))
    drawn = draw_samples(generators[0], gan.z_dim, quality.samples, experiment.seed)
    moments = [gaussian(source.judge.verdicts(images)[1]) for images in (real, drawn)]
    return {
        "shares": shares,
        "covered": sum(share >= 0.01 for share in shares.values()),
        "sure": sum(shares.values()),
        "distance": plain([frechet_distance(*moments[0], *moments[1])])[0],
        "samples": samples_png(run, 0),
    }


def generator_loss(run: Path, points: int = 60) -> dict[str, Any]:
    """The server's loss of G, as means over ``points`` stretches of ``rounds``."""
    rounds, losses = [], []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        loss = record.get("generator_loss", record.get("losses", {}).get("generator"))
        if record.get("peer") == 0 and loss is not None:
            rounds.append(record["round"])
            losses.append(loss)
    chunks = np.array_split(np.arange(len(rounds)), min(points, len(rounds)))
    return {
        "rounds": plain([np.mean([rounds[i] for i in chunk]) for chunk in chunks]),
        "loss": plain([np.mean([losses[i] for i in chunk]) for chunk in chunks]),
    }


def fall(curve: dict[str, Sequence[float | None]]) -> float:
    """By what share the last quarter's mean loss is below the first quarter's."""
    losses = [loss for loss in curve["loss"] if loss is not None]
    quarter = len(losses) // 4
    if not quarter:
        return float("nan")
    first, last = float(np.mean(losses[:quarter])), float(np.mean(losses[-quarter:]))
    return 1 - last / first


def percent(found: Found, system: str, labels: Iterable[int]) -> str:
    """Mean shares over the seeds, as text: ``6: 41 %, 8: 52 %``."""
    shares = {
        str(x): {"one": [{"share": each["shares"].get(str(x))} for each in found[system]]}
        for x in labels
    }
    return ", ".join(f"{x}: {100 * mean(of, 'one', 'share'):.0f} %" for x, of in shares.items())

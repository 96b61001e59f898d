"""Figure 16: which labels the clusters hold."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from algorithms.oasis.clustering import Grouping, find_groups
from algorithms.oasis.representation import Representation, represent
from peer.peer import Peer
from reproductions.claims import Found, Numbers, Reproduction, Verdict, column, mean, spread
from reproductions.drawing import axes, finish
from reproductions.oasis._systems import CLIENTS, ETA, SMALLER, four
from sim.records.reader import read_run
from sim.runs.simulate import make_states

RANDOM = 1000


def experiments() -> Mapping[str, dict[str, Any]]:
    """Oasis, whose groups follow from its first round alone."""
    return {"Oasis": four()["Oasis"]}


def measure(run: Path) -> Numbers:
    """The groups, worked out again from the experiment as the server does in the first round."""
    experiment = read_run(run).experiment
    states = make_states(experiment)
    clients = [Peer(states[k], experiment.schedule) for k in range(1, experiment.peers)]
    settings = experiment.algorithm.settings
    representation = Representation(**dict(settings.get("representation", {})))
    R = np.stack([represent(client, representation) for client in clients]).astype(float)
    samples = [client.samples for client in clients]
    grouping = Grouping(**dict(settings.get("grouping", {})))
    groups = find_groups(R.astype(np.float32).astype(float), samples, grouping, experiment.seed)
    counts = np.array([_count(client) for client in clients])  # (clients, classes)
    mixes = counts / counts.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(experiment.seed)
    within, between = _distances(groups, mixes)
    by_chance = [_distances(_shuffled(groups, rng), mixes)[0] for _ in range(RANDOM)]
    return {
        "k": len(groups),
        "within": within,
        "between": between,
        "beaten": float(np.mean([within < other for other in by_chance])),
        "counts": [counts[group].sum(axis=0).tolist() for group in groups],
        "members": [len(group) for group in groups],
    }


def _count(client: Peer) -> np.ndarray:
    """A client's images of each class, (classes,)."""
    assert client.labels is not None  # digits have them
    return np.bincount(client.labels, minlength=client.classes)


def _distances(groups: Sequence[Sequence[int]], mixes: np.ndarray) -> tuple[float, float]:
    """Mean total variation of the label mixes of two clients, of one group and of two."""
    place = {c: i for i, group in enumerate(groups) for c in group}
    pairs: dict[bool, list[float]] = {True: [], False: []}
    for one, other in itertools.combinations(sorted(place), 2):
        distance = float(abs(mixes[one] - mixes[other]).sum() / 2)
        pairs[place[one] == place[other]].append(distance)
    within, between = (statistics.fmean(of) if of else float("nan") for of in pairs.values())
    return within, between


def _shuffled(groups: Sequence[Sequence[int]], rng: np.random.Generator) -> list[list[int]]:
    """Groups of the same sizes, at random."""
    order = iter(rng.permutation(sum(map(len, groups))).tolist())
    return [list(itertools.islice(order, len(group))) for group in groups]


def verdict(found: Found) -> Verdict:
    """The rule, carried out."""
    ratio = mean(found, "Oasis", "within") / mean(found, "Oasis", "between")
    ks = column(found, "Oasis", "k")
    beaten = column(found, "Oasis", "beaten")
    return Verdict.by(
        {
            "more groups than one and fewer than clients": all(1 < k < CLIENTS for k in ks),
            "label mixes 0.6 times as far apart": ratio <= 0.6 and min(beaten) >= 0.99,
        },
        f"{spread(found, 'Oasis', 'k', '.2g')} groups; the label mixes of two clients of one group "
        f"are {spread(found, 'Oasis', 'within', '.2f')} apart (total variation), those of two "
        f"groups {spread(found, 'Oasis', 'between', '.2f')}; nearer than "
        f"{100 * min(beaten):.1f} % of random groups or more",
    )


def draw(found: Found) -> Figure:
    """Images by label and cluster, of the first seed."""
    first = found["Oasis"][0]
    figure, (ax,) = axes(1, width=6, height=4)
    counts = np.array(first["counts"])
    shown = ax.imshow(counts, cmap="viridis", aspect="auto")
    figure.colorbar(shown, ax=ax, label="images")
    ax.set_xticks(range(counts.shape[1]))
    names = [f"{i} ({n} of {CLIENTS})" for i, n in enumerate(first["members"])]
    ax.set_yticks(range(len(counts)), names)
    finish(ax, "label", "cluster (clients)", "")
    ax.grid(visible=False)
    return figure


REPRODUCTION = Reproduction(
    source="Oasis, figure 16",
    claim="Clusters found from representations alone hold specific parts of the data each, as the "
    "figure shows by labels; the silhouette chooses their number, seven of a hundred clients.",
    smaller=SMALLER + f"The runs are figure 11's of Oasis. Clusters hold {ETA} images at least; "
    "the paper's figure has an eta of 200, a tenth of that share, and so merges fewer.",
    rule="In the mean over seeds, the label mixes of two clients of one cluster are at most 0.6 "
    "times as far apart (total variation) as those of two clusters, and in every seed nearer than "
    "in 99 % of random clusters of the same sizes; and the number of clusters is neither one nor "
    "that of clients. One of the two: in part.",
    experiments=experiments,
    measure=measure,
    verdict=verdict,
    draw=draw,
    disputed="That the silhouette finds neither one group nor as many as clients is a weak test.",
    caption="How many images of each label each cluster holds; seed 0.",
)

"""What is known of a run before it begins: its graph, and who holds which classes."""

from __future__ import annotations

from peer.data import label_counts, load_source, partition
from peer.experiment import Experiment
from peer.live.facts import Network
from peer.live.layout import lay_out
from peer.program import Program
from topology.errors import UserError


def network_of(experiment: Experiment, program: Program, clock: str) -> Network:
    """The network as a page shows it from the beginning.

    Args:
        experiment: that is run.
        program: the experiment's.
        clock: ``virtual``, or ``real``.
    """
    graph = experiment.graph_of_peers
    holds, names = _holds(experiment, program)
    pictures = experiment.metrics.pictures_every
    return Network(
        rounds=program.rounds,
        every=experiment.metrics.every,
        links=sorted((min(a, b), max(a, b)) for a, b in graph.edges),
        places=lay_out(graph),
        holds=holds,
        class_names=names,
        nets=("generator", "discriminator"),
        clock=clock,
        pictures=(
            f"Every {pictures} rounds, always from the same z."
            if pictures
            else "None are drawn: metrics.pictures_every says how often."
        ),
        draws=frozenset(range(experiment.peers)) if pictures else frozenset(),
    )


def _holds(experiment: Experiment, program: Program) -> tuple[dict[int, list[int]], list[str]]:
    """By peer, the classes of its data, and their names; empty where that cannot be known here."""
    data, workers = experiment.data, program.workers(experiment.peers)
    found: dict[int, list[int]] = {} if program.server is None else {program.server: []}
    if data.per_peer:  # each looks at its own
        return found, []
    try:
        images = load_source(data, None, experiment.folder)
        parts = partition(data, images, len(workers), experiment.seed)
    except UserError:  # peers will say so themselves
        return found, []
    if images.labels is None:
        return found, []
    for k, indices in zip(workers, parts, strict=True):
        found[k] = sorted(label_counts(images, indices))
    return found, [images.class_name(x) for x in range(images.classes)]

"""What any peer's data on this machine, or all of them together, would be refused for."""

from __future__ import annotations

from peer.data import Description, check_alike, load_source, partition
from peer.data.description import refuse_mixture
from peer.experiment import Experiment
from peer.program import Program
from peer.runtime.identity import is_open
from topology.errors import note


def check_data(experiment: Experiment, program: Program) -> None:
    """Refuse what any peer's data on this machine, or all of them together, would be refused for.

    Raises:
        UserError: data that are not there or cannot be shared out, or that differ between peers in
            the shape of their images, or in whether they have classes.
    """
    data, workers = experiment.data, program.workers(experiment.peers)
    if not data.per_peer or data.source == "synthetic":
        images = load_source(data, workers[0], experiment.folder)
        partition(data, images, len(workers), experiment.seed)
        return
    found = {k: Description.of(load_source(data, k, experiment.folder)) for k in workers}
    refuse_mixture({k: of.classes > 0 for k, of in found.items()})
    check_alike(found, classes=not is_open(experiment, found[workers[0]]))
    for k in workers[1:]:
        for doubt in found[workers[0]].doubts(found[k]):
            note(f"data.path: the images of peer {k} {doubt} (peer {workers[0]}); look at them")

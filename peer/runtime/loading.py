"""A real peer's state at round 0, with its own part of the data."""

from __future__ import annotations

import hashlib

from peer.data import Description, load_source, partition
from peer.experiment import Experiment
from peer.program import Program
from peer.state import PeerState, make_state


def load_peer(
    experiment: Experiment, peer: int, program: Program
) -> tuple[PeerState, str | Description]:
    """Peer ``peer`` at round 0 with its own part of the data.

    Returns:
        Its state, and a digest of the images that all peers must share, or a description of them
        where each has its own.

    Raises:
        UserError: the data are not there, or leave a peer without samples.
    """
    workers = program.workers(experiment.peers)
    reader = peer if peer in workers else workers[0]
    images = load_source(experiment.data, reader, experiment.folder)
    indices = None
    if peer in workers:
        parts = partition(experiment.data, images, len(workers), experiment.seed)
        indices = parts[workers.index(peer)]
    source: str | Description = Description.of(images)
    if experiment.data.partition.name != "own":
        source = hashlib.blake2b(images.pixels.tobytes(), digest_size=8).hexdigest()
    state = make_state(experiment, peer, images, indices, names=program.nets(peer))
    return state, source

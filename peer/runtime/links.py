"""One peer's ends of its links, as its experiment and its state ask for them."""

from __future__ import annotations

from collections.abc import Iterable

from peer.compute.compressed_combine import Coding
from peer.compute.held_transfers import HeldTransfers
from peer.experiment import Experiment
from peer.net.away.failure_detector import Timing
from peer.net.link import Link
from peer.net.session import Identity
from peer.state import PeerState


def make_links(
    experiment: Experiment,
    state: PeerState,
    me: Identity,
    neighbours: Iterable[int],
    checksum: bool,
    now: float,
) -> dict[int, Link]:
    """A link to each neighbour, at the time ``now``; ``checksum``: of every chunk."""
    sizes = {name: 4 * net.arena.layout.length for name, net in state.nets.items()}
    timing = Timing.within(experiment.start_timeout, experiment.deadline, experiment.catch_up)
    coding = None
    if experiment.codec is not None:
        layouts = {name: net.arena.layout for name, net in state.nets.items()}
        coding = Coding(experiment.compression.name, experiment.codec, layouts)
    of_state, agrees = HeldTransfers(state), experiment.durability != "none"
    in_doubt = {k: held.t for k, held in of_state.held().items()}
    return {
        k: Link(
            me,
            k,
            sizes,
            timing,
            checksum,
            now,
            coding,
            state.round,
            agrees,
            of_state.used(k),
            in_doubt.get(k),
        )
        for k in neighbours
    }

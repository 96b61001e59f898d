"""One peer's ends of its links, as its experiment and its state ask for them."""

from __future__ import annotations

from collections.abc import Iterable

from peer.compute.compressed_combine import Coding
from peer.compute.held_transfers import HeldTransfers
from peer.experiment import Experiment
from peer.net.away.failure_detector import Timing
from peer.net.link import Link
from peer.net.session import Identity
from peer.net.settling.commit import Past
from peer.state import PeerState
from peer.state.journal.journal import Journal


def make_links(
    experiment: Experiment,
    state: PeerState,
    me: Identity,
    neighbours: Iterable[int],
    checksum: bool,
    now: float,
    journal: Journal | None = None,
) -> dict[int, Link]:
    """A link to each neighbour, at the time ``now``; ``checksum``: of every chunk.

    With a ``journal``, what it will tell again counts as known.
    """
    sizes = {name: 4 * net.arena.layout.length for name, net in state.nets.items()}
    timing = Timing.within(
        experiment.start_timeout, experiment.longest_deadline, experiment.catch_up
    )
    coding = None
    if experiment.codec is not None:
        layouts = {name: net.arena.layout for name, net in state.nets.items()}
        coding = Coding(experiment.compression.name, experiment.codec, layouts)
    agrees = experiment.durability != "none"
    pasts = _pasts(state, neighbours, journal)
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
            past,
            journal is not None,
        )
        for k, past in pasts.items()
    }


def _pasts(state: PeerState, neighbours: Iterable[int], journal: Journal | None) -> dict[int, Past]:
    """What the state says of each link, once it is told again what the journal holds."""
    known = HeldTransfers(state)
    in_doubt = {k: held.t for k, held in known.held().items()} | known.unsure()
    if journal is None:
        return {k: Past(known.used(k), in_doubt.get(k)) for k in neighbours}
    in_doubt = journal.doubts(in_doubt)
    former = frozenset(journal.sessions)
    return {
        k: Past(
            max(known.used(k), journal.last(k, is_letter=False)),
            in_doubt.get(k),
            max(known.taken(k), journal.last(k, is_letter=True)),
            former,
        )
        for k in neighbours
    }

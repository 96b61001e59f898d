"""Who a peer is to its neighbours: what it says of itself, and the keys that prove it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from peer.data import Description
from peer.data.agreement import MOST_PEERS, Agreement
from peer.experiment import Experiment
from peer.machine.likeness import likeness_word
from peer.net.keys import curve_secret, public_key
from peer.net.members.newcomers import Contact, contacts_of
from peer.net.session import Identity
from peer.net.sockets import Security
from peer.state import PeerState


def identify(
    experiment: Experiment,
    state: PeerState,
    source: str | Description,
    workers: Sequence[int],
    agreed: tuple[str, ...] | None = None,
    now: float = 0.0,
) -> Identity:
    """What a peer says of itself: a session of its own, and all that neighbours must agree on.

    Args:
        experiment: the same at every peer.
        state: the peer's.
        source: a digest of the images that all share, or what its own are.
        workers: the peers that hold data.
        agreed: the classes that it has agreed on with others before it was started anew.
        now: the time.
    """
    data = None
    images = source if isinstance(source, str) else "own"
    if isinstance(source, Description):
        if agreed is None and not is_open(experiment, source):
            agreed = source.names
        data = Agreement(state.peer, source, workers, agreed, now, experiment.start_timeout)
    return Identity(
        state.peer,
        secrets.randbits(64),
        experiment.fingerprint() | {"images": images},
        {f"model:{role}": layout.signature() for role, layout in state.gan.layouts.items()},
        data,
        likeness_word,
    )


def is_open(experiment: Experiment, own: Description) -> bool:
    """Whether peers with images of their own have yet to agree on a list of classes."""
    data = experiment.data
    is_listed = isinstance(data.classes, tuple) or data.source == "synthetic"
    return own.classes > 0 and not is_listed and experiment.peers <= MOST_PEERS


def security_of(
    experiment: Experiment, peer: int, keys: Path, links: Mapping[int, Contact] | None = None
) -> Security | None:
    """The keys of a peer's links; None for plain text.

    Args:
        experiment: the same at every peer.
        peer: whose links.
        keys: the folder of secret keys.
        links: where the peer and its neighbours are, and their keys; as the file says, if None.

    Raises:
        UserError: keys are needed and missing, or do not fit.
    """
    links = contacts_of(experiment, peer) if links is None else links
    secret = curve_secret(experiment, peer, keys, links)
    if secret is None:
        return None
    allowed = {k: each.key.encode() for k, each in links.items() if k != peer and each.key}
    hosts = experiment.hosts(experiment.server) if experiment.backups else ()
    let_in = frozenset(experiment.keys[k].encode() for k in hosts if k in experiment.keys)
    return Security(secret, public_key(secret).encode(), allowed, let_in)

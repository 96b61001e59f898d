"""Finding the neighbours of a peer that runs."""

from __future__ import annotations

from collections.abc import Callable

from peer.discover.mdns import Discovery, network_of
from peer.experiment.addresses import split
from peer.runtime.process import PeerProcess


def find_neighbours(process: PeerProcess) -> Callable[[], None]:
    """Announce a peer, and let it ask mDNS for the others, where its experiment says so.

    To be called before the process runs.

    Returns:
        What ends it.

    Raises:
        UserError: it cannot be done here.
    """
    experiment = process.experiment
    if not experiment.discovers:
        return _nothing
    discovery = Discovery(network_of(experiment), process.log)
    process.io.dialler.find_by(discovery.find)
    _, _, port = split(process.io.sockets.listening)
    assert port is not None
    discovery.announce(process.state.peer, port)
    discovery.warn_if_alone(experiment.start_timeout)
    return discovery.close


def _nothing() -> None:
    return

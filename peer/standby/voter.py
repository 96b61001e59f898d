"""A worker's vote: it elects the server's host, and its link follows whoever is elected."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from peer.experiment import Experiment
from peer.net.commands import Reseat
from peer.net.io_thread import IoThread
from peer.net.members.newcomers import listed_contacts
from peer.runtime.identity import security_of
from peer.standby.election.events import Event, Seat
from peer.standby.election_thread import ElectionThread, Log, may_ask


class Voter:
    """One worker's part in elections.

    Args:
        experiment: the same everywhere.
        worker: its id.
        server: the peer that plays the server.
        folder: the worker's own.
        keys: the folder of secret keys.
        io: whose link to the server follows the seat.
        log: gets a line for everything that a user may want to know.

    Raises:
        UserError: as :class:`~peer.standby.election_thread.ElectionThread`; keys are missing.
    """

    def __init__(
        self,
        experiment: Experiment,
        worker: int,
        server: int,
        folder: Path,
        keys: Path,
        io: IoThread,
        log: Log,
    ) -> None:
        self.experiment = experiment
        self.server = server
        self.io = io
        self.log = log
        others = listed_contacts(experiment, [worker, *may_ask(experiment, server, worker)])
        security = security_of(experiment, worker, keys, others)
        self._heard_at = time.monotonic()
        self.thread = ElectionThread(
            worker, experiment, server, folder / "election", security, log, self._follow
        )
        self.thread.start()

    def _follow(self, event: Event) -> None:
        """Another host is the server: the link goes there, and hears nobody else."""
        if not isinstance(event, Seat) or not event.session:
            return
        where = self.experiment.address(event.host)
        self.log(f"term {event.term}: the server is at {where}")
        key = self.experiment.keys.get(event.host, "").encode()
        self.io.reseat(Reseat(self.server, event.session, where, key))

    def stay(self, rounds: int, stop: threading.Event) -> None:
        """Training is over here; vote on until the last round is known to be held, or too long."""
        until = time.monotonic() + self.experiment.longest_deadline
        while self.thread.known.round < rounds and time.monotonic() < until:
            if stop.wait(0.1):
                return

    def end(self) -> None:
        """Vote no more."""
        self.thread.end()

"""A process that can be the server: it stands by, and runs the server's program when elected.

The program does not know. It is started from the newest acknowledged state, under the server's id,
as it would be from a checkpoint; and each of its rounds ends only when that round is acknowledged.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from dataclasses import replace
from pathlib import Path

from peer.experiment import Experiment
from peer.net.keys import keys_folder
from peer.net.members.newcomers import listed_contacts
from peer.net.status.shown import Shown
from peer.program import Program
from peer.runtime.identity import security_of
from peer.runtime.loading import load_peer
from peer.runtime.options import Ending, Options
from peer.runtime.process import PeerProcess
from peer.runtime.signals import Stop
from peer.standby.election.events import Acknowledged, Deposed, Event, Promoted, Seat
from peer.standby.election_thread import ElectionThread, Log, may_ask
from peer.state.checkpoint import checkpoint_path, newest_checkpoint, write_whole
from topology.errors import UserError

FAREWELL = 5.0
"""Seconds for which the last server of a run tells that the last round is held."""

PATIENCE = 30.0
"""Seconds without a majority after which a server says what it waits for."""


class Displaced(Exception):
    """Another host is the server: what this one was at is not acknowledged."""


class Host:
    """The server's process, or a backup's.

    Args:
        experiment: the same everywhere.
        me: this process's id; a backup's is above all peers'.
        program: what the server runs, too.
        run_dir: a backup keeps all in ``run_dir/backup-<id>``.
        log: gets a line for everything that a user may want to know.
        options: as of :class:`~peer.runtime.process.PeerProcess`.
        stop: asks it to stop.

    Attributes:
        status: what the live table shows.
        process: the server's, while this host is elected.

    Raises:
        UserError: there is no such process, or its keys or addresses are not right.
    """

    def __init__(
        self,
        experiment: Experiment,
        me: int,
        program: Program,
        run_dir: Path,
        log: Log,
        options: Options,
        stop: Stop,
    ) -> None:
        assert program.server is not None
        self.experiment = experiment
        self.me = me
        self.server = program.server
        self.program = program
        self.run_dir = run_dir if me == self.server else run_dir / f"backup-{me}"
        self.folder = self.run_dir / f"peer-{self.server}"
        self.log = log
        self.options = options
        self.stop = stop
        self.process: PeerProcess | None = None
        self._idle = Shown()
        self._news: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._acknowledged = threading.Condition()
        self._newest = (0, -1)  # acknowledged: term, round
        self._term = 0  # in which this host is the server
        others = listed_contacts(experiment, [me, *may_ask(experiment, self.server, me)])
        security = security_of(experiment, me, keys_folder(options.keys), others)
        self.thread = ElectionThread(
            me, experiment, self.server, self.run_dir / "election", security, log, self._told
        )
        self._go_on_from_checkpoint()
        # What would be refused is refused now; and what is loaded once is loaded quickly later.
        load_peer(experiment, self.server, program)

    def _go_on_from_checkpoint(self) -> None:
        """What a run without backups has left is as good as what a round of theirs would have."""
        disk = self.thread.disk
        if not disk.content and not any(disk.held):
            found = newest_checkpoint(self.folder, self.options.resume_at, self.log)
            if found is not None:
                disk.save_state(disk.held._replace(round=found.round), found.path.read_bytes())
                self.thread.election.held = disk.held

    @property
    def status(self) -> Shown:
        """Of the server's process, or of one that stands by."""
        self._idle.round = self.thread.disk.held.round
        return self._idle if self.process is None else self.process.status

    @property
    def saved(self) -> int | None:
        """The round of the newest state on this host's disk."""
        return self.thread.disk.held.round if self.thread.disk.content else None

    # --- the election's thread --------------------------------------------------------------------

    def _told(self, event: Event) -> None:
        with self._acknowledged:
            match event:
                case Acknowledged(position):
                    self._newest = max(self._newest, (position.term, position.round))
                case Deposed(term):
                    self.log(f"term {term}: it is over; this process stands by")
                    self._term = 0
                    if self.process is not None:
                        self.process.stop.ask("another host is to be the server")
                case Promoted():
                    self._news.put(event)
                case Seat() if event.session and event.host != self.me:
                    where = self.experiment.address(event.host)
                    self.log(f"term {event.term}: the server is at {where}")
            self._acknowledged.notify_all()

    # --- the host ---------------------------------------------------------------------------------

    def run(self) -> Ending:
        """Stand by, and be the server when elected, until the run is over or asked to stop."""
        self.thread.start()
        try:
            while not self.stop.asked.is_set():
                try:
                    event = self._news.get(timeout=0.1)
                except queue.Empty:
                    if self._is_over():
                        return Ending(True, self.program.rounds, self.saved)
                    continue
                if isinstance(event, Promoted):
                    ending = self._be_the_server(event.term)
                    if ending is not None:
                        return ending
            return Ending(False, self.thread.disk.held.round, self.saved)
        finally:
            self.thread.end()

    def _is_over(self) -> bool:
        """Whether the last round is held here, and known to be."""
        rounds = self.program.rounds
        return (
            not self._term and min(self.thread.known.round, self.thread.disk.held.round) >= rounds
        )

    def _be_the_server(self, term: int) -> Ending | None:
        """Run the program from the newest state; None where another host took over."""
        held, content = self.thread.disk.held, self.thread.disk.content
        self.log(f"term {term}: elected; the server goes on here after round {held.round}")
        with self._acknowledged:
            self._term = term
        try:
            self._acknowledge(term, held.round, content)  # under this term, before any round begins
            if self.stop.asked.is_set():
                return None
            if content:
                write_whole(checkpoint_path(self.folder, held.round), content)
            ending = self._run_process(term, held.round if content else None)
        except Displaced:
            return None
        finally:
            self.process = None
        if ending.completed:
            time.sleep(FAREWELL)  # backups and workers hear that the last round is held
        return ending if ending.completed or self.stop.asked.is_set() else None

    def _run_process(self, term: int, at: int | None) -> Ending:
        options = replace(
            self.options,
            resume=at is not None,
            resume_at=at,
            host=self.me,
            acknowledge=lambda round, content: self._acknowledge(term, round, content),
        )
        own = Stop()
        process = PeerProcess(
            self.experiment, self.server, self.program, self.run_dir, self.log, options, own
        )
        if term > 1:
            process.peer.note(term=term)  # in the record of its first round
        with self._acknowledged:
            self.process = process
            if self._term != term:
                process.stop.ask("another host is to be the server")
        watch = threading.Thread(target=self._relay, args=(process,), daemon=True)
        watch.start()
        self.thread.seated(process.session)
        try:
            return process.run()
        finally:
            process.finished.set()

    def _relay(self, process: PeerProcess) -> None:
        """Who asks this process to stop asks the server's."""
        while not process.finished.wait(0.1):
            if self.stop.asked.is_set():
                process.stop.ask(self.stop.why)
                return

    def _acknowledge(self, term: int, round: int, content: bytes) -> None:
        """Return when the state after ``round`` cannot be lost any more, or when asked to stop.

        Raises:
            Displaced: another host is to be the server.
        """
        disk = self.thread.disk
        disk.save_state(disk.held.__class__(term, round), content)
        self.thread.propose(term, round, content)
        told_at = time.monotonic() + PATIENCE
        with self._acknowledged:
            while self._newest < (term, round):
                if self._term != term:
                    raise Displaced
                if self.stop.asked.is_set():
                    return
                if time.monotonic() >= told_at:
                    told_at = float("inf")
                    self.log(
                        f"round {round}: waiting until {self.thread.electorate.majority} of the "
                        f"{len(self.thread.electorate.voters)} workers and backups know of it"
                    )
                self._acknowledged.wait(0.1)

    # --- for whoever started it -------------------------------------------------------------------

    def listen_to_parent(self) -> None:
        """As :meth:`peer.runtime.process.PeerProcess.listen_to_parent`."""

        def listen() -> None:
            with os.fdopen(os.dup(0), encoding="utf-8", errors="replace") as orders:
                for order in orders:
                    process = self.process
                    match order.split():
                        case ["promise"]:
                            promise = 0 if process is None else process.course.promise()
                            self.log(json.dumps({"promise": promise}))
                        case ["stop", "after", round]:
                            if process is not None:
                                process.course.last(int(round))
                            else:
                                self.stop.ask("all stop")
            self.stop.ask("whoever started this process is gone")

        threading.Thread(target=listen, name="parent", daemon=True).start()


def is_host(experiment: Experiment, program: Program, process: int) -> bool:
    """Whether that id is a host's; where there are hosts, refuses ids that are nobody's.

    Raises:
        UserError: there is no such process.
    """
    if not experiment.backups or program.server is None:
        return False
    last = experiment.peers + experiment.backups - 1
    if not 0 <= process <= last:
        raise UserError(
            f"--id {process}: the experiment has peers 0 to {experiment.peers - 1} and backups up "
            f"to {last}; choose one"
        )
    return process in experiment.hosts(program.server)

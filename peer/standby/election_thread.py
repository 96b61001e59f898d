"""The election's thread: moves bytes between sockets, the disk and the election; decides nothing.

It has sockets of its own, beside those by which peers swap values, so that neither waits for the
other. Hosts dial everybody; a worker dials nobody, and answers by the connection it was asked by.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import zmq

from peer.experiment import Experiment
from peer.net.header.seal import WireError
from peer.net.reach.dialler import Dialler
from peer.net.sockets import Security, Sockets
from peer.standby.election.election import Election
from peer.standby.election.electorate import Electorate, Timing
from peer.standby.election.events import Acknowledged, Deposed, Event, Promoted, Seat, Store
from peer.standby.election.messages import Message, Position
from peer.standby.store import Store as Disk
from peer.standby.wire import Envelope, decode, encode

TICK = 0.05
"""Seconds between two looks at the time."""

AT_ONCE = 64
"""Messages that are received in one turn, at most."""

REDIAL = 4.0
"""Seconds of silence after which a connection is made anew: a refused one does not mend itself."""

Log = Callable[[str], None]


class ElectionThread(threading.Thread):
    """One process's part in the elections of a run's server.

    Args:
        me: the process's id.
        experiment: the same everywhere.
        server: the peer that plays the server.
        folder: what must not be forgotten is kept there.
        security: keys; None for plain text.
        log: gets a line for everything that a user may want to know.
        tell: is called, by this thread, with every event but what is to be stored.
        timing: the election's times.

    Raises:
        UserError: the address is in use, or what is in the folder cannot be read.
    """

    def __init__(
        self,
        me: int,
        experiment: Experiment,
        server: int,
        folder: Path,
        security: Security | None,
        log: Log,
        tell: Callable[[Event], None],
        timing: Timing | None = None,
    ) -> None:
        super().__init__(name="election", daemon=True)
        self.disk = Disk(folder, log)
        self.log = log
        self.tell = tell
        hosts = experiment.hosts(server)
        workers = tuple(k for k in range(experiment.peers) if k != server)
        self.electorate = Electorate(hosts, workers)
        others = [k for k in (*workers, *hosts) if k != me] if me in hosts else []
        listen = experiment.election_address(me, to_listen=True)
        addresses = {k: experiment.election_address(k) for k in others}
        self.sockets = Sockets(listen, addresses, security)
        try:
            self.sockets.prove_that_strangers_are_refused()
        except BaseException:
            self.sockets.close(0)
            raise
        self.election = Election(
            me,
            self.electorate,
            self.disk.ballot,
            self.disk.held,
            np.random.default_rng().random,  # no result depends on it
            timing or Timing(),
            time.monotonic(),
        )
        self.seat: Seat | None = None
        self._me = me
        self._run = _name_of(experiment)
        self._dialler = Dialler(self.sockets, log, self.wake)
        self._asked_by: dict[int, bytes] = {}  # connections of hosts that ask us, whom we answer
        self._outboxes: dict[int, deque[tuple[bytes, memoryview | None]]] = {
            k: deque(maxlen=64)
            for k in others  # what is lost is said again
        }
        self._heard_at = dict.fromkeys(others, time.monotonic())
        self._commands: queue.SimpleQueue[Callable[[float], None]] = queue.SimpleQueue()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._ends = threading.Event()
        self._disk_fails = False

    # --- called by other threads ------------------------------------------------------------------

    def propose(self, term: int, round: int, content: bytes) -> None:
        """The state after ``round``, which is on our disk, is to be acknowledged."""

        def propose(now: float) -> None:
            if self.election.leads and self.election.ballot.term == term:
                self.election.propose(round, content, now)

        self._do(propose)

    def seated(self, session: int) -> None:
        """Our process that is the server has that session."""
        self._do(lambda now: self.election.beat(session, now))

    def wake(self) -> None:
        """There is a command."""
        with contextlib.suppress(OSError):  # it is awake enough, or gone
            self._wake_out.send(b"!")

    def end(self) -> None:
        """End the thread."""
        self._ends.set()
        self.wake()
        if self.is_alive():
            self.join()
        else:
            self._close()

    @property
    def known(self) -> Position:
        """The newest round of which this process knows that it is held."""
        return self.election.ballot.known

    def _do(self, command: Callable[[float], None]) -> None:
        self._commands.put(command)
        self.wake()

    # --- the thread -------------------------------------------------------------------------------

    def run(self) -> None:
        """Poll until told to end."""
        try:
            self._loop()
        except Exception as problem:
            self.log(f"election: {type(problem).__name__}: {problem}")
            self.tell(Deposed(self.election.ballot.term))
        finally:
            self._close()

    def _close(self) -> None:
        self._dialler.close()
        self.sockets.close(0.2)
        self._wake_in.close()
        self._wake_out.close()

    def _loop(self) -> None:
        poller = zmq.Poller()
        for each in (self.sockets.router, self.sockets.accepted, self._wake_in):
            poller.register(each, zmq.POLLIN)
        self._dialler.start()
        ticked = 0.0
        while not self._ends.is_set():
            poller.poll(int(1000 * TICK))
            now = time.monotonic()
            self._receive(now)  # before time passes: after a standstill, what came counts
            self._obey(now)
            if now - ticked >= TICK:
                ticked = now
                self.sockets.limit_strangers()
                self.sockets.watch()
                self._redial(now)
                self._dialler.look(now)
                self.election.tick(now)
            self._pass_on()

    def _receive(self, now: float) -> None:
        for _ in range(AT_ONCE):
            arrival = self.sockets.arrival()
            if arrival is None:
                break
            with contextlib.suppress(WireError):
                found = decode(arrival.header, self.sockets.body())
                if arrival.authenticated in (None, found.sender) and self._is_ours(found):
                    self._asked_by[found.sender] = arrival.connection
                    self._take(found, now)
        for process, header in self.sockets.answers():
            with contextlib.suppress(WireError):
                found = decode(header, None)
                if found.sender == process and self._is_ours(found):
                    self._take(found, now)

    def _is_ours(self, found: Envelope) -> bool:
        known = (*self.electorate.workers, *self.electorate.hosts)
        return found.run == self._run and found.sender in known and found.sender != self._me

    def _take(self, found: Envelope, now: float) -> None:
        self._heard_at[found.sender] = now
        self.election.receive(found.sender, found.message, now)
        self._pass_on()

    def _obey(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_in.recv(4096)
        while not self._commands.empty():
            self._commands.get()(now)

    def _redial(self, now: float) -> None:
        for k in self._outboxes:
            if now - self._heard_at[k] > REDIAL:
                self._heard_at[k] = now
                self._dialler.dial(k, now)

    # --- what the election says -------------------------------------------------------------------

    def _pass_on(self) -> None:
        """Events first, then the disk, then the outbox: the order in which nothing is promised
        that a crash could take back."""
        events, outbox = self.election.events, self.election.outbox
        while events:
            event = events.popleft()
            match event:
                case Store(position, content):
                    if self._is_saved(lambda: self.disk.save_state(position, content)):
                        self.election.stored(position)
                case Seat() | Promoted() | Deposed() | Acknowledged():
                    self.tell(event)
        if not self._is_saved(lambda: self.disk.save_ballot(self.election.ballot)):
            outbox.clear()
        while outbox:
            self._send(*outbox.popleft())
        for process, waiting in self._outboxes.items():
            self.sockets.send(process, waiting)

    def _is_saved(self, save: Callable[[], None]) -> bool:
        try:
            save()
        except OSError as problem:
            if not self._disk_fails:
                self.log(f"election: nothing can be kept ({problem.strerror}); tried again")
            self._disk_fails = True
            return False
        self._disk_fails = False
        return True

    def _send(self, to: int, message: Message) -> None:
        header, piece = encode(self._run, self._me, message)
        if to in self._outboxes:
            self._outboxes[to].append((header, piece))
        elif to in self._asked_by and piece is None:
            self.sockets.answer(self._asked_by[to], header)


def may_ask(experiment: Experiment, server: int, me: int) -> Collection[int]:
    """The processes whose keys let them in: everybody's for a host, the hosts' for a worker."""
    hosts = experiment.hosts(server)
    everybody = {*range(experiment.peers), *hosts} if me in hosts else set(hosts)
    return sorted(everybody - {me})


def _name_of(experiment: Experiment) -> str:
    """A digest of the experiment: elections of other runs are none of ours."""
    said = json.dumps(experiment.fingerprint(), sort_keys=True).encode()
    return hashlib.blake2b(said, digest_size=8).hexdigest()

"""The I/O thread: moves bytes between sockets and the endpoint, and decides nothing.

It answers PINGs while a long local step runs. Which thread may touch what:

==================================  ================  ==================
what                                compute thread    I/O thread
==================================  ================  ==================
sockets, endpoint, links            never             always
``commands``                        puts              takes
``results``, ``released``,          takes             puts
``resolved``
a send buffer's memory              writes            reads what is there
``status.round, .losses, .score``   writes            never
``furthest``, ``members``           reads             writes
``status``, the other fields        reads             writes
``received``, ``flood.known``       reads             writes
``sockets.cut``                     writes            reads
==================================  ================  ==================
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import zmq

from peer.data.agreement import Agreed, Waiting, in_words
from peer.effects import Moment
from peer.net.admission import Answer, Note
from peer.net.commands import (
    Admit,
    Begin,
    Command,
    Expect,
    Finish,
    GoOn,
    Hurry,
    Invite,
    Part,
    Propose,
    Recorded,
    Release,
    Reseat,
    TakeKeys,
    TurnAway,
    Wish,
)
from peer.net.endpoint import Endpoint
from peer.net.events import Arrived, Arriving, Failed, InPhase, Outcome, Redial, Resolved
from peer.net.header.seal import WireError
from peer.net.link import Link
from peer.net.members import roster
from peer.net.members.desk import Desk
from peer.net.members.roster import Known
from peer.net.reach.dialler import Dialler
from peer.net.reach.whom import diagnose
from peer.net.session import Phase, Reconnect
from peer.net.sockets import Sockets
from peer.net.status.flood import Flood
from peer.net.status.overheard import Overheard
from peer.net.status.shown import Shown
from peer.net.transfer.send_buffers import Released
from peer.net.waiting.isolation import Isolated
from topology.membership import Change, Kind

TICK = 0.05
"""Seconds between two looks at the time."""

STANDSTILL = 1.0
"""Seconds after which our own loop stood still (SIGSTOP, a starved machine)."""

AT_ONCE = 64
"""Messages that are received in one turn, at most."""

Log = Callable[[str], None]
Result = Arrived | Arriving | Outcome | Agreed | Exception


class IoThread(threading.Thread):
    """One peer's I/O thread.

    Args:
        sockets: made by the caller, used from now on by this thread alone.
        endpoint: likewise.
        log: gets one line for everything that a user may want to know.
        isolated: is told when no neighbour has been in touch for long, and why, by neighbour.
    """

    def __init__(
        self,
        sockets: Sockets,
        endpoint: Endpoint,
        log: Log,
        isolated: Callable[[Isolated, dict[int, str]], None] | None = None,
    ) -> None:
        super().__init__(name="io", daemon=True)
        self.sockets = sockets
        self.endpoint = endpoint
        self.log = log
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self.released: queue.SimpleQueue[Released] = queue.SimpleQueue()
        self.resolved: queue.SimpleQueue[Resolved] = queue.SimpleQueue()
        links = endpoint.links.items()
        self.status = Shown(phases={k: link.phase.value for k, link in links})
        self.received: Counter[int | None] = Counter()  # bytes by neighbour; None: of nobody's
        self.furthest = -1  # rounds that neighbours who went on without us have completed
        self.members = endpoint.roster.members  # what is known of who takes part
        self.flood = Flood(endpoint.roster, endpoint.links)  # what peers tell of themselves
        self.dialler = Dialler(sockets, log, self.wake)
        self.desk = Desk()
        self._isolated = isolated
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    # --- called by the compute thread -------------------------------------------------------------

    def begin(self, parts: Mapping[int, Part], in_pieces: bool = False) -> None:
        """Begin an exchange with the neighbours in ``parts``; what comes of it, by ``results``."""
        self._commands.put(Begin(parts, in_pieces))
        self.wake()

    def recorded(self, values: Iterable[tuple[int, Moment]]) -> None:
        """What these neighbours sent for these exchanges is on the disk."""
        self._commands.put(Recorded(tuple(values)))
        self.wake()

    def finish(self, round: int, patience: float, reason: str = "finished") -> None:
        """Send what is still owed, say that we leave and why, and end the thread."""
        self._commands.put(Finish(round, patience, reason))
        self.wake()
        self.join()

    def go_on(self, round: int) -> None:
        """We were left behind, and go on in that round."""
        self._commands.put(GoOn(round))
        self.wake()

    def reseat(self, reseat: Reseat) -> None:
        """Another process is that neighbour from now on."""
        self._commands.put(reseat)
        self.wake()

    def hurry(self, seconds: float) -> None:
        """We are to stop: let no exchange wait long any more."""
        self._commands.put(Hurry(seconds))
        self.wake()

    def propose(self, kind: Kind, peer: int, round: int, links: tuple[int, ...] = ()) -> Change:
        """After ``round`` rounds here: a peer joins, leaves or is gone; returns from when on.

        Raises:
            queue.Empty: this thread is about to end.
        """
        told: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self._commands.put(Propose(kind, peer, round, told.put, links))
        self.wake()
        return told.get(timeout=10)

    def wish(self, links: tuple[int, ...]) -> None:
        """Ask to take part; ``members`` will tell from which round on."""
        self._commands.put(Wish(links))
        self.wake()

    def admit(self, link: Link, address: str, key: bytes | None) -> None:
        """There is another neighbour, or it has another address or key."""
        self._commands.put(Admit(link, address, key))
        self.wake()

    def expect(self, neighbour: int, key: bytes) -> None:
        """That neighbour is going to have that public key."""
        self._commands.put(Expect(neighbour, key))
        self.wake()

    def take_keys(self, public: bytes, secret: bytes) -> None:
        """We have that pair of keys from now on."""
        self._commands.put(TakeKeys(public, secret))
        self.wake()

    def invite(self, keys: frozenset[bytes]) -> None:
        """The holders of these keys may ask at the desk, and no other guests."""
        self._commands.put(Invite(keys))
        self.wake()

    def turn_away(self, neighbour: int) -> None:
        """That neighbour is let in no more."""
        self._commands.put(TurnAway(neighbour))
        self.wake()

    def release(self, neighbour: int) -> None:
        """What is in doubt with that neighbour will never be known."""
        self._commands.put(Release(neighbour))
        self.wake()

    def wake(self) -> None:
        """There is a command, or more of what is being sent."""
        with contextlib.suppress(OSError):  # it is awake enough, or gone
            self._wake_out.send(b"!")

    # --- the thread -------------------------------------------------------------------------------

    def run(self) -> None:
        """Poll until told to finish."""
        linger = 0.0
        try:
            self._loop()
            linger = 1.0
        except Exception as problem:  # the compute thread must not wait for a thread that is gone
            self.results.put(problem)
            self.log(f"I/O thread: {type(problem).__name__}: {problem}")
        finally:
            self.dialler.close()
            self.sockets.close(linger)
            self._wake_in.close()
            self._wake_out.close()

    def _loop(self) -> None:
        poller = zmq.Poller()
        poller.register(self.sockets.router, zmq.POLLIN)
        poller.register(self.sockets.accepted, zmq.POLLIN)
        poller.register(self._wake_in, zmq.POLLIN)
        last = now = time.monotonic()
        self.dialler.start()
        while not self.endpoint.has_left(now):
            poller.poll(int(1000 * TICK))
            now = time.monotonic()
            if now - last > STANDSTILL:
                self.endpoint.skip_time(now - last)
            self.sockets.limit_strangers()
            self._receive(now)
            self._redial_those_of_new_keys()
            self._obey(now)
            if now - last >= TICK:
                last = now
                self.sockets.watch()
                self._mend(now)
                for neighbour, header in self.sockets.answers():
                    self.endpoint.receive_answer(neighbour, header, now)
                self.dialler.look(now)
                self.endpoint.tick(now)
                self.flood.look(now)
            self._pass_on(now)
            for connection, answer in self.desk.answers():
                self.sockets.answer(connection, answer)
            self.furthest = self.endpoint.furthest(now)
            for neighbour, outbox in self.endpoint.outboxes:
                self.sockets.send(neighbour, outbox)
            self.status.bytes_in = self.sockets.bytes_in
            self.status.bytes_out = self.sockets.bytes_out

    def _receive(self, now: float) -> None:
        """Take what has arrived, a bounded amount of it."""
        for _ in range(AT_ONCE):
            arrival = self.sockets.arrival()
            if arrival is None:
                return
            header, body = arrival.header, None
            try:
                body = self.sockets.body()
            except WireError:
                header = b""  # it is none of our messages
            k = self.endpoint.admission.neighbour_at(arrival.connection)
            self.received[k] += len(header) + (0 if body is None else len(body))
            came_by = arrival.connection, arrival.authenticated
            if k in self.sockets.cut or self.desk.takes(*came_by, header):
                continue
            if not self.endpoint.receive(*came_by, header, body, now):
                self.sockets.hang_up_on_sender()

    def _mend(self, now: float) -> None:
        """Go on by connections that broke and are there again; make those anew that are not."""
        contacts, links = self.sockets.contacts, self.endpoint.links
        for neighbour in contacts.remade & links.keys():
            links[neighbour].connected_anew(now)
        contacts.remade.clear()
        for neighbour in contacts.given_up(now):
            if neighbour in links:
                links[neighbour].events.append(Reconnect())

    def _redial_those_of_new_keys(self) -> None:
        """Whoever has come by a new key is dialled by it: it holds the old one no more."""
        while self.sockets.renewed:
            neighbour = self.sockets.renewed.pop()
            self.log(f"peer {neighbour} has a new key; its old one opens nothing here any more")
            self.endpoint.links[neighbour].events.append(Reconnect())

    def _obey(self, now: float) -> None:
        """What the compute thread asked for."""
        try:
            self._wake_in.recv(4096)
        except BlockingIOError:
            return
        self.endpoint.resume()
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            match command:
                case Begin():
                    self.endpoint.begin(command, now)
                case Finish(_, _, reason):
                    self.flood.leave(reason, now)
                    self.endpoint.finish(command, now)
                case Reseat(neighbour, _, address, key):
                    self.sockets.reseat(neighbour, key)
                    self.dialler.move(neighbour, address)
                    self.endpoint.reseat(command, now)
                case GoOn():
                    self.endpoint.go_on(command)
                case Recorded():
                    self.endpoint.recorded(command, now)
                case Hurry():
                    self.endpoint.hurry(command, now)
                case Propose():
                    self.endpoint.propose(command, now)
                case Wish(links):
                    self.endpoint.roster.wish(links, now)
                case Admit(link, address, key):
                    self.endpoint.admit(command, now)
                    self.sockets.admit(link.neighbour, address, key)
                    self.dialler.meet(link.neighbour, now)
                case Expect(neighbour, key):
                    self.sockets.keys.expect(neighbour, key)
                case Invite(keys):
                    self.sockets.keys.invite(keys)
                case TurnAway(neighbour):
                    self.sockets.keys.turn_away(neighbour)
                case TakeKeys(public, secret):
                    self.sockets.take_keys(public, secret)
                    for link in self.endpoint.links.values():
                        link.events.append(Reconnect())  # as who we are now
                case Release(neighbour):
                    self.endpoint.links[neighbour].commit.doubt = None  # it will never be known

    def _pass_on(self, now: float) -> None:
        """Hand on what the endpoint tells."""
        events = self.endpoint.events
        while events:
            match events.popleft():
                case Arrived() | Arriving() | Outcome() | Agreed() as result:
                    self.results.put(result)
                case Failed(problem):
                    self.results.put(problem)
                case Released() as released:
                    self.released.put(released)
                case Resolved() as resolved:
                    self.resolved.put(resolved)
                case Redial(neighbour):
                    self.dialler.dial(neighbour, now)
                case Answer(connection, header):
                    self.sockets.answer(connection, header)
                case Isolated() as isolated if self._isolated is not None:
                    tell = partial(self._isolated, isolated)
                    diagnose(self.endpoint.links, self.sockets, self.dialler, tell)
                case InPhase(neighbour, phase):
                    self.status.phases[neighbour] = phase.value
                    if phase is Phase.UP:
                        self.flood.connected(neighbour)
                case Overheard(neighbour, status, body):
                    self.flood.receive(neighbour, status, body, now)
                case Waiting(absent, seconds):
                    self.log(
                        f"classes: waiting for those of {in_words(absent)}, {seconds:.0f} s more"
                    )
                case Known(members, news):
                    self.members = members
                    for change in news:
                        self.log(roster.in_words(change))
                case Note(line):
                    self.log(line)

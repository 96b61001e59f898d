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
``furthest``                        reads             writes
``status``, the other fields        reads             writes
==================================  ================  ==================
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import zmq

from peer.data.agreement import Agreed, Waiting, in_words
from peer.net.admission import Answer, Note
from peer.net.commands import Begin, Finish, GoOn, Hurry, Part
from peer.net.endpoint import Endpoint
from peer.net.events import Arriving, Failed, InPhase, Outcome, Redial, Resolved
from peer.net.reach.diagnosis import why_not_reached
from peer.net.reach.dialler import Dialler
from peer.net.session import FINAL, Phase
from peer.net.sockets import Sockets
from peer.net.transfer.send_buffers import Released
from peer.net.waiting.isolation import Isolated
from peer.net.wire import WireError

TICK = 0.05
"""Seconds between two looks at the time."""

STANDSTILL = 1.0
"""Seconds after which our own loop stood still (SIGSTOP, a starved machine)."""

AT_ONCE = 64
"""Messages that are received in one turn, at most."""

_FINAL_WORDS = {
    Phase.REFUSED: "it runs another experiment; give every peer the same file",
    Phase.QUARANTINED: "it sent values that cannot be used, again and again",
}

Log = Callable[[str], None]


@dataclass
class Status:
    """What the live table shows."""

    round: int = 0
    phases: dict[int, str] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    score: dict[str, Any] = field(default_factory=dict)  # the newest, as in quality.jsonl
    bytes_in: int = 0
    bytes_out: int = 0


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
        self.results: queue.SimpleQueue[Arriving | Outcome | Agreed | Exception] = (
            queue.SimpleQueue()
        )
        self.released: queue.SimpleQueue[Released] = queue.SimpleQueue()
        self.resolved: queue.SimpleQueue[Resolved] = queue.SimpleQueue()
        links = endpoint.links.items()
        self.status = Status(phases={k: link.phase.value for k, link in links})
        self.furthest = -1  # rounds that neighbours who went on without us have completed
        self.dialler = Dialler(sockets, log, self.wake)
        self._isolated = isolated
        self._commands: queue.SimpleQueue[Begin | Finish | GoOn | Hurry] = queue.SimpleQueue()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    # --- called by the compute thread -------------------------------------------------------------

    def begin(self, parts: Mapping[int, Part], in_pieces: bool = False) -> None:
        """Begin an exchange with the neighbours in ``parts``; what comes of it, by ``results``."""
        self._commands.put(Begin(parts, in_pieces))
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

    def hurry(self, seconds: float) -> None:
        """We are to stop: let no exchange wait long any more."""
        self._commands.put(Hurry(seconds))
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
            self._obey(now)
            if now - last >= TICK:
                last = now
                self.sockets.watch()
                for neighbour, header in self.sockets.answers():
                    self.endpoint.receive_answer(neighbour, header, now)
                self.dialler.look(now)
                self.endpoint.tick(now)
            self._pass_on(now)
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
            self.endpoint.receive(arrival.connection, arrival.authenticated, header, body, now)

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
                case Finish():
                    self.endpoint.finish(command, now)
                case GoOn():
                    self.endpoint.go_on(command)
                case Hurry():
                    self.endpoint.hurry(command, now)

    def _pass_on(self, now: float) -> None:
        """Hand on what the endpoint tells."""
        events = self.endpoint.events
        while events:
            match events.popleft():
                case Arriving() | Outcome() | Agreed() as result:
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
                    self._diagnose(isolated, self._isolated)
                case InPhase(neighbour, phase):
                    self.status.phases[neighbour] = phase.value
                case Waiting(absent, seconds):
                    self.log(
                        f"classes: waiting for those of {in_words(absent)}, {seconds:.0f} s more"
                    )
                case Note(line):
                    self.log(line)

    def _diagnose(
        self, isolated: Isolated, tell: Callable[[Isolated, dict[int, str]], None]
    ) -> None:
        """Find out why each neighbour is not reached, and tell; this thread goes on meanwhile."""
        refused = {
            k: _FINAL_WORDS[link.phase]
            for k, link in self.endpoint.links.items()
            if link.phase in FINAL
        }
        contacts = dict(self.sockets.contacts)
        unknown = dict(self.dialler.unknown)
        slow = {k for k in contacts if self.dialler.is_slow(k)}

        def diagnose() -> None:
            reasons = {}
            for k, address in self.sockets.addresses.items():
                why = refused.get(k) or why_not_reached(
                    address, contacts[k], unknown.get(k, ""), k in slow
                )
                reasons[k] = why
            tell(isolated, reasons)

        threading.Thread(target=diagnose, name="diagnosis", daemon=True).start()

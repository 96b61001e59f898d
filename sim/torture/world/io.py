"""A simulated I/O thread: as the real one (:mod:`peer.net.io_thread`), on a simulated network."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from peer.effects import Moment
from peer.net.admission import Answer, Note
from peer.net.commands import Begin, Finish, GoOn, Hurry, Part, Recorded
from peer.net.endpoint import Endpoint
from peer.net.events import Arrived, Arriving, Failed, Outcome, Redial, Resolved
from peer.net.transfer.send_buffers import Released
from sim.torture.chaos.scenario import Fault
from sim.torture.world.agenda import Agenda
from sim.torture.world.clock import Clock
from sim.torture.world.compute_thread import ComputeThread, Killed
from sim.torture.world.network import Network

TICK = 0.2
"""Seconds between two looks at the time."""

STANDSTILL = 1.0
"""Seconds after which our own loop stood still."""


class Results:
    """What the compute thread waits for; waiting hands control to the scheduler."""

    def __init__(self, io: SimulatedIo) -> None:
        self._io = io
        self._items: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Any) -> None:
        """For the I/O thread."""
        self._items.append(item)

    def get(self, timeout: float) -> Any:
        """For the compute thread; virtual time passes.

        Nobody asks a simulated peer to stop, so that there is no need to look for it in between.
        """
        if not self._items:
            self._io.wait(float("inf"), lambda: bool(self._items))
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """What is there already, for the compute thread.

        Raises:
            queue.Empty: nothing is.
        """
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


class SimulatedIo:
    """What :class:`peer.net.zmq_driver.ZmqDriver` takes for its I/O thread.

    Args:
        agenda: the time.
        clock: what the peer takes it for.
        network: carries the endpoint's messages.
        peer: whose it is.
        endpoint: its end of all links.
        log: gets the lines that a user would read.
        jitter: how long a compute thread that may go on takes to do so.

    Attributes:
        thread: the compute thread; set before anything happens.
        is_frozen: the process stands still (SIGSTOP).
        has_left: the endpoint has said farewell; nothing happens any more.
    """

    def __init__(
        self,
        agenda: Agenda,
        clock: Clock,
        network: Network,
        peer: int,
        endpoint: Endpoint,
        log: Callable[[str], None],
        jitter: Callable[[], float],
    ) -> None:
        self.agenda, self.clock, self.network = agenda, clock, network
        self.peer, self.endpoint = peer, endpoint
        self.log = log
        self.results = Results(self)
        self.released: queue.SimpleQueue[Released] = queue.SimpleQueue()
        self.resolved: queue.SimpleQueue[Resolved] = queue.SimpleQueue()
        self.members = endpoint.roster.members
        self.thread: ComputeThread | None = None
        self.is_frozen = False
        self.has_left = False
        self._jitter = jitter
        self._commands: deque[Begin | Finish | GoOn | Hurry | Recorded] = deque()
        self._awake = False  # a turn is due
        self._may_go_on: Callable[[], bool] | None = None  # what the compute thread waits for
        self._going_on = False  # it is due to go on
        self._last_tick = clock.now
        self._remade: set[int] = set()  # neighbours to whom a connection is there again

    # --- called by the compute thread -------------------------------------------------------------

    def start(self) -> None:
        """Begin to tick."""
        self._tick()

    @property
    def furthest(self) -> int:
        """Rounds that neighbours who went on without us have completed; -1 where nobody did."""
        return self.endpoint.furthest(self.clock.now)

    def begin(self, parts: Mapping[int, Part], in_pieces: bool = False) -> None:
        """Begin an exchange."""
        self._command(Begin(parts, in_pieces))

    def go_on(self, round: int) -> None:
        """We were left behind, and go on in that round."""
        self._command(GoOn(round))

    def hurry(self, seconds: float) -> None:
        """Let no exchange wait long any more."""
        self._command(Hurry(seconds))

    def finish(self, round: int, patience: float, reason: str = "finished") -> None:
        """Take leave, and wait until that is said."""
        assert self.thread is not None
        if self.thread.is_killed:
            return
        self._command(Finish(round, patience, reason))
        self.wait(float("inf"), lambda: self.has_left)

    def wake(self) -> None:
        """There is a command, or more of what is being sent."""
        if not self._awake:
            self._awake = True
            self.agenda.at(self.agenda.now, self._woken)

    def recorded(self, values: Iterable[tuple[int, Moment]]) -> None:
        """What neighbours sent is on the disk."""
        self._command(Recorded(tuple(values)))

    def _command(self, command: Begin | Finish | GoOn | Hurry | Recorded) -> None:
        self._commands.append(command)
        self.wake()

    def wait(self, seconds: float, until: Callable[[], bool]) -> bool:
        """Pause the compute thread until it holds; returns whether the time was over first."""
        assert self.thread is not None
        end = self.agenda.now + seconds
        self._may_go_on = lambda: until() or self.agenda.now >= end
        if seconds < float("inf"):
            self.agenda.at(end, self._let_go_on)
        self.thread.pause()
        return not until()

    def reach(self, point: str) -> None:
        """The compute thread has come there.

        Raises:
            Killed: the process ends there.
        """
        fault = self.network.failpoints.take(self.peer, point)
        if fault is not None:
            self.die(fault)

    def die(self, fault: Fault) -> NoReturn:
        """The process ends, by that fault.

        Raises:
            Killed: always.
        """
        assert self.thread is not None
        self.thread.is_killed = True
        self.agenda.at(self.agenda.now, lambda: self.network.failpoints.crash(fault))
        raise Killed

    def let_pass(self, seconds: float) -> None:
        """Let so much virtual time pass."""
        if seconds > 0:
            self.wait(seconds, lambda: False)

    # --- called by the scheduler ------------------------------------------------------------------

    @property
    def is_gone(self) -> bool:
        """Whether the process is no more."""
        return self.has_left or (self.thread is not None and self.thread.is_killed)

    def thaw(self) -> None:
        """Go on after a standstill."""
        self.is_frozen = False
        self._look()
        for neighbour in sorted(self._remade):
            self.connected_anew(neighbour)
        self._remade.clear()
        self.network.take_again(self.peer)
        self.turn()

    def _look(self) -> float:
        """Look at the clock: if much time has passed, it is not held against the neighbours."""
        now = self.clock.now
        if now - self._last_tick > STANDSTILL:
            self.endpoint.skip_time(now - self._last_tick)
            self._last_tick = now
        return now

    def arrive(self, connection: bytes, header: bytes, body: memoryview | None) -> bool:
        """A message has come."""
        if self.is_frozen:
            return False
        if not self.endpoint.receive(connection, None, header, body, self._look()):
            self.network.hang_up(self.peer, connection)
        failpoints = self.network.failpoints
        if failpoints.are_armed(self.peer) and failpoints.strikes(self.peer, "got", header):
            return True
        self.turn()
        return True

    def connected_anew(self, neighbour: int) -> None:
        """A connection of ours broke, and is there again."""
        if self.is_frozen:
            self._remade.add(neighbour)
        elif not self.is_gone:
            self.endpoint.links[neighbour].connected_anew(self._look())
            self.turn()

    def _tick(self) -> None:
        if self.is_gone:
            return
        if not self.is_frozen:
            now = self._last_tick = self._look()
            self.endpoint.tick(now)
            self.turn()
        self.agenda.at(self.agenda.now + TICK, self._tick)

    def _woken(self) -> None:
        self._awake = False
        if not self.is_gone and not self.is_frozen:
            self.endpoint.resume()
            self.turn()

    def turn(self) -> None:
        """Obey commands, pass on events, send: one turn of the real thread's loop."""
        now, endpoint = self._look(), self.endpoint
        while self._commands:
            match self._commands.popleft():
                case Begin() as begin:
                    endpoint.begin(begin, now)
                case Finish() as finish:
                    endpoint.finish(finish, now)
                case GoOn() as go_on:
                    endpoint.go_on(go_on)
                case Recorded() as recorded:
                    endpoint.recorded(recorded, now)
                case Hurry() as hurry:
                    endpoint.hurry(hurry, now)
        self._pass_on()
        for neighbour, outbox in endpoint.outboxes:
            self.network.send(self.peer, neighbour, outbox)
        self.has_left = endpoint.has_left(now)
        self._let_go_on()

    def _pass_on(self) -> None:
        events = self.endpoint.events
        while events:
            match events.popleft():
                case Arrived() | Arriving() | Outcome() as result:
                    self.results.put(result)
                case Failed(problem):
                    self.results.put(problem)
                case Released() as released:
                    self.released.put(released)
                case Resolved() as resolved:
                    self.resolved.put(resolved)
                case Redial(neighbour):
                    self.network.connect(self.peer, neighbour, is_dialled=True)
                case Answer():
                    pass  # nobody greets wrongly here
                case Note(line):
                    self.log(line)

    # --- the compute thread's turns ---------------------------------------------------------------

    def _let_go_on(self) -> None:
        """Where the compute thread may go on, it is about to."""
        if self._may_go_on is None or self._going_on or self.is_frozen:
            return
        if self._may_go_on():
            self._going_on = True
            self.agenda.at(self.agenda.now + self._jitter(), self._go_on_now)

    def _go_on_now(self) -> None:
        self._going_on = False
        assert self.thread is not None
        if self.is_frozen or self.thread.is_killed or self.thread.is_over:
            return
        self._may_go_on = None
        self.thread.resume()


class SimulatedStop:
    """In place of the event that asks a peer to stop: never set; waiting takes virtual time."""

    def __init__(self, io: SimulatedIo) -> None:
        self._io = io

    def is_set(self) -> bool:
        """Whether the peer is to stop."""
        return False

    def wait(self, seconds: float) -> bool:
        """Let so much virtual time pass."""
        self._io.let_pass(seconds)
        return False

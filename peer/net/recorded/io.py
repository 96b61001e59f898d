"""What the ZeroMQ driver takes for its I/O thread where the peer has a journal.

As long as the journal has something to tell again, exchanges end as they once did, and nothing is
sent: the neighbours have had it. Then the real I/O thread is started, and all that it tells is
written before it counts; nothing leaves the peer that depends on what is not on the disk.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from peer.effects import Moment
from peer.net.commands import Part
from peer.net.events import Arrived, Outcome, Resolved
from peer.net.io_thread import IoThread
from peer.net.status.shown import Shown
from peer.net.transfer.chunks import is_letter
from peer.net.transfer.receive_buffers import Held
from peer.net.transfer.send_buffers import Released
from peer.state import PeerState
from peer.state.journal.journal import Decided, Exchanged, Journal, Number, Value
from topology.membership import Membership


class RecordedIo:
    """An I/O thread with a journal; for the compute thread alone.

    Args:
        io: the I/O thread, not started yet.
        journal: of the peer.
        state: likewise.

    Attributes:
        results: what comes of exchanges.
        resolved: what was in doubt and is known.
    """

    def __init__(self, io: IoThread, journal: Journal, state: PeerState) -> None:
        self.io = io
        self.journal = journal
        self.results = _Results(self)
        self.resolved = _Resolved(self)
        self._state = state
        self._parts: Mapping[int, Part] = {}
        self._is_started = False

    @property
    def is_telling_again(self) -> bool:
        """Whether the journal has something left."""
        return bool(self.journal.events)

    # --- what needs no journal --------------------------------------------------------------------

    @property
    def released(self) -> queue.SimpleQueue[Released]:
        """Whose send buffers may be used again."""
        return self.io.released

    @property
    def members(self) -> Membership:
        """What is known of who takes part: with a journal, nothing changes that."""
        return self.io.members

    @property
    def status(self) -> Shown:
        """What the live table shows."""
        return self.io.status

    def log(self, line: str) -> None:
        """Tell the user."""
        self.io.log(line)

    def wake(self) -> None:
        """There is more of what is being sent."""
        self.io.wake()

    def hurry(self, seconds: float) -> None:
        """Let no exchange wait long any more."""
        self.io.hurry(seconds)

    # --- before anything leaves -------------------------------------------------------------------

    def start(self) -> None:
        """Begin; the network is not needed before all is told again."""
        if not self.is_telling_again:
            self._start()

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self.io.endpoint.start_at(self._state.round)
            self.io.start()

    def begin(self, parts: Mapping[int, Part], in_pieces: bool = False) -> None:
        """Begin an exchange, or begin again one that is over."""
        self._parts = parts
        if self.is_telling_again:
            for k, part in parts.items():
                if part.payload is not None:
                    self.released.put(Released(k, part.t, in_flight=False))
            return
        self.journal.sync()
        self._start()
        self.io.begin({k: replace(part, held=self._held(k, part.t)) for k, part in parts.items()})

    def _held(self, neighbour: int, t: Moment) -> Held | None:
        value = self.journal.held(neighbour, t)
        return None if value is None else Held(value.name, value.content, value.session)

    def go_on(self, round: int) -> None:
        """We were left behind, and go on in that round."""
        self.journal.add(Number("skip", round))
        self._start()
        self.io.go_on(round)

    def finish(self, round: int, patience: float, reason: str = "finished") -> None:
        """Send what is still owed, say that we leave and why, and end the thread."""
        self._start()
        self.io.finish(round, patience, reason)

    # --- what is told -----------------------------------------------------------------------------

    @property
    def furthest(self) -> int:
        """Rounds that neighbours who went on without us have completed; -1 where nobody did."""
        return self.io.furthest

    def clock(self, clock: Callable[[], float]) -> Callable[[], float]:
        """A clock that tells again what it told, then what ``clock`` tells."""

        def tell() -> float:
            if self.is_telling_again:
                return self.journal.tell_again(Number).value
            now = clock()
            self.journal.add(Number("time", now))
            return now

        return tell

    def decided_again(self) -> Decided | None:
        """What was in doubt and became known here, if anything."""
        events = self.journal.events
        is_next = bool(events) and isinstance(events[0], Decided)
        return self.journal.tell_again(Decided) if is_next else None

    def decided(self, told: Resolved) -> None:
        """What was in doubt becomes known now."""
        self.journal.add(Decided(told.neighbour, told.t, told.is_used))

    # --- exchanges --------------------------------------------------------------------------------

    def outcome_again(self) -> Outcome | None:
        """What came of the exchange that was begun, as the journal tells it; None: nothing yet."""
        if not self.is_telling_again:
            return None
        told = self.journal.tell_again(Exchanged)
        used = self.journal.values_of(told.used)
        in_doubt = self.journal.values_of(told.in_doubt)
        return Outcome(
            {k: value.content for k, value in used.items()},
            set(told.missing),
            {k: value.content for k, value in in_doubt.items()},
            set(told.unsure),
            {k: value.session for k, value in used.items()},
        )

    def write(self, arrived: list[Arrived]) -> None:
        """Write what has come, in one go, and say that it is there."""
        for each in arrived:
            what = each.what
            value = Value(what.net, what.sender, what.value, is_letter(what.net))
            self.journal.add_value(each.neighbour, what.t, value)
        self.journal.sync()
        self.io.recorded((each.neighbour, each.what.t) for each in arrived)

    def note(self, outcome: Outcome) -> None:
        """An exchange is over, and what is used of it will be asked for again."""
        moments = {k: part.t for k, part in self._parts.items()}
        for k, content in outcome.received.items():
            if self.journal.held(k, moments[k]) is None:  # nobody had to agree on it
                name = self._parts[k].net
                value = Value(name, outcome.senders[k], content, is_letter(name))
                self.journal.add_value(k, moments[k], value)
        used = {k: moments[k] for k in outcome.received}
        in_doubt = {k: moments[k] for k in outcome.in_doubt}
        unsure = {k: moments[k] for k in outcome.unsure}
        self.journal.add(Exchanged(used, frozenset(outcome.missing), in_doubt, unsure))


def with_journal(
    io: IoThread, journal: Journal | None, state: PeerState, clock: Callable[[], float]
) -> tuple[IoThread, Callable[[], float]]:
    """What a driver of the peer takes for its I/O thread and its clock."""
    if journal is None:
        return io, clock
    recorded = RecordedIo(io, journal, state)
    return cast(IoThread, recorded), recorded.clock(clock)


class _Results:
    """What comes of exchanges, once it is written."""

    def __init__(self, io: RecordedIo) -> None:
        self._io = io
        self._next: deque[Any] = deque()

    def put(self, item: Any) -> None:
        """In place of what the I/O thread tells."""
        self._io.io.results.put(item)

    def get(self, timeout: float) -> Any:
        """The next thing told.

        Raises:
            queue.Empty: nothing is, for so many seconds.
        """
        again = self._io.outcome_again()
        if again is not None:
            return again
        while True:
            item = self._next.popleft() if self._next else self._io.io.results.get(timeout=timeout)
            if isinstance(item, Outcome):
                self._io.note(item)
            if not isinstance(item, Arrived):
                return item
            self._write(item)

    def _write(self, first: Arrived) -> None:
        """Write what has come, with what came since."""
        arrived = [first]
        while not self._next:
            try:
                item = self._io.io.results.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, Arrived):
                arrived.append(item)
            else:
                self._next.append(item)
        self._io.write(arrived)


class _Resolved:
    """What was in doubt and is known, once it is written."""

    def __init__(self, io: RecordedIo) -> None:
        self._io = io
        self._again: Resolved | None = None

    def empty(self) -> bool:
        """Whether there is nothing of that."""
        if self._again is None and (told := self._io.decided_again()) is not None:
            self._again = Resolved(told.neighbour, told.t, told.is_used)
        return self._again is None and (self._io.is_telling_again or self._io.io.resolved.empty())

    def get(self) -> Resolved:
        """The next of it."""
        if self._again is not None:
            again, self._again = self._again, None
            return again
        told = self._io.io.resolved.get()
        self._io.decided(told)
        return told

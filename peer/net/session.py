"""A link's session: the handshake with one neighbour, and the phase it is in.

A session is one process of the neighbour's, known by a random number. Like all of a link, pure:
messages and the time go in, messages and events come out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from peer.data.agreement import Agreement, Statement, mark_of
from peer.effects import BEFORE_ALL, Moment, beginning_of
from peer.net.away.failure_detector import FailureDetector, Timing
from peer.net.transfer.checksum import Checksum
from peer.net.wire import Hello, Message, Ping, Pong, Probe, Reject, Rejoin, Welcome


class Phase(Enum):
    """How we stand with a neighbour."""

    UNKNOWN = "unknown"  # no handshake yet
    UP = "up"
    SUSPECT = "suspect"  # silent for some seconds
    DOWN = "down"  # silent for long; being reconnected
    LEFT = "left"  # finished, and said so
    REFUSED = "refused"  # it runs another experiment
    QUARANTINED = "quarantined"  # sent corrupt values again and again


NAMED = 16
"""Parts that a REJECT names, at most: more do not fit a header."""

MISMATCH = "mismatch"
"""Of a REJECT to a peer of another experiment; its parts are what differs."""

FINAL = (Phase.REFUSED, Phase.QUARANTINED)
"""Phases that only another process of the neighbour's, or of ours, can end."""


@dataclass(frozen=True)
class Identity:
    """What a peer says of itself in its HELLO.

    All of it stays as it is, but what ``data`` knows: HELLO is said again whenever that grows.
    """

    peer: int
    session: int  # random, one a process
    fingerprint: Mapping[str, str]
    signature: Mapping[str, str]
    data: Agreement | None = None  # of private images
    machine: Callable[[], str] = str  # its clock and its torch, as a word, to whoever probes

    def differing(self, hello: Hello | Probe) -> tuple[str, ...]:
        """The parts in which another peer's experiment, or data, differ from ours."""
        return (*self._differing_parts(hello), *(["data"] if self.data_differ(hello) else []))

    def data_differ(self, hello: Hello | Probe) -> str:
        """How private images of another peer do not fit ours, as the line that a user gets."""
        if self.data is None or not hello.data:
            return ""
        try:
            return self.data.objection(hello.peer, Statement.from_words(hello.data))
        except ValueError as problem:
            return f"data: peer {hello.peer} describes its images in another way: {problem}"

    def _differing_parts(self, hello: Hello | Probe) -> tuple[str, ...]:
        ours = {**self.fingerprint, **self.signature}
        theirs = hello.fingerprint | hello.signature
        parts = ours.keys() | theirs.keys()
        return tuple(sorted(part for part in parts if ours.get(part) != theirs.get(part)))


@dataclass(frozen=True)
class Changed:
    """The phase changed, and why."""

    phase: Phase
    reason: str


@dataclass(frozen=True)
class Reconnect:
    """The connection to the neighbour should be made anew."""


def remedy(parts: Sequence[str]) -> str:
    """What puts two experiments right that differ in these parts."""
    if "images" in parts:
        return "give every peer the same images, or say data.partition: own where each has its own"
    return "give every peer the same file"


@dataclass(frozen=True)
class Mismatch:
    """The neighbour runs another experiment; ``parts`` are what differs."""

    parts: tuple[str, ...]
    words: str = ""  # the line for the user, where parts alone do not say it
    is_late: bool = False  # it came after all that were there had agreed


class Claim(Enum):
    """What a HELLO's claim to be a certain neighbour is worth."""

    RIGHT = "right"  # it is that neighbour, perhaps started anew
    WRONG = "wrong"  # that neighbour is alive and well, and another process
    OPEN = "open"  # not known yet; who greets, greets again


class Session:
    """One end's view of the other: its phase, its process, whether it is alive.

    Args:
        me: this peer's identity.
        timing: the protocol's times.
        now: the time.
        say: queues a message for the neighbour.
        tell: queues an event for the endpoint.
        checksum: of values' pieces; what it is, HELLO decides.
        round: rounds that we had completed when this process began.

    Attributes:
        number: of the neighbour's session; None before its HELLO.
        at: our own moment: of the exchange at hand, or the last one.
        their_at: the neighbour's, as far as it told us.
        listens_in: the round in which the neighbour, left behind before, only takes values.
        are_apart: one of the two went on without the other, and they have swapped nothing since.
        done: the last exchange that is over for us; PINGs tell whether we still wait in one.
        is_watched: its progress has to be known at any time.
    """

    def __init__(
        self,
        me: Identity,
        timing: Timing,
        now: float,
        say: Callable[[Message], None],
        tell: Callable[[Changed | Reconnect | Mismatch], None],
        checksum: Checksum,
        round: int = 0,
    ) -> None:
        self.me = me
        self.timing = timing
        self.phase = Phase.UNKNOWN
        self.number: int | None = None
        self.at = beginning_of(round)
        self.their_at = BEFORE_ALL
        self.listens_in = -1
        self.are_apart = False
        self.done = BEFORE_ALL
        self.is_watched = False
        self.detector = FailureDetector(timing, now)
        self._say = say
        self._tell = tell
        self._checksum = checksum
        self._began = now
        self._welcomed = False  # it knows us
        self._hello_at = now
        self._hello_after = timing.hello
        self._told = self._heard = ""  # what our last HELLO told of our data; what was welcomed
        self._dialled_at = now
        self._question: tuple[float, int] | None = None  # to a neighbour whose id is claimed twice

    @property
    def reachable(self) -> bool:
        """Whether an exchange that begins now should wait for it."""
        return self.phase in (Phase.UP, Phase.UNKNOWN)

    def absent_for_good(self, now: float) -> str | None:
        """Why an exchange should go on without it by now; None where it should not."""
        if self.phase is Phase.UNKNOWN:
            if now - self._began >= self.timing.start_timeout:
                return f"it did not come in {self.timing.start_timeout:g} s"
            return None
        silent = self.detector.out_of_touch(now)  # deaf is as good as silent
        return f"silent for {silent:.0f} s" if silent >= self.timing.deadline else None

    def claim(self, session: int, now: float) -> Claim:
        """What to make of a HELLO of ``session``, perhaps by a second process of the same id.

        A neighbour that is up is asked whether it is there; if it answers, it keeps its place, and
        if it does not within :attr:`Timing.retry`, it was started anew.
        """
        if session == self.number or self.phase is not Phase.UP:
            self._question = None
            return Claim.RIGHT
        if self._question is None:
            self._question = now, self.detector.ping(now)
            self._say(Ping(self.at, self._question[1]))
            return Claim.OPEN
        asked_at, number = self._question
        if self.detector.answered >= number:
            return Claim.WRONG
        if now - asked_at < self.timing.retry:
            return Claim.OPEN
        self._question = None
        return Claim.RIGHT

    def change(self, phase: Phase, reason: str) -> None:
        """Enter a phase, and say so."""
        if phase is not self.phase:
            self.phase = phase
            self._tell(Changed(phase, reason))

    def skip_time(self, seconds: float) -> None:
        """Our own loop stood still for so long: the silence was not the neighbour's."""
        self._began += seconds
        self.detector.skip_time(seconds)

    # --- handshake --------------------------------------------------------------------------------

    def greet(self, now: float) -> None:
        """Say who we are, and what we know of everybody's data."""
        fingerprint, signature = dict(self.me.fingerprint), dict(self.me.signature)
        data = self.me.data.statement.to_words() if self.me.data is not None else {}
        self._told = self._mark
        round, checksums = max(0, self.at.round), self._checksum.known
        self._say(Hello(self.me.peer, fingerprint, signature, round, data, checksums))
        self._hello_at = now + self._hello_after
        self._hello_after = min(2 * self._hello_after, 1.0)

    def hello(self, session: int, hello: Hello, now: float) -> bool:
        """The neighbour says who it is; returns whether it was started anew."""
        new = session != self.number
        if self.phase in FINAL and not new:
            return False  # all has been said
        restarted = new and (self.number is not None or self.phase in FINAL)
        self.number, self._heard = session, "" if new else self._heard
        if new or not self._welcomed:
            self.greet(now)  # so that the first thing it hears from us is who we are
        differing = self.me.differing(hello)
        if differing:
            self._reject(session, differing, hello, now)
            return False
        self.detector.hear(now)
        self._checksum.agree(hello.checksums)
        if restarted:
            self.begin_anew("restarted", now)
        self.their_at = max(self.their_at, beginning_of(hello.round))
        self._say(Welcome(session, max(0, self.at.round), mark_of(hello.data)))
        if self.me.data is not None and hello.data:
            self.me.data.learn(Statement.from_words(hello.data))
        self._up_if_mutual()
        return restarted

    def begin_anew(self, reason: str, now: float) -> None:
        """The neighbour is another process from now on, which knows nothing of us."""
        self._welcomed = False
        self.detector.begin_anew(now)
        self._hello_after = self.timing.hello
        self._began = now
        self.their_at, self.listens_in = BEFORE_ALL, -1
        self.change(Phase.UNKNOWN, reason)

    def _reject(self, session: int, differing: tuple[str, ...], hello: Hello, now: float) -> None:
        """Do without the neighbour, and have it know why."""
        words, is_late = self.me.data_differ(hello), False
        if self.me.data is not None and differing == ("data",):
            with contextlib.suppress(ValueError):  # it said nothing that can be understood
                said = Statement.from_words(hello.data)
                is_late = self.me.data.is_late(said)
                self.me.data.withdraw(said)
        if self._heard != self._mark:
            self.greet(now)  # from that it finds the reason, in more words than fit a REJECT
        self._say(Reject(session, MISMATCH, list(differing[:NAMED])))
        self.refuse(differing, words, is_late)

    @property
    def _mark(self) -> str:
        """What we could tell of data, as a mark."""
        return "" if self.me.data is None else self.me.data.statement.mark

    def welcomed(self, now: float, heard: str = "") -> bool:
        """The neighbour accepts our HELLO; returns whether it did not know us before."""
        self._heard = heard
        first, self._welcomed = not self._welcomed, True
        self.detector.begin_anew(now)
        self.alive(now)
        self._up_if_mutual()
        return first

    def refuse(self, parts: tuple[str, ...], words: str = "", is_late: bool = False) -> None:
        """It runs another experiment: nothing of it will be averaged."""
        if self.phase is not Phase.REFUSED:
            # nets are for the data's classes
            follows = all(part == "data" or part.startswith("model:") for part in parts)
            words = words if follows else ""
            reason = words or f"it runs another experiment: {', '.join(parts)} differ"
            self.change(Phase.REFUSED, reason)
            self._tell(Mismatch(parts, words, is_late))

    def _up_if_mutual(self) -> None:
        """UP once we know the neighbour and it knows us."""
        known = self.number is not None and self._welcomed
        if known and self.phase in (Phase.UNKNOWN, Phase.DOWN, Phase.SUSPECT, Phase.LEFT):
            self.change(Phase.UP, "connected")

    # --- who is left behind -----------------------------------------------------------------------

    # Who is many rounds behind is not waited for. It learns that, and rejoins in a round in which
    # it takes values and sends none. A neighbour that was never done without is not behind,
    # whatever it told last: on graphs that change, peers may be many rounds apart.

    def rejoin(self, round: int) -> None:
        """We go on in ``round``, and leave out all before it."""
        self.at = beginning_of(round)
        if self.number is not None:
            self._say(Rejoin(round))

    def rejoined(self, message: Rejoin) -> None:
        """The neighbour goes on in that round."""
        self.listens_in = max(self.listens_in, message.round)
        self.their_at = max(self.their_at, beginning_of(message.round))

    def left_behind(self, t: Moment) -> str:
        """Why the neighbour will not be there at ``t``; empty where it may be."""
        if t.round < self.listens_in:
            return f"it goes on in round {self.listens_in + 1}"
        lag = t.round - self.their_at.round if self.their_at > BEFORE_ALL else 0
        if self.are_apart and self.phase is Phase.UP and lag > self.timing.catch_up:
            return f"it is {lag:,} rounds behind"
        return ""

    # --- liveness ---------------------------------------------------------------------------------

    def alive(self, now: float, at: Moment | None = None, *, confirms: bool = False) -> None:
        """It said something valid; ``confirms`` where that proves that our messages arrive."""
        self.detector.hear(now, confirms=confirms)
        self._is_at(at)

    @property
    def told_at(self) -> Moment:
        """The first exchange that is not over for us: the one at hand, or what follows it."""
        return Moment(self.at.round, self.at.exchange + 1) if self.done == self.at else self.at

    def tell(self, now: float) -> None:
        """Tell how far we are, at once."""
        if self.phase is Phase.UP:
            self._say(Ping(self.told_at, self.detector.ping(now)))

    def ping(self, message: Ping, now: float) -> None:
        """It asks whether we are there."""
        self.alive(now, message.t)
        self._say(Pong(self.told_at, message.number))

    def pong(self, message: Pong, now: float) -> None:
        """It answers."""
        self.detector.answer(message.number, now)
        self._is_at(message.t)

    def _is_at(self, at: Moment | None) -> None:
        if at is not None:
            self.their_at = max(self.their_at, at)
        if self.phase is Phase.SUSPECT and self._welcomed:
            self.change(Phase.UP, "answers again")

    def tick(self, now: float) -> None:
        """Let time pass: greet, ask, suspect."""
        if self.phase in FINAL or self.phase is Phase.LEFT:
            return
        if self._told != self._mark:  # there is news
            self._hello_at, self._hello_after = now, self.timing.hello
        if now >= self._hello_at and (not self._welcomed or self._heard != self._mark):
            self.greet(now)
        silent = self.detector.silence(now)
        if self.phase is Phase.UP and silent >= self.timing.suspect:
            self.change(Phase.SUSPECT, f"silent for {silent:.0f} s")
        if self.phase is Phase.SUSPECT and silent >= self.timing.down:
            self.change(Phase.DOWN, f"silent for {silent:.0f} s")
            self._welcomed = False
            self.detector.forget_question()
            self._dial(now)
        if not self._welcomed and now - self._dialled_at >= self.timing.down:
            self._dial(now)
        if self._welcomed:
            self._ask(now)

    def _dial(self, now: float) -> None:
        """Try another connection: ZeroMQ knocks once where a key was refused."""
        self._dialled_at = now
        self._hello_at, self._hello_after = now, self.timing.hello
        self._tell(Reconnect())

    def _ask(self, now: float) -> None:
        """PING when idle; one without an answer may mean that our connection was replaced."""
        if self.detector.is_answer_overdue(now):
            is_deaf = self.detector.deafness(now) >= self.timing.down
            if is_deaf and now - self._dialled_at >= self.timing.down:
                self._dial(now)  # we hear it: it is our connection that leads nowhere
            else:
                self.greet(now)
        elif self.detector.is_ping_due(now, often=self.are_apart or self.is_watched):
            self._say(Ping(self.told_at, self.detector.ping(now)))

"""One link's protocol as a pure state machine.

A :class:`Link` is one peer's end of the link to one neighbour. Messages and the time go in;
messages to send (``outbox``) and events come out. It knows no socket, no thread and no clock, so a
test can push every event through both ends, in any order.

The life of one exchange on a link, at one end::

    begin(t) ──> OFFER, CHUNK... ──> neighbour's ACK "whole"      our value is there
    neighbour's OFFER, CHUNK... ──> verified ──> Settled(t, value)  its value is here
    silence past the deadline, "late", LEAVE... ──> Settled(t, None)  its weight stays on oneself

Agreement of both ends on whether an exchange took place (VOTE and COMMIT, with a journal) has its
place in :meth:`Link._verified`: between a value's arrival and its being settled.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from peer.effects import BEFORE_ALL, Moment
from peer.net.wire import (
    CHUNK_LARGEST,
    CHUNK_SMALLEST,
    Ack,
    Chunk,
    Hello,
    Leave,
    Message,
    Nack,
    Offer,
    Ping,
    Pong,
    Reject,
    Welcome,
    encode,
)

CREDIT = 16
"""Chunks of one value that may be under way unacknowledged."""

STRIKES = 3
"""Corrupt values after which a neighbour is listened to no more."""


@dataclass(frozen=True)
class Timing:
    """The protocol's times, all in seconds."""

    start_timeout: float = 120.0  # the first exchange waits so long for a neighbour
    deadline: float = 60.0  # silence after which an exchange goes on without it
    ping: float = 1.0  # idle time after which we ask whether it is there
    suspect: float = 5.0  # silence after which it is not waited for in later exchanges
    down: float = 30.0  # silence after which its connection is made anew
    retry: float = 2.0  # without progress, offer a value again
    hello: float = 0.25  # between two HELLOs, doubling up to one second

    @classmethod
    def within(cls, start_timeout: float, deadline: float) -> Timing:
        """The times that fit a deadline: a short one needs livelier questions."""
        return cls(
            start_timeout=start_timeout,
            deadline=deadline,
            ping=min(cls.ping, deadline / 4),
            suspect=min(cls.suspect, deadline),
        )


class Phase(Enum):
    """How we stand with a neighbour."""

    UNKNOWN = "unknown"  # no handshake yet
    UP = "up"
    SUSPECT = "suspect"  # silent for some seconds
    DOWN = "down"  # silent for long; being reconnected
    LEFT = "left"  # finished, and said so
    REFUSED = "refused"  # it runs another experiment
    QUARANTINED = "quarantined"  # sent corrupt values again and again


@dataclass(frozen=True)
class Identity:
    """What a peer says of itself in its HELLO."""

    peer: int
    session: int  # random, one a process: its incarnation
    fingerprint: Mapping[str, str]
    signature: Mapping[str, str]


@dataclass(frozen=True)
class Settled:
    """Exchange ``t`` on this link is settled; ``value`` is None where the neighbour stayed away."""

    t: Moment
    value: memoryview | None
    reason: str = ""


@dataclass(frozen=True)
class Changed:
    """The link's phase changed, and why."""

    phase: Phase
    reason: str


@dataclass(frozen=True)
class Reconnect:
    """The connection to the neighbour should be made anew."""


@dataclass(frozen=True)
class Mismatch:
    """The neighbour runs another experiment; ``parts`` are what differs."""

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Delivered:
    """Our value for ``t`` is wanted no more: it arrived, or will not be."""

    t: Moment


Event = Settled | Changed | Reconnect | Mismatch | Delivered


@dataclass
class Outgoing:
    """A value on its way to the neighbour."""

    offer: Offer
    payload: memoryview  # bytes
    count: int  # chunks
    sent: int = 0
    acked: int = 0
    offered_at: float = 0.0
    waiting: bool = False  # the neighbour has no room yet
    retry_at: float = 0.0
    retry_after: float = 0.0


@dataclass
class Incoming:
    """A value coming from the neighbour."""

    offer: Offer
    buffer: memoryview  # bytes, received into place
    count: int  # chunks
    received: int = 0
    nacked: bool = False
    whole: bool = False


class Link:
    """One end of a link.

    Args:
        me: this peer's identity.
        neighbour: the other end's id.
        sizes: bytes of each net's arena, by the net's name.
        timing: the protocol's times.
        checksum: put and check a CRC-32 on every chunk (where CURVE does not authenticate).
        now: the time.
    """

    def __init__(
        self,
        me: Identity,
        neighbour: int,
        sizes: Mapping[str, int],
        timing: Timing,
        checksum: bool,
        now: float,
    ) -> None:
        self.me = me
        self.neighbour = neighbour
        self.sizes = sizes
        self.timing = timing
        self.checksum = checksum
        self.phase = Phase.UNKNOWN
        self.outbox: deque[tuple[bytes, memoryview | None]] = deque()
        self.events: deque[Event] = deque()
        self.their_session: int | None = None
        self.their_t = BEFORE_ALL
        self.strikes = 0
        self.gaps = 0
        self._began = now
        self._heard = now  # when the neighbour last said anything valid
        self._confirmed = now  # when it last proved that what we say arrives
        self._welcomed = False  # it knows us
        self._hello_at = now
        self._hello_after = timing.hello
        self._pinged_at: float | None = None  # an unanswered PING
        self._pings = 0
        self._seq = 0
        self._their_seq = 0
        self._open: Moment | None = None  # the exchange that waits for this neighbour
        self._settled = BEFORE_ALL
        self._given_up: Moment | None = None  # a value that came corrupt, twice
        self._sending: dict[Moment, Outgoing] = {}
        self._coming: dict[Moment, Incoming] = {}
        self._deferred: Offer | None = None  # offered while there was no room
        self._spare: dict[str, list[memoryview]] = {name: [] for name in sizes}
        self._held: tuple[str, memoryview] | None = None  # handed out with the last Settled
        self._rate = 0.0  # bytes a second, as last measured
        self._round = 0

    # --- what the driver says ---------------------------------------------------------------------

    def begin(self, t: Moment, net: str, payload: memoryview, now: float) -> None:
        """Exchange ``t`` begins: offer ``payload`` (the bytes of ``net``), want the same back."""
        self._release()
        self._round = t.round
        self._open = t
        absent = self.phase not in (Phase.UP, Phase.UNKNOWN) and not self._has_whole(t)
        if absent or t == self._given_up:
            self.events.append(Delivered(t))
            self._settle(f"it is {self.phase.value}" if absent else "its value was corrupt")
            return
        chunk = min(CHUNK_LARGEST, max(CHUNK_SMALLEST, 2 ** (int(self._rate * 0.05).bit_length())))
        offer = Offer(t, net, len(payload), chunk, "float32")
        count = max(1, -(-len(payload) // chunk))
        outgoing = Outgoing(offer, payload, count, retry_after=self.timing.retry)
        self._sending[t] = outgoing
        if self.phase is Phase.UP:
            self._offer(outgoing, now)
        self._use(t)
        self._give_up_in_time(now)

    def leave(self, round: int) -> None:
        """We have finished."""
        self._say(Leave(round))

    def abandon(self) -> None:
        """Stop sending what is still on its way."""
        for t in list(self._sending):
            self._delivered(t)

    @property
    def idle(self) -> bool:
        """Nothing of ours is on its way to the neighbour."""
        return not self._sending

    def skip_time(self, seconds: float) -> None:
        """Our own loop stood still for so long: the silence was not the neighbour's."""
        self._heard += seconds
        if self._pinged_at is not None:
            self._pinged_at += seconds

    def place(self, chunk: Chunk) -> memoryview | None:
        """Where the body of ``chunk`` is to be received; None where it is not wanted."""
        incoming = self._coming.get(chunk.t)
        if incoming is None or incoming.whole or chunk.index != incoming.received:
            return None
        start = chunk.index * incoming.offer.chunk
        return incoming.buffer[start : start + incoming.offer.chunk]

    # --- what comes from the neighbour ------------------------------------------------------------

    def hello(self, session: int, seq: int, hello: Hello, now: float) -> None:
        """The neighbour's HELLO."""
        if not self._welcomed:
            self._greet(now)  # so that the first thing it hears from us is who we are
        differing = tuple(
            sorted(
                part
                for ours, theirs in (
                    (self.me.fingerprint, hello.fingerprint),
                    (self.me.signature, hello.signature),
                )
                for part in ours.keys() | theirs.keys()
                if ours.get(part) != theirs.get(part)
            )
        )
        if differing:
            self._say(Reject(session, "mismatch", list(differing)))
            self._refuse(differing)
            return
        if self.phase is Phase.QUARANTINED:
            return
        if session != self.their_session:
            if self.their_session is not None:
                self._forget_session()
            self.their_session = session
        self._their_seq = seq + 1
        self._heard = now
        self.their_t = max(self.their_t, Moment(hello.round, 0))
        self._say(Welcome(session, self._round))
        if self.phase is Phase.LEFT:
            self._change(Phase.UNKNOWN, "is back")
        self._maybe_up()

    def claimed_by_another(self, session: int, now: float) -> bool:
        """Whether a HELLO of ``session`` contradicts a neighbour that is alive and well."""
        alive = self.phase is Phase.UP and now - self._heard < self.timing.suspect
        return alive and session != self.their_session

    def receive(
        self, session: int, seq: int, message: Message, now: float, filled: int | None = None
    ) -> None:
        """Any other message, from the connection that the neighbour's HELLO came by.

        For a CHUNK, ``filled`` says how many bytes were received into :meth:`place`'s memory, or is
        None where there was no place for them.
        """
        if isinstance(message, Welcome | Reject):
            self._heard_handshake(message, now)
            return
        if session != self.their_session:
            return
        if seq != self._their_seq:
            self.gaps += 1
            self._resync()
        self._their_seq = seq + 1
        self._alive(now)
        match message:
            case Offer():
                self._offered(message)
            case Chunk():
                self._chunk(message, filled)
            case Ack():
                self._ack(message, now)
            case Nack():
                self._go_back(message)
            case Ping(t, number):
                self.their_t = max(self.their_t, t)
                self._say(Pong(self._at(), number))
            case Pong(t, number):
                self.their_t = max(self.their_t, t)
                if number == self._pings:
                    self._pinged_at, self._confirmed = None, now
            case Leave():
                self._left()

    # --- time -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Let time pass: greet, ask, retry, and give up where it is time to."""
        if self.phase in (Phase.REFUSED, Phase.QUARANTINED, Phase.LEFT):
            return
        silent = now - self._heard
        if not self._welcomed and now >= self._hello_at:
            self._greet(now)
        if self.phase is Phase.UP and silent >= self.timing.suspect:
            self._change(Phase.SUSPECT, f"silent for {silent:.0f} s")
        if self.phase is Phase.SUSPECT and silent >= self.timing.down:
            self._change(Phase.DOWN, f"silent for {silent:.0f} s")
            self._reconnect(now)
        if self._welcomed and self.phase in (Phase.UP, Phase.SUSPECT):
            self._ask(now)
        for outgoing in list(self._sending.values()):
            if self.phase is Phase.UP and now >= outgoing.retry_at:
                outgoing.retry_after = min(2 * outgoing.retry_after, 30.0)
                self._offer(outgoing, now)
        self._give_up_in_time(now)

    def _give_up_in_time(self, now: float) -> None:
        if self._open is None:
            return
        silent = now - self._heard
        if self.phase is Phase.UNKNOWN:
            if now - self._began >= self.timing.start_timeout:
                self._settle(f"it did not come in {self.timing.start_timeout:g} s")
        elif silent >= self.timing.deadline:
            self._settle(f"silent for {silent:.0f} s")

    def _ask(self, now: float) -> None:
        """PING when idle; a PING without an answer may mean that our connection was replaced."""
        if self._pinged_at is not None:
            if now - self._pinged_at >= self.timing.retry:
                self._pinged_at = now
                self._greet(now)
        elif now - min(self._heard, self._confirmed) >= self.timing.ping:
            self._pings += 1
            self._pinged_at = now
            self._say(Ping(self._at(), self._pings))

    def _reconnect(self, now: float) -> None:
        self._welcomed = False
        self._pinged_at = None
        self.outbox.clear()
        self._hello_at, self._hello_after = now, self.timing.hello
        self.events.append(Reconnect())

    # --- handshake --------------------------------------------------------------------------------

    def _greet(self, now: float) -> None:
        hello = Hello(self.me.peer, dict(self.me.fingerprint), dict(self.me.signature), self._round)
        self._say(hello)
        self._hello_at = now + self._hello_after
        self._hello_after = min(2 * self._hello_after, 1.0)

    def _heard_handshake(self, message: Welcome | Reject, now: float) -> None:
        if message.session != self.me.session:
            return  # an answer to somebody else's HELLO
        if isinstance(message, Reject):
            if message.code == "mismatch":
                self._refuse(tuple(message.parts))
            return
        self._pinged_at, self._confirmed = None, now
        self.their_t = max(self.their_t, Moment(message.round, 0))
        self._alive(now)
        self._welcomed = True
        self._maybe_up()
        for outgoing in list(self._sending.values()):  # whatever was under way may be lost
            self._offer(outgoing, now)

    def _maybe_up(self) -> None:
        """UP once we know the neighbour and it knows us."""
        if self.their_session is None or not self._welcomed:
            return
        if self.phase in (Phase.UNKNOWN, Phase.DOWN, Phase.SUSPECT):
            self._change(Phase.UP, "connected")

    def _refuse(self, parts: tuple[str, ...]) -> None:
        if self.phase is Phase.REFUSED:
            return
        self._change(Phase.REFUSED, f"it runs another experiment: {', '.join(parts)} differ")
        self.events.append(Mismatch(parts))
        self._end("it runs another experiment")

    def _forget_session(self) -> None:
        """The neighbour's process is a new one: it knows nothing of us, nor we of it."""
        self._welcomed = False
        self._hello_after = self.timing.hello
        self._hello_at = 0.0
        for t in list(self._coming):
            if not self._coming[t].whole:
                self._drop(t)
        self._deferred = None
        self.their_t = BEFORE_ALL
        if self.phase in (Phase.UP, Phase.SUSPECT, Phase.DOWN):
            self._change(Phase.UNKNOWN, "restarted")
            self._began = self._heard

    def _alive(self, now: float) -> None:
        self._heard = now
        if self.phase is Phase.SUSPECT and self._welcomed:
            self._change(Phase.UP, "answers again")

    def _left(self) -> None:
        if self.phase is not Phase.LEFT:
            self._change(Phase.LEFT, "finished")
            self._end("it has finished")

    def _end(self, reason: str) -> None:
        """Nothing more will come on this link."""
        self._settle(reason)
        for t in list(self._sending):
            self._delivered(t)

    # --- sending ----------------------------------------------------------------------------------

    def _say(self, message: Message, body: memoryview | None = None) -> None:
        self.outbox.append((encode(self.me.session, self._seq, message), body))
        self._seq += 1

    def _offer(self, outgoing: Outgoing, now: float) -> None:
        outgoing.offered_at = now
        outgoing.retry_at = now + outgoing.retry_after
        self._say(outgoing.offer)
        self._pump(outgoing)

    def _pump(self, outgoing: Outgoing) -> None:
        """Send as many chunks as there is credit for, straight from the snapshot."""
        offer, payload = outgoing.offer, outgoing.payload
        if outgoing.waiting:
            return
        while outgoing.sent < outgoing.count and outgoing.sent - outgoing.acked < CREDIT:
            start = outgoing.sent * offer.chunk
            body = payload[start : start + offer.chunk]
            crc = zlib.crc32(body) if self.checksum else 0
            self._say(Chunk(offer.t, outgoing.sent, crc), body)
            outgoing.sent += 1

    def _ack(self, ack: Ack, now: float) -> None:
        self._confirmed = now
        outgoing = self._sending.get(ack.t)
        if outgoing is None:
            return
        match ack.verdict:
            case "more":
                if outgoing.waiting:
                    outgoing.waiting = False
                    outgoing.sent = outgoing.acked = ack.received
                progress = min(ack.received, outgoing.sent)
                if progress > outgoing.acked:
                    outgoing.acked = progress
                    outgoing.retry_after = self.timing.retry
                    outgoing.retry_at = now + outgoing.retry_after
                self._pump(outgoing)
            case "wait":
                outgoing.waiting = True
            case "whole":
                self._measure(outgoing, now)
                self._delivered(ack.t)
            case "late":
                self._delivered(ack.t)
                if self._open == ack.t:
                    self._settle("it went on without us")
            case "abort":
                self._delivered(ack.t)
                self._drop(ack.t)
                if self._open == ack.t:
                    self._settle("it gave this exchange up")

    def _measure(self, outgoing: Outgoing, now: float) -> None:
        """The link's speed, from the offer to the last acknowledgement."""
        took = now - outgoing.offered_at
        if took > 0 and outgoing.count > 1:
            self._rate = len(outgoing.payload) / took

    def _go_back(self, nack: Nack) -> None:
        outgoing = self._sending.get(nack.t)
        if outgoing is not None and nack.index < outgoing.count:
            outgoing.waiting = False
            outgoing.sent = min(outgoing.sent, nack.index)
            outgoing.acked = min(outgoing.acked, nack.index)
            self._pump(outgoing)

    def _delivered(self, t: Moment) -> None:
        if self._sending.pop(t, None) is not None:
            self.events.append(Delivered(t))

    # --- receiving --------------------------------------------------------------------------------

    def _offered(self, offer: Offer) -> None:
        t = offer.t
        if t <= self._settled:
            self._say(Ack(t, 0, "late"))
            return
        if t == self._given_up:
            self._say(Ack(t, 0, "abort"))
            return
        known = self._coming.get(t)
        if known is not None:  # offered again: say how far we are, and ask for the rest
            if known.whole:
                self._say(Ack(t, known.received, "whole"))
            else:
                self._say(Nack(t, known.received))
            return
        if self.sizes.get(offer.net) != offer.nbytes or offer.codec != "float32":
            self._strike(t, f"offered {offer.nbytes} bytes of '{offer.net}'")
            return
        if len(self._coming) >= 2:
            self._deferred = offer
            self._say(Ack(t, 0, "wait"))
            return
        self._accept(offer)

    def _accept(self, offer: Offer) -> None:
        spare = self._spare[offer.net]
        buffer = spare.pop() if spare else _new_buffer(offer.nbytes)
        count = max(1, -(-offer.nbytes // offer.chunk))
        self._coming[offer.t] = Incoming(offer, buffer, count)

    def _chunk(self, chunk: Chunk, filled: int | None) -> None:
        incoming = self._coming.get(chunk.t)
        if incoming is None:
            return
        if chunk.index != incoming.received or filled is None:
            if chunk.index > incoming.received:
                self._resync()
            return
        place = self.place(chunk)
        if place is None:
            return
        if filled != len(place) or (self.checksum and zlib.crc32(place) != chunk.crc32):
            self._corrupt(incoming, "a chunk does not match its checksum")
            return
        incoming.received += 1
        if incoming.received < incoming.count:
            self._say(Ack(chunk.t, incoming.received, "more"))
        elif np.isfinite(np.frombuffer(incoming.buffer, dtype="<f4")).all():
            self._verified(incoming)
        else:
            incoming.received = 0
            self._corrupt(incoming, "a value has NaN or Inf in it")

    def _corrupt(self, incoming: Incoming, what: str) -> None:
        """Ask once more; the second time, do without."""
        t = incoming.offer.t
        if not incoming.nacked:
            incoming.nacked = True
            self._say(Nack(t, incoming.received))
            return
        self._drop(t)
        self._strike(t, what)

    def _strike(self, t: Moment, what: str) -> None:
        """A value that will not be averaged, whatever else comes; the third time, no more of it."""
        self._say(Ack(t, 0, "abort"))
        self.strikes += 1
        self._given_up = t
        if self._open == t:
            self._settle(what)
        if self.strikes >= STRIKES:
            self._change(Phase.QUARANTINED, f"{what}, {self.strikes} times")
            self._end("quarantined")

    def _resync(self) -> None:
        """Something was lost on the way: ask for what is missing, from where it is missing."""
        for incoming in self._coming.values():
            if not incoming.whole:
                self._say(Nack(incoming.offer.t, incoming.received))

    def _verified(self, incoming: Incoming) -> None:
        """The neighbour's value is here and sound. (VOTE and COMMIT will stand here.)"""
        incoming.whole = True
        self._say(Ack(incoming.offer.t, incoming.received, "whole"))
        self._use(incoming.offer.t)

    def _has_whole(self, t: Moment) -> bool:
        return t in self._coming and self._coming[t].whole

    def _use(self, t: Moment) -> None:
        """Settle exchange ``t`` with the neighbour's value, if both are there."""
        if self._open != t or not self._has_whole(t):
            return
        incoming = self._coming.pop(t)
        self._held = (incoming.offer.net, incoming.buffer)
        self._open, self._settled = None, t
        self.events.append(Settled(t, incoming.buffer))

    def _settle(self, reason: str) -> None:
        """Settle the open exchange without the neighbour, which is not to use our value either."""
        t, self._open = self._open, None
        if t is None:
            return
        self._settled = t
        self._drop(t)
        if t in self._sending:
            self._say(Ack(t, 0, "abort"))
            self._delivered(t)
        self.events.append(Settled(t, None, reason))

    def _release(self) -> None:
        """The value handed out last has been combined: its memory is free for the next."""
        if self._held is not None:
            net, buffer = self._held
            self._spare[net].append(buffer)
            self._held = None
        for t in [t for t in self._coming if t <= self._settled]:
            self._drop(t)
        if self._deferred is not None and len(self._coming) < 2:
            offer, self._deferred = self._deferred, None
            if offer.t > self._settled:
                self._accept(offer)
                self._say(Ack(offer.t, 0, "more"))

    def _drop(self, t: Moment) -> None:
        incoming = self._coming.pop(t, None)
        if incoming is not None:
            self._spare[incoming.offer.net].append(incoming.buffer)

    # --- small things -----------------------------------------------------------------------------

    def _at(self) -> Moment:
        return self._open or self._settled

    def _change(self, phase: Phase, reason: str) -> None:
        self.phase = phase
        self.events.append(Changed(phase, reason))


def _new_buffer(nbytes: int) -> memoryview:
    return np.empty(nbytes, dtype=np.uint8).data

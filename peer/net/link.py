"""One link's protocol as a pure state machine.

A :class:`Link` is one peer's end of the link to one neighbour. Messages and the time go in;
messages to send (``outbox``) and events come out. It knows no socket, no thread and no clock, so a
test can push every event through both ends, in any order.

It joins three parts: the *session* (handshake and liveness, :mod:`peer.net.session`), the
*exchange* at hand (named states: see the table in :mod:`peer.net.exchange`), and
a transfer's two halves (:mod:`peer.net.transfer.sender`, :mod:`peer.net.transfer.receiver`)::

    begin(t) ──> OFFER, CHUNK... ──> neighbour's ACK "whole" ──> Delivered(t)
    neighbour's OFFER, CHUNK... ──> whole and sound ──> Settled(t, value)
    silence past the deadline, "late", LEAVE... ──> Settled(t, None, reason)

Whoever goes on without the other says "abort", and the other drops what it has not used yet. Where
both send a net, either both use what they swap or neither does (:mod:`peer.net.settling.commit`).
From an exchange without the other until they swap a value again the two are apart
(:mod:`peer.net.session`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from peer.compute.compressed_combine import Coding
from peer.effects import Moment
from peer.net.away.failure_detector import Timing
from peer.net.away.seat import Seat
from peer.net.exchange import Cause, Decided, Delivered, Exchange, Piece, Settled, Unrecorded
from peer.net.session import FINAL, Changed, Identity, Mismatch, Phase, Reconnect, Session
from peer.net.settling.commit import Commit, Past
from peer.net.settling.settlement import Settlement
from peer.net.transfer.checksum import Checksum
from peer.net.transfer.chunks import Checksums, Payload, is_letter
from peer.net.transfer.outbox import Outbox
from peer.net.transfer.receive_buffers import Held
from peer.net.transfer.receiver import Receiver, Unusable, Whole
from peer.net.transfer.sender import Sender
from peer.net.wire import (
    REASONS,
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
    Rejoin,
    Vote,
    Welcome,
)

STRIKES = 3
"""Corrupt values after which a neighbour is listened to no more; restarts in one exchange after
which it is waited for no more."""

TWICE = "twice"
"""Of a REJECT to a peer in its place: another process says that it is that peer."""


@dataclass(frozen=True)
class Twice:
    """The neighbour was greeted by another process that has our id."""


Event = Piece | Settled | Decided | Delivered | Unrecorded | Changed | Reconnect | Mismatch | Twice


class Link:
    """One end of a link.

    Args:
        me: this peer's identity.
        neighbour: the other end's id.
        sizes: bytes of each net's arena, by the net's name.
        timing: the protocol's times.
        checksum: put and check one on every chunk (where CURVE does not authenticate).
        now: the time.
        coding: how nets are encoded on their way; None: as their arenas' floats.
        round: rounds that this peer had completed when this process began.
        agrees: what both ends swap of nets is used by both, or by neither.
        past: what this end's state says of the link.
        records: what the neighbour sends counts once it is on our disk, and that is told.
    """

    def __init__(
        self,
        me: Identity,
        neighbour: int,
        sizes: Mapping[str, int],
        timing: Timing,
        checksum: bool,
        now: float,
        coding: Coding | None = None,
        round: int = 0,
        agrees: bool = False,
        past: Past = Past(),  # noqa: B008
        records: bool = False,
    ) -> None:
        self.me = me
        self.neighbour = neighbour
        self.timing = timing
        self.outbox = Outbox(me.session)
        self.say = self.outbox.say
        self.events: deque[Event] = deque()
        check = Checksum(checksum)
        self.session = Session(me, timing, now, self.say, self.events.append, check, round)
        self.agrees = agrees
        self.records = records
        self.commit = Commit(
            me.peer < neighbour, timing.retry, self.say, self.events.append, past, records
        )
        self.seat = Seat()
        self.strikes = 0
        self.gaps = 0  # messages lost on the way
        self._sender = Sender(timing.retry, check, self.say)
        says = self.say, self.events.append, self._confirm
        self._receiver = Receiver(sizes, coding, check, timing.retry, *says, records, past.taken)
        halves, tell = (self._sender, self._receiver), self.events.append
        self._settlement = Settlement(self.session, *halves, self.commit, self.say, tell)
        self._their_seq = 0
        self._farewell = ""  # what became of the neighbour, once it has left

    @property
    def phase(self) -> Phase:
        """How we stand with the neighbour."""
        return self.session.phase

    @property
    def exchange(self) -> Exchange:
        """The exchange at hand."""
        return self._settlement.exchange

    @property
    def idle(self) -> bool:
        """Whether nothing of ours is on its way to the neighbour."""
        return self._sender.idle

    # --- what the endpoint says -------------------------------------------------------------------

    def begin(
        self,
        t: Moment,
        net: str,
        payload: Payload | None,
        now: float,
        wants: bool = True,
        checksums: Checksums | None = None,
        epoch: int = 0,
        held: Held | None = None,
        conserved: bool = False,
    ) -> None:
        """Exchange ``t`` begins: offer ``payload`` (the bytes of ``net``), want the same back.

        ``payload`` is None where only the neighbour sends; without ``wants``, only we do. Links on
        which one payload goes out share its ``checksums``; of another ``epoch`` no value is used.
        It may be ``held`` since before this process began. Whether a ``conserved`` payload is
        taken has to be known. The exchange before must be settled.
        """
        self._receiver.begin(t)
        if held is not None:
            self._receiver.buffers.put(t, held.net, held.value, held.sender)
            if self.commit.doubt is None:  # of that, what is on the disk is to be asked about
                self.commit.recorded = t
        self.session.at = t
        # It may be past t already: then it has sent its value, or never will. Who only listens has
        # to know at once.
        listens = wants and payload is None and self._receiver.buffers.can_be_listened_to(net)
        ask_after = 0.0 if listens or self.session.their_at > t else self.timing.retry
        is_mutual = self.agrees and wants and payload is not None and not is_letter(net)
        flags = is_mutual, epoch, conserved and self.agrees and not wants
        times = now, ask_after, self.timing.retry
        self._settlement.exchange = self.exchange.next(t, net, wants, *times, *flags)
        is_waited_for = self.seat.moves and self.phase not in FINAL
        reason = self._settlement.why_not(t, self._farewell, is_waited_for)
        if reason:
            if self.commit.doubt is not None:
                self._settlement.tell_that_we_gave_up(t)
            self._settlement.do_without(reason)
            if payload is not None:
                self.events.append(Delivered(t))
            return
        if payload is not None:
            codec = self._receiver.buffers.codec_of(net)
            outgoing = self._sender.add(t, net, codec, payload, checksums, epoch)
            if self.phase is Phase.UP:
                self._sender.offer(outgoing, now)
        if t.round == self.session.listens_in and self._receiver.buffers.can_be_listened_to(net):
            self._settlement.without_value("it takes values in this round, and sends none")
        self._use(t, now)  # what a neighbour sent before it left is still used
        self._settlement.give_up_in_time(now)
        if self.phase is Phase.LEFT:
            self._settlement.end_sending(t, self._farewell)

    def recorded(self, t: Moment, now: float) -> None:
        """The neighbour's value for ``t`` is on our disk (:class:`Unrecorded`)."""
        is_awaited = self._receiver.awaits_disk(t)
        self._receiver.recorded(t)
        if is_awaited:
            self._use(t, now)
        else:
            self._settlement.recorded(t, now)

    def warn_of_double(self) -> None:
        """Tell the neighbour that another process says that it is the neighbour."""
        if self.session.number is not None:
            self.say(Reject(self.session.number, TWICE, []))

    def empty_seat(self) -> None:
        """An election says who the neighbour is: nobody yet, and it is waited for all the same."""
        self.seat.empty()
        self.session.timing = replace(self.timing, deadline=float("inf"))

    def leave(self, round: int, reason: str) -> None:
        """We go after so many rounds; ``reason`` is one of :data:`peer.net.wire.REASONS`."""
        self.say(Leave(round, reason))

    def give_up(self, reason: str) -> None:
        """Wait no more, in the exchange at hand, for this neighbour."""
        self._settlement.give_up(reason)

    def abandon(self) -> None:
        """Stop sending what is still on its way."""
        self._settlement.abandon()

    def stream(self) -> Piece | None:
        """From now on, the awaited value is handed on as it comes, and not kept.

        Returns what has come of it already, if anything; the rest follows as events.
        """
        is_told = self.exchange.is_mutual and not self.commit.decides  # may have to hold it apart
        if is_told or self.records or not self.exchange.can(Cause.STREAM):
            return None
        self.exchange.advance(Cause.STREAM)
        return self._receiver.stream(self.exchange)

    def resume(self) -> None:
        """More of a value that we send while it is written is there."""
        if self.phase is Phase.UP:
            self._sender.resume()

    def tick(self, now: float) -> None:
        """Let time pass: greet, ask, offer again, and give up where it is time to."""
        self.session.tick(now)
        if self.phase is Phase.UP:
            self._sender.offer_what_is_due(now)
            self._receiver.ask_where_it_is(self.exchange, now, self.session.their_at)
            self._receiver.ask_again(now)
            self.commit.ask_again(self.exchange, now)
        self._settlement.give_up_in_time(now)

    def connected_anew(self, now: float) -> None:
        """Our connection to the neighbour is another one; what was on its way may be lost."""
        self.outbox.clear()  # what was meant for the old one
        self.session.greet(now)  # a HELLO comes first on every connection
        self._say_again(now)

    def _say_again(self, now: float) -> None:
        """A connection broke: offer, and ask for, what may be lost, without waiting for a time."""
        if self.phase is Phase.UP:
            self._receiver.connected_anew(now)
            self._sender.offer_everything(now)
            self.commit.reconnected()

    # --- what comes from the neighbour ------------------------------------------------------------

    def hello(self, session: int, seq: int, hello: Hello, now: float) -> None:
        """The neighbour's HELLO: the first message on each of its connections."""
        same = session == self.session.number
        restarted = self.session.hello(session, hello, now)
        if same and seq != self._their_seq:
            self.gaps += 1
            self._say_again(now)
        self._their_seq = seq + 1
        if restarted:
            self.strikes = 0
            self._sender.forget()
            self._receiver.forget(self.exchange.t, self.agrees)
            self._settlement.restarted()
            if self.exchange.restarts >= STRIKES:
                self._settlement.do_without(f"it restarted {self.exchange.restarts} times")
        if self.phase in FINAL:
            self._end(f"it is {self.phase.value}")

    def receive(
        self, session: int, seq: int, message: Message, now: float, body: memoryview | None = None
    ) -> None:
        """Any other message, from the connection that the neighbour's HELLO came by.

        ``body`` is what came with a CHUNK; its memory is not written to any more.
        """
        if not self.seat.hears(session):
            return  # of a server that is one no more
        known = session == self.session.number and self.phase not in FINAL
        if known:
            if seq != self._their_seq:
                self.gaps += 1
                self._receiver.note_gap(now)
            self._their_seq = seq + 1
        if isinstance(message, Welcome | Reject):
            self._answered(message, now)
            return
        if not known:
            return
        at = message.t if isinstance(message, Offer) else None
        answers = isinstance(message, Ack) and message.verdict != "abort"  # nor is a NACK asked for
        self.session.alive(now, at, confirms=answers)
        match message:
            case Offer():
                self._judge(self._receiver.offered(message, self.exchange, now, session), now)
                if self.records and self.exchange.holds(message.t):
                    self.commit.reconnected()  # it has got to where our vote counts
            case Chunk():
                self._judge(self._receiver.chunk(message, body, self.exchange, now), now)
            case Vote(t, of):
                self._settlement.asked(t, of, now)
            case Ack():
                self._settlement.acknowledged(message, now)
            case Nack(t, index):
                self._sender.send_from(t, index, self.session.at, now)
            case Ping():
                self.session.ping(message, now)
            case Pong():
                self.session.pong(message, now)
            case Rejoin():
                self.session.rejoined(message)
                self._settlement.give_up_in_time(now)
            case Leave(_, reason) if self.seat.moves and reason != REASONS[0]:
                pass  # another process takes its place
            case Leave(round, reason):
                self._farewell = f"it has {reason}"
                self.session.change(Phase.LEFT, f"{reason} after round {round}")
                self._end(self._farewell)

    def _answered(self, message: Welcome | Reject, now: float) -> None:
        """The answer to our HELLO; one to another session's is not for us."""
        if message.session != self.me.session or self.phase in FINAL:
            return
        if isinstance(message, Reject):
            if message.code == TWICE:
                self.events.append(Twice())
                return
            self.session.refuse(tuple(message.parts))
            self._end("it runs another experiment")
        elif self.session.welcomed(now, message.heard):  # whatever was on its way may be lost
            self._sender.offer_everything(now)
            self.commit.reconnected()

    def _judge(self, verdict: Whole | Unusable | None, now: float) -> None:
        """What an offer or a chunk means for the neighbour's value."""
        match verdict:
            case Whole(t) if self._receiver.awaits_disk(t):
                self.events.append(self._receiver.unrecorded(t))
            case Whole(t):
                self._use(t, now)
            case Unusable(t, what):
                self._strike(t, what)

    def _confirm(self, now: float) -> None:
        self.session.alive(now, confirms=True)

    # --- the end of it ----------------------------------------------------------------------------

    def _use(self, t: Moment, now: float) -> None:
        fault = self._settlement.use(t, now)
        if fault:
            self._strike(t, fault)

    def _strike(self, t: Moment, what: str) -> None:
        """A value that will not be averaged, whatever else comes; the third time, no more of it."""
        self._receiver.refuse(t)
        self.strikes += 1
        if self.exchange.awaits(t):
            self._settlement.do_without(what)
        if self.strikes >= STRIKES:
            self.session.change(Phase.QUARANTINED, f"{what}, {self.strikes} times")
            self._end("it is quarantined")

    def _end(self, reason: str) -> None:
        """Nothing more will come on this link."""
        if self.phase in FINAL and not self._settlement.waits_for_disk:
            self._receiver.buffers.clear()
        self._settlement.do_without(reason)
        self.abandon()

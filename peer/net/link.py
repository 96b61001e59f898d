"""One link's protocol as a pure state machine.

A :class:`Link` is one peer's end of the link to one neighbour. Messages and the time go in;
messages to send (``outbox``) and events come out. It knows no socket, no thread and no clock, so a
test can push every event through both ends, in any order.

The life of one exchange on a link, at one end::

    begin(t) ──> OFFER, CHUNK... ──> neighbour's ACK "whole"        our value is there
    neighbour's OFFER, CHUNK... ──> verified ──> Settled(t, value)   its value is here
    silence past the deadline, "late", LEAVE... ──> Settled(t, None)   its weight stays on oneself

An exchange may go one way only: the end that only sends is settled when its value is there, the end
that only wants asks for it with NACK when it is slow to come, and is told "late" if it never will.

Agreement of both ends on whether an exchange took place (VOTE and COMMIT, with a journal) has its
place in :meth:`Link._verified`, between a value's arrival and its being settled; until then an end
that goes on without the other says "abort", and the other drops what it has not used yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from peer.compute.compressed_combine import Coding
from peer.effects import BEFORE_ALL, Moment
from peer.net.session import FINAL, Changed, Identity, Mismatch, Phase, Reconnect, Standing, Timing
from peer.net.transfer.values import (
    CREDIT,
    SLOWEST_RETRY,
    Incoming,
    Outgoing,
    Payload,
    Shelf,
    Sums,
    chunk_size,
)
from peer.net.wire import (
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

STRIKES = 3
"""Corrupt values after which a neighbour is listened to no more; restarts in one exchange after
which it is waited for no more."""


@dataclass(frozen=True)
class Piece:
    """A piece of the neighbour's value for ``t``, as whole floats from byte ``start`` on.

    Pieces come in order, each where the last one ended, until one at 0 begins the value anew. They
    are provisional: none is to be used after all, unless exchange ``t`` settles well.
    """

    t: Moment
    start: int
    body: memoryview


@dataclass(frozen=True)
class Settled:
    """Exchange ``t`` on this link is settled.

    ``value`` is None where none came, and where it came as :class:`Piece` by piece. The value's
    memory is good until the next exchange begins. A ``reason`` says why the neighbour was done
    without; it is empty where all went well.
    """

    t: Moment
    value: memoryview | None
    reason: str = ""


@dataclass(frozen=True)
class Delivered:
    """Our value for ``t`` is needed no more: it arrived, or it is not wanted.

    In the second case it is ``adrift`` if parts of it may still lie in a socket.
    """

    t: Moment
    adrift: bool = False


Event = Piece | Settled | Delivered | Changed | Reconnect | Mismatch


class Link:
    """One end of a link.

    Args:
        me: this peer's identity.
        neighbour: the other end's id.
        sizes: bytes of each net's arena, by the net's name.
        timing: the protocol's times.
        checksum: put and check a CRC-32 on every chunk (where CURVE does not authenticate).
        now: the time.
        coding: how nets are encoded on their way; None: as their arenas' floats.
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
    ) -> None:
        self.me = me
        self.neighbour = neighbour
        self.timing = timing
        self.checksum = checksum
        self.outbox: deque[tuple[bytes, memoryview | None]] = deque()
        self.events: deque[Event] = deque()
        self.standing = Standing(me, timing, now, self._say, self.events.append)
        self.strikes = 0
        self.gaps = 0  # in the neighbour's sequence: messages lost on the way
        self._shelf = Shelf(sizes, coding)
        self._sending: dict[Moment, Outgoing] = {}
        self._open: Moment | None = None  # the exchange that waits for this neighbour
        self._net = ""  # whose value it waits for
        self._in_pieces: Moment | None = None  # the exchange whose value is handed on as it comes
        self._ask_at = 0.0  # when to ask for that value, if no offer of it has come
        self._ask_after = timing.retry
        self._began_at = now
        self._sole: Moment | None = None  # the exchange in which we send and want nothing
        self._restarts = 0  # of the neighbour's, in it
        self._settled = BEFORE_ALL
        self._used: deque[Moment] = deque(maxlen=4)  # exchanges settled with the neighbour's value
        self._arrived: deque[Moment] = deque(maxlen=4)  # exchanges for which it has our value
        self._refused: Moment | None = None  # an exchange whose value came corrupt, twice
        self._speed = 0.0  # bytes a second, as last measured
        self._seq = 0
        self._their_seq = 0
        self._lost = False  # something, perhaps an offer's chunks, since the last new offer

    @property
    def phase(self) -> Phase:
        """How we stand with the neighbour."""
        return self.standing.phase

    @property
    def idle(self) -> bool:
        """Whether nothing of ours is on its way to the neighbour."""
        return not self._sending

    # --- what the driver says ---------------------------------------------------------------------

    def begin(
        self,
        t: Moment,
        net: str,
        payload: Payload | None,
        now: float,
        wants: bool = True,
        sums: Sums | None = None,
    ) -> None:
        """Exchange ``t`` begins: offer ``payload`` (the bytes of ``net``), want the same back.

        ``payload`` is None where only the neighbour sends; without ``wants``, only we do. Links on
        which one payload goes out share its ``sums``.
        """
        go_ahead = self._shelf.tidy(self._settled, t)
        if go_ahead is not None:
            self._say(go_ahead)
        self.standing.at = t
        self._open, self._sole = (t, None) if wants else (None, t)
        self._net, self._restarts = net, 0
        self._ask_after = self.timing.retry
        past = self.standing.their_at > t  # then it has sent its value, or never will
        self._ask_at = now if past else now + self._ask_after
        self._began_at = now
        if self._refused == t:
            self._settle("its value was corrupt")
        elif not self.standing.reachable and not self._shelf.has_whole(t):
            self._settle(f"it is {self.phase.value}")
        else:
            if payload is not None:
                codec = self._shelf.codec_of(net)
                offer = Offer(t, net, len(payload), chunk_size(self._speed), codec)
                self._sending[t] = Outgoing(offer, payload, self.timing.retry, sums)
                if self.phase is Phase.UP:
                    self._offer(self._sending[t], now)
            self._use(t)
            self._give_up_in_time(now)
            if self.phase is Phase.LEFT:
                self._delivered(t, "it has finished")
            return
        if payload is not None:
            self.events.append(Delivered(t))

    def leave(self, round: int) -> None:
        """We have finished after so many rounds."""
        self._say(Leave(round))

    def abandon(self) -> None:
        """Stop sending what is still on its way."""
        for t in list(self._sending):
            self._delivered(t, f"it is {self.phase.value}")

    def in_pieces(self) -> Piece | None:
        """From now on, the value that is waited for is handed on as it comes, and not kept.

        Returns what has come of it already, if anything; the rest follows as events.
        """
        if self._open is None:
            return None
        self._in_pieces = self._open
        incoming = self._shelf[self._open]
        if incoming is None or not incoming.received or not self._hands_on(incoming):
            return None
        return Piece(self._open, 0, incoming.buffer[: incoming.end])

    def _hands_on(self, incoming: Incoming) -> bool:
        offer = incoming.offer
        wanted = offer.t == self._open == self._in_pieces and offer.net == self._net
        return wanted and incoming.is_of_floats()

    def tick(self, now: float) -> None:
        """Let time pass: greet, ask, offer again, and give up where it is time to."""
        self.standing.tick(now)
        if self.phase is Phase.UP:
            for outgoing in list(self._sending.values()):
                if now >= outgoing.retry_at:
                    self._offer(outgoing, now)
            self._ask_where_it_is(now)
        self._give_up_in_time(now)

    # --- what comes from the neighbour ------------------------------------------------------------

    def hello(self, session: int, seq: int, hello: Hello, now: float) -> None:
        """The neighbour's HELLO: the first message on each of its connections."""
        same = session == self.standing.their_session
        restarted = self.standing.hello(session, hello, now)
        if same and seq != self._their_seq:
            self._gap()
        self._their_seq = seq + 1
        if restarted:
            self.strikes = 0
            self._used.clear()
            self._arrived.clear()
            self._shelf.drop_unfinished()
            self._restarts += 1
            if self._restarts >= STRIKES:
                self._settle(f"it restarted {self._restarts} times")
        if self.phase in FINAL:
            self._end(f"it is {self.phase.value}")

    def receive(
        self, session: int, seq: int, message: Message, now: float, body: memoryview | None = None
    ) -> None:
        """Any other message, from the connection that the neighbour's HELLO came by.

        ``body`` is what came with a CHUNK; its memory is not written to any more.
        """
        known = session == self.standing.their_session and self.phase not in FINAL
        if known:
            if seq != self._their_seq:
                self._gap()
            self._their_seq = seq + 1
        if isinstance(message, Welcome | Reject):
            if session == self.standing.their_session and seq == self._their_seq:
                self._their_seq = seq + 1
            self._answered(message, now)
            return
        if not known:
            return
        self.standing.alive(now, confirms=isinstance(message, Ack | Nack))
        match message:
            case Offer():
                self._offered(message, now)
            case Chunk():
                self._chunk(message, body, now)
            case Ack():
                self._ack(message, now)
            case Nack(t, index):
                self._asked(t, index, now)
            case Ping():
                self.standing.ping(message, now)
            case Pong():
                self.standing.pong(message, now)
            case Leave():
                self.standing.change(Phase.LEFT, "finished")
                self._end("it has finished")

    def _answered(self, message: Welcome | Reject, now: float) -> None:
        """The answer to our HELLO; one to another session's is not for us."""
        if message.session != self.me.session or self.phase in FINAL:
            return
        if isinstance(message, Reject):
            self.standing.refuse(tuple(message.parts))
            self._end("it runs another experiment")
            return
        if self.standing.welcomed(message, now):  # whatever was under way may be lost
            for outgoing in list(self._sending.values()):
                self._offer(outgoing, now)

    # --- sending ----------------------------------------------------------------------------------

    def _say(self, message: Message, body: memoryview | None = None) -> None:
        if isinstance(message, Hello | Ping) and len(self.outbox) > 2 * CREDIT:
            return  # the connection takes nothing: what asks whether it does need not pile up
        self.outbox.append((encode(self.me.session, self._seq, message), body))
        self._seq += 1

    def _offer(self, outgoing: Outgoing, now: float) -> None:
        outgoing.offered(now)
        self._say(outgoing.offer)
        self._pump(outgoing)

    def _pump(self, outgoing: Outgoing) -> None:
        for chunk, body in outgoing.chunks(self.checksum):
            self._say(chunk, body)

    def _ack(self, ack: Ack, now: float) -> None:
        outgoing = self._sending.get(ack.t)
        match ack.verdict:
            case "more" if outgoing is not None:
                outgoing.acknowledge(ack.received, now)
                self._pump(outgoing)
            case "wait" if outgoing is not None:
                outgoing.waiting = True
            case "whole" if outgoing is not None:
                self._speed = outgoing.speed(now)
                self._arrived.append(ack.t)
                self._delivered(ack.t, arrived=True)
            case "late":
                self._undone(ack.t, "it went on without us")
            case "abort":
                self._shelf.drop(ack.t)  # its own value for t is not to be used either
                self._undone(ack.t, "it gave this exchange up")

    def _undone(self, t: Moment, reason: str) -> None:
        """The neighbour will not take our value for ``t``, nor send its own."""
        known = t in self._sending or not self._shelf.has_whole(t)
        self._delivered(t, reason)
        if self._open == t and known:
            self._settle(reason)

    def _asked(self, t: Moment, index: int, now: float) -> None:
        """The neighbour wants our value for ``t``, from chunk ``index``."""
        outgoing = self._sending.get(t)
        if outgoing is None:
            # asked before our value arrived, it is no news; it may still owe us its own
            if t <= self.standing.at and t not in self._arrived:
                self._say(Ack(t, 0, "late"))
        elif index < outgoing.count:
            outgoing.go_back(index)
            if index == 0:
                outgoing.offered(now)
                self._say(outgoing.offer)  # it may be the offer that was lost
            self._pump(outgoing)

    def _delivered(self, t: Moment, reason: str = "", arrived: bool = False) -> None:
        """Our value for ``t`` is on its way no more: it ``arrived``, or, for a reason, did not."""
        outgoing = self._sending.pop(t, None)
        if outgoing is not None:
            self.events.append(Delivered(t, outgoing.begun and not arrived))
            if self._sole == t:
                self._sole, self._settled = None, t
                self.events.append(Settled(t, None, reason))

    # --- receiving --------------------------------------------------------------------------------

    def _offered(self, offer: Offer, now: float) -> None:
        t = offer.t
        known = self._shelf[t]
        if t in self._used:
            self._say(Ack(t, 0, "whole"))  # our first acknowledgement was lost
        elif t <= self._settled or t < self.standing.at:  # settled, or never begun
            self._say(Ack(t, 0, "late"))
        elif t == self._refused:
            self._say(Ack(t, 0, "abort"))
        elif known is not None and known.offer == offer:  # again: say how far we are
            self._offered_again(known, now)
        elif not self._shelf.fits(offer):
            self._strike(t, f"it offered {offer.nbytes} bytes of '{offer.net}'")
        else:
            self._shelf.drop(t)  # its sender was started anew, and cuts the value otherwise
            if not self._shelf.accept(offer, t == self._open):
                self._say(Ack(t, 0, "wait"))
            elif self._lost:
                self._lost = False
                self._say(Nack(t, 0))

    def _offered_again(self, known: Incoming, now: float) -> None:
        """Say how far we are; ask for the rest where nothing came for a while before this offer.

        On a slow link an offer comes right behind the chunks that it had to wait for: what is
        behind it in turn is not lost, and asking for it would send it twice.
        """
        t, received = known.offer.t, known.received
        if known.is_whole():
            self._say(Ack(t, received, "whole"))
        elif now - known.moved_at >= self.timing.retry / 2:
            known.moved_at = now
            self._say(Nack(t, received))
        else:
            self._say(Ack(t, received, "more"))

    def _chunk(self, chunk: Chunk, body: memoryview | None, now: float) -> None:
        incoming = self._shelf[chunk.t]
        if incoming is None or incoming.is_whole() or chunk.index < incoming.received:
            return  # not wanted, or here already
        if chunk.index > incoming.received or body is None:
            self._ask_for_the_rest()
        elif not incoming.sound(chunk, body, self.checksum):
            self._corrupt(incoming, "a chunk of its value does not match its checksum")
        else:
            if hands_on := self._hands_on(incoming):
                self.events.append(Piece(chunk.t, incoming.end, body))
            incoming.take(body, now, keep=not hands_on)
            self.standing.alive(now, confirms=True)  # it goes on because it has our ACKs
            if not incoming.is_whole():
                self._say(Ack(chunk.t, incoming.received, "more"))
            else:
                fault = self._shelf.fault(incoming)
                if not fault:
                    self._verified(incoming)
                else:
                    incoming.start_again()
                    self._corrupt(incoming, f"its value has {fault} in it")

    def _gap(self) -> None:
        """The neighbour's sequence has a gap."""
        self.gaps += 1
        self._lost = True
        self._ask_for_the_rest()

    def _ask_for_the_rest(self) -> None:
        """Something was lost on the way: ask, once, for what is missing, from where it is."""
        for incoming in self._shelf:
            if not incoming.is_whole() and incoming.asked_from != incoming.received:
                incoming.asked_from = incoming.received
                self._say(Nack(incoming.offer.t, incoming.received))

    def _ask_where_it_is(self, now: float) -> None:
        """Ask for a value that does not come: the other end may never send it, or the rest of it.

        One that is on its way is offered again by its sender; only who has given it up, and could
        not tell us, does not. So there is no hurry: on a slow link a chunk may take long.
        """
        t = self._open
        if t is None or now < self._ask_at:
            return
        incoming = self._shelf[t]
        if incoming is None:
            self._ask_after = min(2 * self._ask_after, SLOWEST_RETRY)
            self._ask_at = now + self._ask_after
            self._say(Nack(t, 0))
        elif now - max(incoming.moved_at, self._began_at) >= SLOWEST_RETRY:
            incoming.moved_at = now
            self._say(Nack(t, incoming.received))

    def _corrupt(self, incoming: Incoming, what: str) -> None:
        """Ask once more; the second time, do without."""
        t = incoming.offer.t
        if not incoming.asked_again:
            incoming.asked_again = True
            self._say(Nack(t, incoming.received))
            return
        self._strike(t, what)

    def _strike(self, t: Moment, what: str) -> None:
        """A value that will not be averaged, whatever else comes; the third time, no more of it."""
        self._refused = t
        self._shelf.drop(t)
        self._say(Ack(t, 0, "abort"))
        self.strikes += 1
        if self._open == t:
            self._settle(what)
        if self.strikes >= STRIKES:
            self.standing.change(Phase.QUARANTINED, f"{what}, {self.strikes} times")
            self._end("it is quarantined")

    def _verified(self, incoming: Incoming) -> None:
        """The neighbour's value is here and sound. (VOTE and COMMIT will stand here.)"""
        self._say(Ack(incoming.offer.t, incoming.received, "whole"))
        self._use(incoming.offer.t)

    # --- settling ---------------------------------------------------------------------------------

    def _use(self, t: Moment) -> None:
        """Settle exchange ``t`` with the neighbour's value, once both are there."""
        incoming = self._shelf[t]
        if self._open != t or incoming is None or not incoming.is_whole():
            return
        if incoming.offer.net != self._net:
            self._strike(t, f"it sent '{incoming.offer.net}' where '{self._net}' is exchanged")
            return
        hands_on = self._hands_on(incoming)
        self._open, self._settled = None, t
        self._used.append(t)
        value = self._shelf.lend(t)
        self.events.append(Settled(t, None if hands_on else value))

    def _settle(self, reason: str) -> None:
        """Settle the open exchange without the neighbour, which is not to use our value either."""
        t, self._open, self._sole = self._open or self._sole, None, None
        if t is None:
            return
        self._settled = t
        self._shelf.drop(t)
        if t in self._sending:
            if self.phase is not Phase.UNKNOWN:
                self._say(Ack(t, 0, "abort"))
            self._delivered(t)
        self.events.append(Settled(t, None, reason))

    def _give_up_in_time(self, now: float) -> None:
        t = self._open or self._sole
        if t is not None:
            reason = self.standing.absent_for_good(now)
            if reason is not None:
                if t not in self._sending and self.phase is not Phase.UNKNOWN:
                    self._say(Ack(t, 0, "abort"))  # it has our value, and may not use it
                self._settle(reason)

    def _end(self, reason: str) -> None:
        """Nothing more will come on this link."""
        if self.phase in FINAL:
            self._shelf.clear()
        self._settle(reason)
        self.abandon()

"""A link's receiving half: the neighbour's values on their way here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peer.compute.compressed_combine import Coding
from peer.effects import BEFORE_ALL, Moment
from peer.net.exchange import Exchange, Piece, Unrecorded
from peer.net.transfer.checksum import Checksum
from peer.net.transfer.chunks import SLOWEST_RETRY, is_letter
from peer.net.transfer.incoming import Incoming
from peer.net.transfer.receive_buffers import ReceiveBuffers
from peer.net.wire import Ack, Chunk, Message, Nack, Offer


@dataclass(frozen=True)
class Whole:
    """The neighbour's value for ``t`` is here, whole and sound."""

    t: Moment


@dataclass(frozen=True)
class Unusable:
    """The neighbour's value for ``t`` will not be averaged, whatever else comes."""

    t: Moment
    what: str


class Receiver:
    """Takes offers and chunks, acknowledges them, and asks for what got lost.

    Args:
        sizes: bytes of each net's arena, by the net's name.
        coding: how nets are encoded on their way; None: as their arenas' floats.
        checksum: of every chunk.
        retry: seconds after which what does not come is asked for again.
        say: queues a message for the neighbour.
        tell: queues a piece of the value that is handed on as it comes.
        confirm: is told when a chunk shows that the neighbour gets our acknowledgements.
        records: a letter is on our disk before its sender is told that it is here.
        taken: the exchange of the last letter that a process of ours before this one took.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        coding: Coding | None,
        checksum: Checksum,
        retry: float,
        say: Callable[[Message], None],
        tell: Callable[[Piece], None],
        confirm: Callable[[float], None],
        records: bool = False,
        taken: Moment = BEFORE_ALL,
    ) -> None:
        self.records = records
        self.buffers = ReceiveBuffers(sizes, coding)
        self.checksum = checksum
        self.retry = retry
        self.refused: Moment | None = None  # an exchange whose value will not be averaged
        self._say = say
        self._tell = tell
        self._confirm = confirm
        # exchanges settled with the neighbour's value
        self._used: deque[Moment] = deque([taken] if taken > BEFORE_ALL else (), maxlen=4)
        self._has_lost = False  # something, perhaps an offer's chunks, since the last new offer

    # --- offers -----------------------------------------------------------------------------------

    def offered(self, offer: Offer, exchange: Exchange, now: float, sender: int) -> Unusable | None:
        """The neighbour's process of session ``sender`` offers a value."""
        t = offer.t
        self.buffers.sender = sender
        known = self.buffers[t]
        if t in self._used:
            self._say(Ack(t, 0, "whole"))  # our first acknowledgement was lost
        elif exchange.is_past(t):
            self._say(Ack(t, 0, "late"))
        elif t == self.refused:
            self._say(Ack(t, 0, "abort"))
        elif known is not None and (known.offer == offer or self._computed_again(known, offer)):
            self._offered_again(known, now)
        elif not self.buffers.fits(offer):
            return Unusable(t, f"it offered {offer.nbytes} bytes of '{offer.net}'")
        else:
            self.buffers.drop(t)  # its sender was started anew, and cuts the value otherwise
            if not self.buffers.accept(offer, exchange.awaits(t)):
                self._say(Ack(t, 0, "wait"))
            elif self._has_lost:
                self._has_lost = False
                self._say(Nack(t, 0))
        return None

    def _computed_again(self, known: Incoming, offer: Offer) -> bool:
        """Whether its sender, started anew, offers what is here, as far as one can tell."""
        sizes = [(each.net, each.nbytes, each.codec) for each in (known.offer, offer)]
        return self.records and known.is_whole() and sizes[0] == sizes[1]

    def _offered_again(self, known: Incoming, now: float) -> None:
        """Say how far we are; ask for the rest where nothing came for a while before this offer.

        On a slow link an offer comes right behind the chunks that it had to wait for: what is
        behind it in turn is not lost, and asking for it would send it twice.
        """
        t, received = known.offer.t, known.received
        if known.is_whole():
            self._say_that_it_is_here(known)
        elif now - known.moved_at >= self.retry / 2:
            known.moved_at = now
            self._say(Nack(t, received))
        else:
            self._say(Ack(t, received, "more"))

    # --- chunks -----------------------------------------------------------------------------------

    def chunk(
        self, chunk: Chunk, body: memoryview | None, exchange: Exchange, now: float
    ) -> Whole | Unusable | None:
        """A chunk of a value comes; what it means for the value, once that is known."""
        incoming = self.buffers[chunk.t]
        if incoming is None or incoming.is_whole():
            return None
        if chunk.index <= incoming.last:
            incoming.asked_from = -1  # what we asked for is sent again, and may be lost again
        incoming.last = chunk.index
        if chunk.index < incoming.received:
            return None  # it is here already
        if chunk.index > incoming.received or body is None:
            self._ask_for_the_rest(now)
            return None
        if not incoming.is_next(chunk, body, self.checksum):
            return self._corrupt(incoming, "a chunk of its value is not as it was sent")
        streams = self.streams(incoming, exchange)
        if streams:
            self._tell(Piece(chunk.t, incoming.end, body))
        incoming.add(body, now, keep=not streams)
        self._confirm(now)  # it goes on because it has our acknowledgements
        if not incoming.is_whole():
            self._say(Ack(chunk.t, incoming.received, "more"))
            return None
        fault = self.buffers.fault(incoming)
        if fault:
            incoming.start_again()
            return self._corrupt(incoming, f"its value has {fault} in it")
        self._say_that_it_is_here(incoming)
        return Whole(chunk.t)

    # --- the disk ---------------------------------------------------------------------------------

    def _say_that_it_is_here(self, incoming: Incoming) -> None:
        """All of it has come; a letter's sender forgets it once told so."""
        t = incoming.offer.t
        self._say(Ack(t, incoming.received, "more" if self.awaits_disk(t) else "whole"))

    def awaits_disk(self, t: Moment) -> bool:
        """Whether the value for ``t`` is a letter that has to be on our disk first, and is not."""
        incoming = self.buffers[t]
        if incoming is None or not self.records or not is_letter(incoming.offer.net):
            return False
        return not incoming.is_recorded

    def is_being_recorded(self, t: Moment) -> bool:
        """Whether the value for ``t`` is on its way to our disk."""
        incoming = self.buffers[t]
        return incoming is not None and incoming.is_written and not incoming.is_recorded

    def is_recorded(self, t: Moment) -> bool:
        """Whether the value for ``t`` is on our disk."""
        incoming = self.buffers[t]
        return incoming is not None and incoming.is_recorded

    def unrecorded(self, t: Moment) -> Unrecorded:
        """The value for ``t``, to be written."""
        incoming = self.buffers[t]
        assert incoming is not None
        incoming.is_written = True
        return Unrecorded(t, incoming.offer.net, incoming.buffer, incoming.sender)

    def recorded(self, t: Moment) -> None:
        """The value for ``t`` is on our disk."""
        incoming = self.buffers[t]
        if incoming is not None:
            was_awaited = self.awaits_disk(t)
            incoming.is_written, incoming.is_recorded = False, True
            if was_awaited:
                self._say_that_it_is_here(incoming)

    @staticmethod
    def streams(incoming: Incoming, exchange: Exchange) -> bool:
        """Whether its chunks are handed on as they come, and not kept."""
        offer = incoming.offer
        return exchange.streams(offer.t, offer.net) and incoming.is_of_floats()

    def _corrupt(self, incoming: Incoming, what: str) -> Unusable | None:
        """Ask once more; the second time, do without."""
        t = incoming.offer.t
        if incoming.asked_again:
            return Unusable(t, what)
        incoming.asked_again = True
        self._say(Nack(t, incoming.received))
        return None

    def refuse(self, t: Moment) -> None:
        """The value for ``t`` will not be averaged, and the neighbour is to know."""
        self.refused = t
        self.buffers.drop(t)
        self._say(Ack(t, 0, "abort"))

    # --- what does not come -----------------------------------------------------------------------

    def note_gap(self, now: float) -> None:
        """Something was lost on the way."""
        self._has_lost = True
        self._ask_for_the_rest(now)

    def _ask_for_the_rest(self, now: float) -> None:
        """Ask for what is missing of every value, from where it is; the same place not at once."""
        for incoming in self.buffers:
            if not incoming.is_whole() and incoming.asked_from != incoming.received:
                incoming.asked_from = incoming.received
                incoming.ask_after = self.retry
                incoming.ask_at = now + self.retry
                self._say(Nack(incoming.offer.t, incoming.received))

    def connected_anew(self, now: float) -> None:
        """A connection broke: what was on its way is lost, and perhaps what we asked for."""
        for incoming in self.buffers:
            incoming.asked_from = -1
            incoming.moved_at = max(incoming.moved_at, now)  # it is asked for here, not twice
        self.note_gap(now)

    def ask_again(self, now: float) -> None:
        """Ask again for what was lost and has not come: the question, or the answer, may be lost.

        Less and less often, as on a slow link the answer is behind all that is on its way.
        """
        for incoming in self.buffers:
            if now >= incoming.ask_at and not incoming.is_whole():
                incoming.ask_after = min(2 * incoming.ask_after, SLOWEST_RETRY)
                incoming.ask_at = now + incoming.ask_after
                self._say(Nack(incoming.offer.t, incoming.received))

    def ask_where_it_is(self, exchange: Exchange, now: float, their_at: Moment) -> None:
        """Ask for the awaited value if it does not come: it, or the rest of it, may never be sent.

        One that is on its way is offered again by its sender; only who has given it up, and could
        not tell us, does not. So there is no hurry: on a slow link a chunk may take long. It is
        otherwise where both ends have to agree, and the neighbour is past it (``their_at``).
        """
        t = exchange.t
        if not exchange.awaits(t) or now < exchange.ask_at:
            return
        incoming = self.buffers[t]
        is_given_up = exchange.is_mutual and their_at > t
        if incoming is not None:
            is_given_up = is_given_up and not incoming.is_whole()
            patience = exchange.ask_after if is_given_up else SLOWEST_RETRY
            if now - max(incoming.moved_at, exchange.began_at) < patience:
                return
            incoming.moved_at = now
        if incoming is None or is_given_up:
            exchange.ask_after = min(2 * exchange.ask_after, SLOWEST_RETRY)
            exchange.ask_at = now + exchange.ask_after
        self._say(Nack(t, 0 if incoming is None else incoming.received))

    # --- the exchange at hand ---------------------------------------------------------------------

    def begin(self, t: Moment) -> None:
        """Exchange ``t`` begins: nothing before it is wanted any more, and its value has room."""
        go_ahead = self.buffers.tidy(t)
        if go_ahead is not None:
            self._say(go_ahead)

    def stream(self, exchange: Exchange) -> Piece | None:
        """The awaited value is handed on from now on: what has come of it already, if anything."""
        incoming = self.buffers[exchange.t]
        if incoming is None or not incoming.received or not self.streams(incoming, exchange):
            return None
        return Piece(exchange.t, 0, incoming.buffer[: incoming.end])

    def lend(self, exchange: Exchange) -> memoryview | None:
        """The awaited value, whole and sound, to be used; None where it was handed on."""
        incoming = self.buffers[exchange.t]
        assert incoming is not None
        self._used.append(exchange.t)
        value = self.buffers.lend(exchange.t)
        return value if incoming.is_kept else None

    def forget(self, at: Moment, agrees: bool) -> None:
        """The neighbour was started anew: what has come in part will come otherwise.

        Where both ends agree on what they use, so will nets that came ahead of ``at``, the exchange
        at hand: what is used at one end must be what is used at the other. Letters will not, as the
        neighbour may go on behind them.
        """
        if not self.records:  # with a journal, it sends the same values again
            self._used.clear()
        self.buffers.drop_unfinished()
        if agrees and not self.records:
            self.buffers.drop_nets_after(at)

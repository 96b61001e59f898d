"""A link's sending half: our values on their way to the neighbour."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from peer.effects import Moment
from peer.net.exchange import Delivered
from peer.net.transfer.checksum import Checksum
from peer.net.transfer.chunks import Checksums, Payload, chunk_size
from peer.net.transfer.outgoing import Outgoing
from peer.net.wire import Ack, Message, Offer

Say = Callable[[Message, memoryview | None], None]


class Sender:
    """Offers values, sends their chunks as there is credit, and offers again what got lost.

    Args:
        retry: seconds without progress after which a value is offered again.
        checksum: of every chunk.
        say: queues a message for the neighbour, with its body.
    """

    def __init__(self, retry: float, checksum: Checksum, say: Say) -> None:
        self.retry = retry
        self.checksum = checksum
        self._say = say
        self._sending: dict[Moment, Outgoing] = {}
        self._arrived: deque[Moment] = deque(maxlen=4)  # exchanges for which it has our value
        self._speed = 0.0  # bytes a second, as last measured

    @property
    def idle(self) -> bool:
        """Whether nothing of ours is on its way."""
        return not self._sending

    @property
    def moments(self) -> list[Moment]:
        """The exchanges for which something is."""
        return list(self._sending)

    def owes(self, t: Moment) -> bool:
        """Whether our value for ``t`` is on its way."""
        return t in self._sending

    def has_offered(self, t: Moment) -> bool:
        """Whether our value for ``t`` is on its way, and the neighbour was told of it."""
        return t in self._sending and self._sending[t].is_offered

    def add(
        self,
        t: Moment,
        net: str,
        codec: str,
        payload: Payload,
        checksums: Checksums | None,
        epoch: int = 0,
    ) -> Outgoing:
        """A value that is to be sent; it is not offered yet."""
        offer = Offer(t, net, len(payload), chunk_size(self._speed), codec, epoch)
        self._sending[t] = Outgoing(offer, payload, self.retry, checksums)
        return self._sending[t]

    def offer(self, outgoing: Outgoing, now: float) -> None:
        """Offer a value, and send what there is credit for."""
        outgoing.offered(now)
        self._say(outgoing.offer, None)
        self._pump(outgoing)

    def offer_everything(self, now: float) -> None:
        """Whatever was on its way may be lost."""
        for outgoing in list(self._sending.values()):
            outgoing.begin_anew()
            self.offer(outgoing, now)

    def offer_what_is_due(self, now: float) -> None:
        """Offer again what has made no progress for a while."""
        for outgoing in self._sending.values():
            if now >= outgoing.retry_at:
                self.offer(outgoing, now)

    def resume(self) -> None:
        """More of a value that is being written is there."""
        for outgoing in self._sending.values():
            if outgoing.is_offered:
                self._pump(outgoing)

    def _pump(self, outgoing: Outgoing) -> None:
        for chunk, body in outgoing.chunks(self.checksum):
            self._say(chunk, body)

    # --- what the neighbour says of it ------------------------------------------------------------

    def make_room(self, ack: Ack, now: float) -> None:
        """The neighbour has some of a value, and room for more of it."""
        outgoing = self._sending.get(ack.t)
        if outgoing is not None:
            outgoing.acknowledge(ack.received, now)
            self._pump(outgoing)

    def hold(self, t: Moment) -> None:
        """The neighbour has no room for that value yet."""
        if t in self._sending:
            self._sending[t].waiting = True

    def arrived(self, t: Moment, now: float) -> None:
        """The neighbour has the whole value."""
        outgoing = self._sending.get(t)
        if outgoing is not None:
            self._speed = outgoing.speed(now)
            self._arrived.append(t)

    def keep(self, t: Moment) -> None:
        """It has the whole value; a process of it that is started anew will want it once more."""
        if t in self._sending:
            self._sending[t].keep()

    def keeps(self, t: Moment) -> bool:
        """Whether the neighbour has our value for ``t``, and it is kept all the same."""
        return t in self._sending and self._sending[t].is_kept

    def send_from(self, t: Moment, index: int, at: Moment, now: float) -> None:
        """The neighbour wants our value for ``t`` from chunk ``index``; we are at ``at``."""
        outgoing = self._sending.get(t)
        if outgoing is None:
            # Asked before our value arrived, it needs no answer: told "late", the neighbour would
            # withdraw its own value, which we may still await.
            if t <= at and t not in self._arrived:
                self._say(Ack(t, 0, "late"), None)
        elif index < outgoing.count:
            outgoing.go_back(index)
            if index == 0:
                outgoing.offered(now)
                self._say(outgoing.offer, None)  # it may be the offer that was lost
            self._pump(outgoing)

    # --- the end of it ----------------------------------------------------------------------------

    def remove(self, t: Moment, arrived: bool) -> Delivered | None:
        """Our value for ``t`` is on its way no more; what is to be told of it, if it was."""
        outgoing = self._sending.pop(t, None)
        return None if outgoing is None else Delivered(t, outgoing.begun and not arrived)

    def forget(self) -> None:
        """The neighbour was started anew: it has nothing of ours."""
        self._arrived.clear()
        for outgoing in self._sending.values():
            if outgoing.is_kept:
                outgoing.go_back(0)

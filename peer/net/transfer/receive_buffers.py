"""Memory for the values that a neighbour sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from peer.compute.compressed_combine import Coding
from peer.effects import Moment
from peer.machine.memory import aligned
from peer.net.transfer.chunks import FLOATS, LETTER, is_letter
from peer.net.transfer.incoming import Incoming
from peer.net.wire import CHUNK_SMALLEST, Ack, Offer

LETTER_LIMIT = 64 * 2**20
"""Bytes of a letter that are given room where the nets are small; else, four times the nets."""


@dataclass(frozen=True)
class Held:
    """A neighbour's ``value``, whole and sound, that came before this process began.

    It was offered as ``net``, by the process of session ``sender``.
    """

    net: str
    value: memoryview
    sender: int


class ReceiveBuffers:
    """Room for the neighbour's values: the exchange at hand, the next one, and no third.

    Args:
        sizes: bytes of each net's arena; nothing of another size is ever given room, but letters.
        coding: how arenas are encoded, and what sizes they have so; None: as their floats.

    Attributes:
        sender: the session of the neighbour's process that offers now.
    """

    ROOM = 2

    def __init__(self, sizes: Mapping[str, int], coding: Coding | None = None) -> None:
        self.sizes = dict(sizes)
        self.coding = coding
        self.sender = 0
        self._coming: dict[Moment, Incoming] = {}
        self._deferred: Offer | None = None
        self._spare: dict[tuple[str, int], list[memoryview]] = {}
        self._lent: Incoming | None = None

    def __getitem__(self, t: Moment) -> Incoming | None:
        return self._coming.get(t)

    def __iter__(self) -> Iterator[Incoming]:
        return iter(tuple(self._coming.values()))  # some are dropped meanwhile

    def fits(self, offer: Offer) -> bool:
        """Whether it is a value that we can use at all."""
        if offer.codec != self.codec_of(offer.net):
            return False
        if is_letter(offer.net):
            return offer.nbytes <= max(LETTER_LIMIT, 4 * sum(self.sizes.values()))
        if self.coding is not None:
            return self.coding.fits(offer.net, offer.nbytes)
        return self.sizes.get(offer.net) == offer.nbytes

    def codec_of(self, net: str) -> str:
        """How a value offered under that name is coded."""
        if is_letter(net):
            return LETTER
        return FLOATS if self.coding is None else self.coding.name

    def can_be_listened_to(self, net: str) -> bool:
        """Whether a value under that name is a net, so coded that one value says all of it."""
        return not is_letter(net) and (self.coding is None or self.coding.is_whole)

    def fault(self, incoming: Incoming) -> str:
        """What is wrong with a whole value, if anything: nothing unsound is ever used."""
        if self.coding is None or is_letter(incoming.offer.net):
            return incoming.fault()
        return self.coding.fault(incoming.offer.net, incoming.buffer)

    def accept(self, offer: Offer, at_hand: bool = False) -> bool:
        """Make room for an offered value; without room, remember the offer and return False.

        What is waited for (``at_hand``) always has room: a one-way sender may run two values ahead.
        """
        if len(self._coming) >= self.ROOM and not at_hand:
            self._deferred = offer
            return False
        if self._deferred is not None and self._deferred.t == offer.t:
            self._deferred = None  # offered again, it has room now, and is not to be asked for anew
        spare = self._spare.get((offer.net, offer.nbytes))  # a letter's reader keeps its memory
        buffer = spare.pop() if spare else aligned(offer.nbytes)
        self._coming[offer.t] = Incoming(offer, buffer, sender=self.sender)
        return True

    def has_whole(self, t: Moment) -> bool:
        """Whether the value for ``t`` is here, complete and sound."""
        return t in self._coming and self._coming[t].is_whole()

    def net_of(self, t: Moment) -> str:
        """Of which net the value for ``t`` is, where one is coming."""
        return self._coming[t].offer.net if t in self._coming else ""

    def epoch_of(self, t: Moment) -> int:
        """Of which epoch the sender of the value for ``t`` is, where one is coming."""
        return self._coming[t].offer.epoch if t in self._coming else 0

    def holds_letter(self, t: Moment) -> bool:
        """Whether the value for ``t`` is a letter, and some of it is here."""
        return is_letter(self.net_of(t))

    def sender_of(self, t: Moment) -> int:
        """The session of the process that sent the value for ``t``; 0 where none has come."""
        return self._coming[t].sender if t in self._coming else 0

    def put(self, t: Moment, net: str, value: memoryview, sender: int) -> None:
        """Have the value for ``t``, which came to a process of ours before this one."""
        offer = Offer(t, net, len(value), CHUNK_SMALLEST, self.codec_of(net))
        incoming = Incoming(offer, value, sender=sender, is_written=True, is_recorded=True)
        incoming.received = incoming.count
        self._coming[t] = incoming

    def lend(self, t: Moment) -> memoryview:
        """Hand out the value for ``t``; its memory is kept for it until :meth:`tidy`."""
        self._lent = self._coming.pop(t)
        return self._lent.buffer

    @property
    def lent_by(self) -> int | None:
        """The session of the process that sent what is lent; None where nothing is."""
        return None if self._lent is None else self._lent.sender

    def drop(self, t: Moment) -> None:
        """Forget what has come for ``t``."""
        incoming = self._coming.pop(t, None)
        if incoming is not None:
            self._keep(incoming)

    def _keep(self, incoming: Incoming) -> None:
        """An arena's memory is used again, unless it is being read."""
        offer = incoming.offer
        if not (is_letter(offer.net) or incoming.is_written):
            self._spare.setdefault((offer.net, offer.nbytes), []).append(incoming.buffer)

    def drop_unfinished(self) -> None:
        """Forget values of which only a part has come, and offers."""
        self._deferred = None
        for incoming in self:
            if not incoming.is_whole():
                self.drop(incoming.offer.t)

    def drop_nets_after(self, t: Moment) -> None:
        """Forget nets that have come for exchanges after ``t``."""
        for incoming in self:
            if incoming.offer.t > t and not is_letter(incoming.offer.net):
                self.drop(incoming.offer.t)

    def clear(self) -> None:
        """Forget everything that has come."""
        self._deferred = None
        for incoming in self:
            self.drop(incoming.offer.t)

    def tidy(self, begins: Moment) -> Ack | None:
        """An exchange begins: what was lent has been used, and nothing earlier is wanted any more.

        Its own value has room in any case. Returns the go-ahead for an offer that had been waiting
        for room, if there is one.
        """
        if self._lent is not None:
            self._keep(self._lent)
            self._lent = None
        for incoming in self:
            if incoming.offer.t < begins:
                self.drop(incoming.offer.t)
        offer, self._deferred = self._deferred, None
        if offer is None or offer.t < begins:
            return None
        return Ack(offer.t, 0, "more") if self.accept(offer, offer.t == begins) else None

"""Whom the exchange at hand waits for no more: who is slow, or silent while we are to stop.

Pure, as the endpoint whose part it is. How long to wait for whom is decided by
:class:`~peer.net.away.patience.Patience`; here is what it needs to be told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from peer.effects import BEFORE_ALL, Moment
from peer.net.away.patience import Patience
from peer.net.commands import Part
from peer.net.link import Link
from peer.net.transfer.chunks import is_letter

SILENT = 1.5
"""Seconds of silence after which a neighbour is in touch no more."""

FRESH = 0.2
"""Seconds for which it holds that a neighbour waits; it is asked twice as often."""


class Waits:
    """Looks whom an exchange still waits for.

    Args:
        links: one a neighbour.
        patience: with slow neighbours; None: who is in touch is waited for.
    """

    def __init__(self, links: Mapping[int, Link], patience: Patience | None) -> None:
        self.links = links
        self._patience = patience
        self._parts: Mapping[int, Part] = {}  # of the exchange at hand, or the last one
        self._offered = dict.fromkeys(links, BEFORE_ALL)  # the last value of each
        self._hurry_until = float("inf")  # to stop, we wait for nobody after that

    def begin(self, parts: Mapping[int, Part], now: float) -> None:
        """An exchange begins. A letter's only neighbour is waited for: nothing is left without."""
        self._parts = parts
        if self._patience is not None and parts:
            kind = next(iter(parts.values())).net
            is_all = len(parts) == 1 and is_letter(kind)
            self._patience.begin(kind, {k: part.t for k, part in parts.items()}, now, is_all)
            for neighbour in parts:
                self.links[neighbour].session.is_watched = True

    def offered(self, neighbour: int, t: Moment) -> None:
        """The neighbour's value for ``t`` is on its way."""
        self._offered[neighbour] = t

    def settled(self, neighbour: int, reason: str, now: float) -> None:
        """The neighbour's part is settled; without it, if for a ``reason``."""
        if self._patience is not None:
            self.links[neighbour].session.is_watched = False
            if reason:
                self._patience.without(neighbour, now)
            else:
                self._patience.come(neighbour, now, self._parts[neighbour].wants)

    def end(self, now: float) -> None:
        """The exchange is over: neighbours are to know that we wait in it for nobody."""
        for neighbour, part in self._parts.items():
            session = self.links[neighbour].session
            session.done = part.t
            if self._patience is not None:
                session.tell(now)
        if self._patience is not None and self._parts:
            self._patience.end(now)

    def meet(self, neighbour: int, now: float) -> None:
        """There is another neighbour."""
        if self._patience is not None:
            self._patience.meet(neighbour, now)

    def hurry(self, until: float) -> None:
        """Let no exchange wait after that, nor for who is silent."""
        self._hurry_until = until

    def given_up(self, outstanding: Collection[int], now: float) -> Iterator[tuple[int, str]]:
        """Whom to wait for no more, and why, among those that are outstanding."""
        if self._hurry_until < float("inf"):
            for neighbour in outstanding:
                if now >= self._hurry_until or not self._is_in_touch(neighbour, now):
                    yield neighbour, "we are stopping"
        elif self._patience is not None and self._is_patience_over(
            self._patience, outstanding, now
        ):
            yield from [(k, "it takes much longer than others") for k in outstanding]

    def skip_time(self, seconds: float) -> None:
        """Our own loop stood still for so long: the time was not the neighbours'."""
        if self._patience is not None:
            self._patience.skip_time(seconds)

    def _is_patience_over(
        self, patience: Patience, outstanding: Collection[int], now: float
    ) -> bool:
        """Whether slow neighbours alone are outstanding, and have been waited for long enough.

        A neighbour that is in touch is no slow one where its value is on its way, or where it is
        still in the exchange before, which it had begun: then it waits for somebody else.
        """
        for k in outstanding:
            if not self._is_in_touch(k, now):
                continue
            part = self._parts[k]
            if part.wants and self._offered.get(k) == part.t:
                patience.come(k, now)
            elif self.links[k].session.their_at == patience.came_to(k):
                silence = self.links[k].session.detector.silence(now)
                patience.excuse(k, now - max(0.0, silence - FRESH))
        return patience.is_over(outstanding, now)

    def _is_in_touch(self, neighbour: int, now: float) -> bool:
        return self.links[neighbour].session.detector.silence(now) < SILENT

"""How the exchange at hand ends, at one end of a link: with the neighbour's value, or without it.

A value that is here is used at once, unless both ends have to agree on that
(:mod:`peer.net.settling.commit`). Whoever does without says "abort", and the other drops what it
has not used yet; who has voted cannot, and leaves the exchange in doubt.
"""

from __future__ import annotations

from collections.abc import Callable

from peer.effects import Moment
from peer.net.exchange import Cause, Decided, Delivered, Exchange, Settled, State
from peer.net.session import Phase, Session
from peer.net.settling.commit import Commit
from peer.net.transfer.receiver import Receiver
from peer.net.transfer.sender import Sender
from peer.net.wire import Ack, Message

GAVE_UP = "it gave this exchange up"

Tell = Callable[[Settled | Delivered | Decided], None]


class Settlement:
    """The exchange at hand on a link, and what ends it.

    Args:
        session: with the neighbour.
        sender: of our values.
        receiver: of the neighbour's.
        commit: our part in agreeing on their use.
        say: queues a message for the neighbour.
        tell: queues an event for the endpoint.

    Attributes:
        exchange: the one at hand.
    """

    def __init__(
        self,
        session: Session,
        sender: Sender,
        receiver: Receiver,
        commit: Commit,
        say: Callable[[Message], None],
        tell: Tell,
    ) -> None:
        self.exchange = Exchange()
        self.session = session
        self.sender = sender
        self.receiver = receiver
        self.commit = commit
        self._say = say
        self._tell = tell

    # --- with the neighbour's value ---------------------------------------------------------------

    def use(self, t: Moment, now: float) -> str:
        """Settle exchange ``t`` with the neighbour's value, once both are there.

        Returns what is wrong with the value, if it is of another net than what is exchanged.
        """
        if not self.exchange.awaits(t) or not self.receiver.buffers.has_whole(t):
            return ""
        offered = self.receiver.buffers.net_of(t)
        if offered != self.exchange.net:
            return f"it sent '{offered}' where '{self.exchange.net}' is exchanged"
        if not self.exchange.is_mutual:
            self._with_value()
        elif self.commit.agreed(t, self.session.number or 0, now):
            # It voted, so it has our value. Were that offered again to a process that takes its
            # place, that one would ask, hear that it was used, and use another value of its own.
            self.sender.arrived(t, now)
            self.end_sending(t, arrived=True)
            self._with_value()
        elif not self.exchange.holds(t):
            self.exchange.advance(Cause.HOLD)
        return ""

    def decided(self, t: Moment, is_used: bool) -> None:
        """The neighbour says whether both use what they swapped at ``t``."""
        self.commit.decided(t, is_used)
        if self.is_bound and self.exchange.t == t:
            self.end_sending(t, arrived=is_used)
            self._with_value() if is_used else self.without_value(GAVE_UP)
        elif not is_used:
            self.undone(t, GAVE_UP)
            self.receiver.buffers.drop(t)  # its own value is not to be used either

    def _with_value(self) -> None:
        value = self.receiver.lend(self.exchange)
        self.exchange.advance(Cause.VALUE)
        self.session.are_apart = False
        self._tell(Settled(self.exchange.t, value, sender=self.receiver.buffers.lent_by))

    # --- without it -------------------------------------------------------------------------------

    @property
    def is_bound(self) -> bool:
        """Whether we have voted: the neighbour alone decides on the exchange at hand."""
        t = self.exchange.t
        is_held = self.exchange.holds(t) and self.receiver.buffers.has_whole(t)
        return is_held and not self.commit.decides

    def do_without(self, reason: str) -> None:
        """Settle the exchange without the neighbour, which is not to use our value either."""
        if self.exchange.is_settled:
            return
        if self.is_bound:
            self._leave_in_doubt(reason)
            return
        t = self.exchange.t
        owes = self.sender.owes(t)
        if owes:
            self.tell_that_we_gave_up(t)
        self.without_value(reason)
        if owes:
            self.end_sending(t)

    def _leave_in_doubt(self, reason: str) -> None:
        """Go on without knowing whether the neighbour uses our value; its own is held apart."""
        t = self.exchange.t
        value = self.receiver.lend(self.exchange)
        self.commit.doubt = t
        self.exchange.advance(Cause.WITHOUT)
        self.session.are_apart = True
        self._tell(Settled(t, value, reason, in_doubt=True))

    def without_value(self, reason: str) -> None:
        """Settle the exchange without the neighbour's value; ours may still be on its way."""
        t = self.exchange.t
        self.exchange.advance(Cause.WITHOUT)
        self.session.are_apart = True
        self.receiver.buffers.drop(t)
        self._tell(Settled(t, None, reason))

    def give_up(self, reason: str) -> None:
        """Wait no more, in the exchange at hand, for this neighbour."""
        if self.exchange.is_settled:
            return
        if not (self.sender.owes(self.exchange.t) or self.is_bound):
            self.tell_that_we_gave_up(self.exchange.t)  # it has our value, and may not use it
        self.do_without(reason)

    def give_up_in_time(self, now: float) -> None:
        """Wait no more for a neighbour that is away, left behind, or past the exchange."""
        if self.exchange.is_settled:
            return
        t = self.exchange.t
        reason = self.session.absent_for_good(now) or self.session.left_behind(t)
        if not reason and self.exchange.holds(t) and self.session.their_at > t:
            reason = "" if self.is_bound else "it went on without us"  # and its vote never came
        if reason:
            self.give_up(reason)

    def undone(self, t: Moment, reason: str) -> None:
        """The neighbour will not take our value for ``t``, nor send its own."""
        self.end_sending(t, reason)
        if self.exchange.awaits(t) and not self.is_bound:  # if we are, it has to say so
            self.do_without(reason)

    def restarted(self) -> None:
        """The neighbour was started anew: a value that we hold, and decide on, is of the past."""
        self.commit.restarted()
        if self.exchange.can(Cause.RESTART) and not self.is_bound:
            self.receiver.buffers.drop(self.exchange.t)
            self.exchange.advance(Cause.RESTART)
        self.exchange.restarts += 1

    # --- our own value ----------------------------------------------------------------------------

    def tell_that_we_gave_up(self, t: Moment) -> None:
        """Say that we do without the neighbour's value, and that ours is not to be used."""
        if self.session.phase is not Phase.UNKNOWN:
            self._say(Ack(t, 0, "abort"))

    def end_sending(self, t: Moment, reason: str = "", arrived: bool = False) -> None:
        """Our value for ``t`` is on its way no more: it ``arrived``, or, for a reason, did not."""
        delivered = self.sender.remove(t, arrived)
        if delivered is not None:
            self._tell(delivered)
            if self.exchange.t == t and self.exchange.state is State.SENDING:
                self.exchange.advance(Cause.DELIVERED)
                self.session.are_apart = not arrived
                self._tell(Settled(t, None, reason))

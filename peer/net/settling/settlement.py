"""How the exchange at hand ends, at one end of a link: with the neighbour's value, or without it.

A value that is here is used at once, unless both ends have to agree on that
(:mod:`peer.net.settling.commit`). Whoever does without says "abort", and the other drops what it
has not used yet; who has voted cannot, and leaves the exchange in doubt.
"""

from __future__ import annotations

from collections.abc import Callable

from peer.effects import Moment
from peer.net.exchange import (
    Cause,
    Decided,
    Delivered,
    Exchange,
    Settled,
    State,
    Unrecorded,
)
from peer.net.session import Phase, Session
from peer.net.settling.commit import Commit
from peer.net.transfer.chunks import is_letter
from peer.net.transfer.receiver import Receiver
from peer.net.transfer.sender import Sender
from peer.net.wire import Ack, Message

GAVE_UP = "it gave this exchange up"
UNHEARD = "one of us has not heard yet who takes part"

Tell = Callable[[Settled | Delivered | Decided | Unrecorded], None]


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
        if self.receiver.buffers.epoch_of(t) != self.exchange.epoch:
            self.give_up(UNHEARD)  # weights of two graphs would not be those of both ends
            return ""
        if self.receiver.awaits_disk(t):
            return ""
        if not self.exchange.is_mutual:
            self._with_value()
            return ""
        if self.commit.agreed(t, self.receiver.buffers.sender_of(t), now):
            # It voted, so it has our value. Were that offered again to a process that takes its
            # place, that one would ask, hear that it was used, and use another value of its own.
            self.sender.arrived(t, now)
            self.end_sending(t, arrived=True)
            self._with_value()
            return ""
        if not self.exchange.holds(t):
            self.exchange.advance(Cause.HOLD)
        if self.commit.is_to_be_written(t):
            self._tell(self.receiver.unrecorded(t))
        return ""

    def recorded(self, t: Moment, now: float) -> None:
        """The neighbour's value for ``t``, which both ends have to agree on, is on the disk."""
        self.commit.recorded = t
        if self.exchange.holds(t):
            self.use(t, now)

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
        if is_letter(self.exchange.net):
            self.commit.taken = self.exchange.t
        self.exchange.advance(Cause.VALUE)
        self.session.are_apart = False
        self._let_go()
        self._tell(Settled(self.exchange.t, value, sender=self.receiver.buffers.lent_by))

    def _let_go(self) -> None:
        """Our value was kept for a neighbour that has it; now it is used, or will not be."""
        if self.sender.keeps(self.exchange.t):
            self.end_sending(self.exchange.t, arrived=True)

    # --- without it -------------------------------------------------------------------------------

    def why_not(self, t: Moment, farewell: str, is_waited_for: bool) -> str:
        """Why the neighbour is done without from the beginning of ``t``, if it is.

        ``farewell``: what became of it, where it has left. ``is_waited_for``: though it cannot be
        reached.
        """
        if self.receiver.refused == t:
            return "its value is not to be used"
        buffers = self.receiver.buffers
        is_letter_here = buffers.holds_letter(t) and buffers.has_whole(t)  # its sender was told so
        if self.commit.doubt is not None and not is_letter_here:
            return f"what was swapped in round {self.commit.doubt.round + 1} is in doubt"
        phase = self.session.phase
        is_awaited = self.session.reachable or is_waited_for
        if not is_awaited and not self.receiver.buffers.has_whole(t):
            return farewell if phase is Phase.LEFT else f"it is {phase.value}"
        return self.session.left_behind(t)

    @property
    def is_bound(self) -> bool:
        """Whether we have voted: the neighbour alone decides on the exchange at hand."""
        t = self.exchange.t
        is_held = self.exchange.holds(t) and self.receiver.buffers.has_whole(t)
        return is_held and not self.commit.decides

    @property
    def waits_for_disk(self) -> bool:
        """Whether we have decided to use both values, and it only has to be written."""
        return self.exchange.is_mutual and self.commit.has_decided(self.exchange.t)

    def do_without(self, reason: str) -> None:
        """Settle the exchange without the neighbour, which is not to use our value either."""
        if self.exchange.is_settled or self.waits_for_disk:
            return
        if self.is_bound:
            self._leave_in_doubt(reason)
            return
        t = self.exchange.t
        owes = self.sender.owes(t)
        if self.exchange.is_conserved and self.sender.has_offered(t):
            self._leave_letter_in_doubt(reason)
            return
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
        sender = self.receiver.buffers.lent_by
        self._let_go()
        self._tell(Settled(t, value, reason, in_doubt=True, sender=sender))

    def _leave_letter_in_doubt(self, reason: str) -> None:
        """Go on without knowing whether the neighbour takes our letter."""
        t = self.exchange.t
        self.commit.doubt_letter(t)
        self.exchange.advance(Cause.WITHOUT)
        self.session.are_apart = True
        self.end_sending(t)
        self._tell(Settled(t, None, reason, in_doubt=True))

    def asked(self, t: Moment, session: int, now: float) -> None:
        """The neighbour votes, or asks what became of ``t``; ``session``: whose value it is of.

        Who asks for a letter has given it up: one that is not taken by now, nor written to be
        taken, never is.
        """
        if self.receiver.buffers.holds_letter(t) or (
            self.exchange.awaits(t) and is_letter(self.exchange.net)
        ):
            if self.receiver.is_being_recorded(t):
                return  # it asks again
            if self.receiver.is_recorded(t):
                self._say(Ack(t, 0, "commit"))
                return
            self.receiver.refuse(t)
            if self.exchange.awaits(t):
                self.do_without(GAVE_UP)
            return
        self.commit.voted(t, self.exchange, session == self.session.me.session, session)
        self.use(t, now)

    def without_value(self, reason: str) -> None:
        """Settle the exchange without the neighbour's value; ours may still be on its way."""
        t = self.exchange.t
        self.exchange.advance(Cause.WITHOUT)
        self.session.are_apart = True
        self._let_go()
        self.receiver.buffers.drop(t)
        self._tell(Settled(t, None, reason))

    def give_up(self, reason: str) -> None:
        """Wait no more, in the exchange at hand, for this neighbour."""
        if self.exchange.is_settled or self.waits_for_disk:
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
        if self.exchange.can(Cause.RESTART) and not (self.is_bound or self.waits_for_disk):
            self.receiver.buffers.drop(self.exchange.t)
            self.exchange.advance(Cause.RESTART)
        self.exchange.restarts += 1

    # --- our own value ----------------------------------------------------------------------------

    def acknowledged(self, ack: Ack, now: float) -> None:
        """The neighbour says what it has of our value, or what becomes of both."""
        match ack.verdict:
            case "more":
                self.sender.make_room(ack, now)
            case "wait":
                self.sender.hold(ack.t)
            case "whole":
                self.sender.arrived(ack.t, now)
                if self.commit.records and self.exchange.is_mutual and self.exchange.awaits(ack.t):
                    self.sender.keep(ack.t)  # for another process of it, until this one uses it
                else:
                    self.end_sending(ack.t, arrived=True)
            case "late":
                self.undone(ack.t, "it went on without us")
            case "abort" | "commit":
                self.decided(ack.t, ack.verdict == "commit")

    def tell_that_we_gave_up(self, t: Moment) -> None:
        """Say that we do without the neighbour's value, and that ours is not to be used."""
        if self.session.phase is not Phase.UNKNOWN:
            self._say(Ack(t, 0, "abort"))

    def abandon(self) -> None:
        """Stop sending what is still on its way."""
        for t in self.sender.moments:
            self.end_sending(t, f"it is {self.session.phase.value}")

    def end_sending(self, t: Moment, reason: str = "", arrived: bool = False) -> None:
        """Our value for ``t`` is on its way no more: it ``arrived``, or, for a reason, did not."""
        delivered = self.sender.remove(t, arrived)
        if delivered is not None:
            self._tell(delivered)
            if self.exchange.t == t and self.exchange.state is State.SENDING:
                self.exchange.advance(Cause.DELIVERED)
                self.session.are_apart = not arrived
                self._tell(Settled(t, None, reason))

"""Whether both ends of a link use what they swap, or neither: a two-party commit.

The end of the lower id decides; the other one votes. The voter, once it holds the decider's value,
says VOTE, and from then on cannot decide by itself. The decider, once it holds the voter's value
and its vote, uses both and says so (ACK ``commit``); where it gives up before, nobody uses anything
(ACK ``abort``). A voter that hears neither before its patience ends goes on *in doubt*: it keeps
the value apart, begins no other exchange on the link, and asks again by the same VOTE until it is
answered. A vote names the process whose value is held: to a decider that was started anew since, it
is a question, and no vote. The decider remembers the last exchange that was used; every other one
that is over was not (*presumed abort*: Mohan, Lindsay and Obermarck, ACM TODS 11(4), 1986,
doi:10.1145/7239.7266).

So one end's transfer is the other's, with the opposite sign, whatever the network loses: the
network's mean does not move.

With a journal (``durability: exact``) the other end's value is on the disk before either says so:
the voter's before its vote, the decider's before it uses both. A decider that was started anew
computes the same values again; so a vote for those of its former processes counts, and is left
without an answer until it gets there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peer.effects import BEFORE_ALL, Moment
from peer.net.exchange import Decided, Exchange
from peer.net.wire import Ack, Message, Vote


@dataclass(frozen=True)
class Past:
    """What this end's state, and its journal, say of the link.

    Attributes:
        used: the last exchange that both ends used.
        doubt: the exchange whose value is held apart, if there is one.
        taken: the exchange of the last letter that was taken.
        former: our own former sessions whose values this process computes again.
    """

    used: Moment = BEFORE_ALL
    doubt: Moment | None = None
    taken: Moment = BEFORE_ALL
    former: frozenset[int] = frozenset()


class Commit:
    """One end's part in the agreement on a link.

    Args:
        decides: this end decides.
        retry: seconds after which an unanswered vote is repeated.
        say: queues a message for the neighbour.
        tell: queues an event for the endpoint.
        past: what this end's state says of the link.
        records: what is agreed on has to be on the disk first.

    Attributes:
        doubt: the exchange that the neighbour has decided, and we do not know how.
        recorded: the last exchange for which the neighbour's value is on the disk.
        taken: the exchange of the last letter that was taken.
        told: the exchange that we, who decide, have used last; the neighbour may not know yet.
    """

    def __init__(
        self,
        decides: bool,
        retry: float,
        say: Callable[[Message], None],
        tell: Callable[[Decided], None],
        past: Past = Past(),
        records: bool = False,
    ) -> None:
        self.records = records
        self.recorded = past.doubt or BEFORE_ALL
        self.decides = decides
        self.retry = retry
        self.doubt = past.doubt
        self.taken = past.taken
        self._used = past.used
        self.told = BEFORE_ALL
        self._voted: Moment | None = None  # the neighbour, if we decide
        self._held_of = 0  # the session of the value that we voted for
        self._asked_at = float("-inf")
        self._writing = BEFORE_ALL  # for which the neighbour's value is being written
        self._former = past.former
        self._say = say
        self._tell = tell

    # --- the decider ------------------------------------------------------------------------------

    def voted(self, t: Moment, exchange: Exchange, is_of_us: bool, session: int = 0) -> None:
        """The neighbour votes for ``t``, or asks again what became of it.

        ``is_of_us``: what it holds is this process's value, and not one of another ``session``. A
        former one's is not used any more; who is not told so waits for ever, and we for its vote.
        """
        if t == self.taken or not self.decides:  # a letter's sender asks
            self._say(Ack(t, 0, "commit" if t == self.taken else "abort"))
            return
        computes_it_again = session in self._former
        if exchange.t == t and not exchange.is_settled and (is_of_us or computes_it_again):
            self._voted = t
        elif not (computes_it_again and t > exchange.t and t != self._used):
            self._say(Ack(t, 0, "commit" if t == self._used else "abort"))

    def agreed(self, t: Moment, session: int, now: float) -> bool:
        """Our value is there, or will be, and the neighbour's is here: whether both are used now.

        The decider decides; the voter votes, and is told. ``session`` sent the neighbour's.
        """
        if not self.decides:
            self._held_of = session
            if not self.awaits_disk(t):
                self.ask(t, now)
            return False
        if self.awaits_disk(t) or (self._voted != t and not (self.records and self.recorded == t)):
            return False
        self._used = self.told = t
        self._say(Ack(t, 0, "commit"))
        return True

    # --- the disk ---------------------------------------------------------------------------------

    def awaits_disk(self, t: Moment) -> bool:
        """Whether the neighbour's value for ``t`` has to be on the disk first, and is not."""
        return self.records and self.recorded != t

    def is_to_be_written(self, t: Moment) -> bool:
        """Whether it is to be written now, which is told once: a decider has the vote first."""
        is_time = self.awaits_disk(t) and self._writing != t
        if is_time and (self._voted == t or not self.decides):
            self._writing = t
            return True
        return False

    def has_decided(self, t: Moment) -> bool:
        """Whether we, who decide, have decided to use both, though it may not be said yet."""
        return self.decides and self.records and t in (self._writing, self.recorded)

    # --- the voter --------------------------------------------------------------------------------

    def ask(self, t: Moment, now: float) -> None:
        """Vote, or vote again."""
        self._asked_at = now
        self._say(Vote(t, self._held_of))

    def ask_again(self, exchange: Exchange, now: float) -> None:
        """Repeat a vote that has been without an answer for a while."""
        t = self.doubt or (exchange.t if exchange.holds(exchange.t) else None)
        if t is None or (self.decides and t != self.doubt) or self.awaits_disk(t):
            return
        if now - self._asked_at >= self.retry:
            self.ask(t, now)

    def decided(self, t: Moment, is_used: bool) -> None:
        """The neighbour says what became of an exchange, perhaps of the one in doubt."""
        if t == self.doubt:
            self.doubt = None
            self._tell(Decided(t, is_used))

    # --- a letter's sender ------------------------------------------------------------------------

    def doubt_letter(self, t: Moment) -> None:
        """The neighbour may have taken our letter, or may not: ask it, at once."""
        self.doubt = self.recorded = t
        self.reconnected()

    # --- both -------------------------------------------------------------------------------------

    def reconnected(self) -> None:
        """What we asked may be lost: ask at once."""
        self._asked_at = float("-inf")

    def restarted(self) -> None:
        """The neighbour was started anew: its vote was its former process's."""
        self._voted, self.told = None, BEFORE_ALL

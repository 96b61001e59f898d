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
"""

from __future__ import annotations

from collections.abc import Callable

from peer.effects import BEFORE_ALL, Moment
from peer.net.exchange import Decided, Exchange
from peer.net.wire import Ack, Message, Vote


class Commit:
    """One end's part in the agreement on a link.

    Args:
        decides: this end decides.
        retry: seconds after which an unanswered vote is repeated.
        say: queues a message for the neighbour.
        tell: queues an event for the endpoint.
        used: the last exchange that both ends used, as far as this end's state goes back.
        doubt: the exchange that this end's state holds apart; None: there is none.

    Attributes:
        doubt: the exchange that the neighbour has decided, and we do not know how.
    """

    def __init__(
        self,
        decides: bool,
        retry: float,
        say: Callable[[Message], None],
        tell: Callable[[Decided], None],
        used: Moment = BEFORE_ALL,
        doubt: Moment | None = None,
    ) -> None:
        self.decides = decides
        self.retry = retry
        self.doubt = doubt
        self._used = used
        self._voted: Moment | None = None  # the neighbour, if we decide
        self._held_of = 0  # the session of the value that we voted for
        self._asked_at = float("-inf")
        self._say = say
        self._tell = tell

    # --- the decider ------------------------------------------------------------------------------

    def voted(self, t: Moment, exchange: Exchange, is_of_us: bool) -> None:
        """The neighbour votes for ``t``, or asks again what became of it.

        ``is_of_us``: what it holds is this process's value, and not a former one's. A former one's
        is not used any more; who is not told so waits for ever, and we for its vote.
        """
        if not self.decides:
            return
        if exchange.t == t and not exchange.is_settled and is_of_us:
            self._voted = t
        else:
            self._say(Ack(t, 0, "commit" if t == self._used else "abort"))

    def agreed(self, t: Moment, session: int, now: float) -> bool:
        """Our value is there, or will be, and the neighbour's is here: whether both are used now.

        The decider decides; the voter votes, and is told. ``session`` is the neighbour's.
        """
        if not self.decides:
            self._held_of = session
            self.ask(t, now)
            return False
        if self._voted != t:
            return False
        self._used = t
        self._say(Ack(t, 0, "commit"))
        return True

    # --- the voter --------------------------------------------------------------------------------

    def ask(self, t: Moment, now: float) -> None:
        """Vote, or vote again."""
        self._asked_at = now
        self._say(Vote(t, self._held_of))

    def ask_again(self, exchange: Exchange, now: float) -> None:
        """Repeat a vote that has been without an answer for a while."""
        t = self.doubt or (exchange.t if exchange.holds(exchange.t) else None)
        if t is not None and not self.decides and now - self._asked_at >= self.retry:
            self.ask(t, now)

    def decided(self, t: Moment, is_used: bool) -> None:
        """The neighbour says what became of an exchange, perhaps of the one in doubt."""
        if t == self.doubt:
            self.doubt = None
            self._tell(Decided(t, is_used))

    # --- both -------------------------------------------------------------------------------------

    def reconnected(self) -> None:
        """What we asked may be lost: ask at once."""
        self._asked_at = float("-inf")

    def restarted(self) -> None:
        """The neighbour was started anew: its vote was its former process's."""
        self._voted = None

"""One exchange on a link, as a value with named states.

At one end of a link, the exchange at hand is in one of these states:

=========  =====================================================================================
AWAITING   the neighbour's value is awaited (ours, if we send one, may be on its way, too)
STREAMING  the same, and what comes of that value is handed on piece by piece
HOLDING    that value is here; whether both ends use what they swap is not decided yet
SENDING    we want nothing in return, and wait until our value is there
SETTLED    nothing more is waited for: the next exchange may begin
=========  =====================================================================================

What changes the state, and to which. In an empty place, BEGIN and BEGIN_ONE_WAY are the caller's
fault, and the others change nothing:

=========  =========  =========  =========  =========  =========  =========  =========  ========
state      BEGIN      BEGIN_     STREAM     HOLD       VALUE      DELIVERED  RESTART    WITHOUT
                      ONE_WAY
=========  =========  =========  =========  =========  =========  =========  =========  ========
AWAITING                         STREAMING  HOLDING    SETTLED                          SETTLED
STREAMING                        STREAMING  HOLDING    SETTLED                          SETTLED
HOLDING                                     HOLDING    SETTLED               AWAITING   SETTLED
SENDING                                                           SETTLED               SETTLED
SETTLED    AWAITING   SENDING
=========  =========  =========  =========  =========  =========  =========  =========  ========

:data:`TRANSITIONS` is this table for the program; a test holds the two, and the link, together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from peer.effects import BEFORE_ALL, Moment


class State(Enum):
    """Where an exchange stands, at one end of a link."""

    __hash__ = object.__hash__  # looked up all the time; an Enum's own is of its name, in Python

    AWAITING = auto()
    STREAMING = auto()
    HOLDING = auto()
    SENDING = auto()
    SETTLED = auto()


class Cause(Enum):
    """What changes an exchange's state."""

    __hash__ = object.__hash__

    BEGIN = auto()  # the next exchange begins, and the neighbour's value is wanted
    BEGIN_ONE_WAY = auto()  # the next exchange begins, and only we send
    STREAM = auto()  # the value may be handed on as it comes
    HOLD = auto()  # the neighbour's value is here; both ends have to agree on using them
    VALUE = auto()  # the neighbour's value, whole and sound, is to be used
    DELIVERED = auto()  # our value is on its way no more: it is there, or it is not wanted
    RESTART = auto()  # the neighbour, which votes, was started anew: what we hold is of the past
    WITHOUT = auto()  # the neighbour is done without


TRANSITIONS: dict[State, dict[Cause, State]] = {
    State.AWAITING: {
        Cause.STREAM: State.STREAMING,
        Cause.HOLD: State.HOLDING,
        Cause.VALUE: State.SETTLED,
        Cause.WITHOUT: State.SETTLED,
    },
    State.STREAMING: {
        Cause.STREAM: State.STREAMING,
        Cause.HOLD: State.HOLDING,
        Cause.VALUE: State.SETTLED,
        Cause.WITHOUT: State.SETTLED,
    },
    State.HOLDING: {
        Cause.HOLD: State.HOLDING,
        Cause.VALUE: State.SETTLED,
        Cause.RESTART: State.AWAITING,
        Cause.WITHOUT: State.SETTLED,
    },
    State.SENDING: {
        Cause.DELIVERED: State.SETTLED,
        Cause.WITHOUT: State.SETTLED,
    },
    State.SETTLED: {
        Cause.BEGIN: State.AWAITING,
        Cause.BEGIN_ONE_WAY: State.SENDING,
    },
}


@dataclass(slots=True)
class Exchange:
    """The exchange at hand on a link, at one end.

    Attributes:
        t: which one it is.
        net: the name of the value that is swapped.
        state: where it stands.
        is_mutual: both ends use what they swap, or neither does.
        is_conserved: we only send, and have to know whether the neighbour takes it.
        began_at: when it began.
        ask_at: when to ask for the neighbour's value, if no offer of it has come.
        ask_after: seconds until that question is repeated.
        restarts: how often the neighbour was started anew meanwhile.
        epoch: of who takes part in this round, as we know it; the neighbour must know the same.
    """

    t: Moment = BEFORE_ALL
    net: str = ""
    state: State = State.SETTLED
    is_mutual: bool = False
    is_conserved: bool = False
    began_at: float = 0.0
    ask_at: float = 0.0
    ask_after: float = 0.0
    restarts: int = 0
    epoch: int = 0

    def next(
        self,
        t: Moment,
        net: str,
        wants: bool,
        now: float,
        ask_after: float,
        retry: float,
        is_mutual: bool = False,
        epoch: int = 0,
        is_conserved: bool = False,
    ) -> Exchange:
        """The exchange that follows this settled one: both ways, unless we want nothing back.

        Its value is asked for ``ask_after`` seconds from ``now``, then every ``retry``, doubling.
        """
        state = TRANSITIONS[self.state][Cause.BEGIN if wants else Cause.BEGIN_ONE_WAY]
        flags = is_mutual, is_conserved
        return Exchange(t, net, state, *flags, now, now + ask_after, retry, epoch=epoch)

    def can(self, cause: Cause) -> bool:
        """Whether ``cause`` means something in this state."""
        return cause in TRANSITIONS[self.state]

    def advance(self, cause: Cause) -> None:
        """Change the state as the table says."""
        self.state = TRANSITIONS[self.state][cause]

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is waited for."""
        return self.state is State.SETTLED

    def awaits(self, t: Moment) -> bool:
        """Whether the neighbour's value for ``t`` is what is waited for, be it for its use."""
        return self.t == t and self.can(Cause.VALUE)

    def holds(self, t: Moment) -> bool:
        """Whether that value is here, and its use is not decided yet."""
        return self.t == t and self.state is State.HOLDING

    def streams(self, t: Moment, net: str) -> bool:
        """Whether that value is handed on as it comes."""
        return self.t == t and self.net == net and self.state is State.STREAMING

    def is_past(self, t: Moment) -> bool:
        """Whether ``t`` is settled, or will never begin."""
        return t < self.t or (t == self.t and self.is_settled)


# --- what a link tells of its exchanges -----------------------------------------------------------


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
    without; it is empty where all went well. ``in_doubt``: a value came, and the neighbour, which
    decides whether both use theirs, has not told us; :class:`Decided` will follow. Where no value
    came, it is whether the neighbour takes our letter that is in doubt. ``sender`` is
    the session of the process whose value it is; None where none came.
    """

    t: Moment
    value: memoryview | None
    reason: str = ""
    in_doubt: bool = False
    sender: int | None = None


@dataclass(frozen=True)
class Decided:
    """What had been in doubt is decided: whether both ends use what they swapped at ``t``."""

    t: Moment
    is_used: bool


@dataclass(frozen=True)
class Unrecorded:
    """The neighbour's ``value`` for ``t`` is here, and counts once it is on our disk.

    ``net`` is what it was offered as, ``sender`` the session of the process that sent it. Its
    memory is good until that is told.
    """

    t: Moment
    net: str
    value: memoryview
    sender: int


@dataclass(frozen=True)
class Delivered:
    """Our value for ``t`` is needed no more: it arrived, or it is not wanted.

    In the second case parts of it may still lie in a socket: then it is ``in_flight``.
    """

    t: Moment
    in_flight: bool = False

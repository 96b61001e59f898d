"""Who hosts the server: one host a term, elected by a majority of all configured voters.

*Hosts* are the processes that can run the server's program: the one that the experiment names, and
its backups. *Voters* are the workers and the backups, all that are configured, there or not. What a
round's end means is decided here, too: it is *acknowledged* once the state after it lies on the
disks of the server and of another host, and a majority of the voters have it on theirs that it does
(:attr:`Ballot.known`). A voter gives its vote once a term, and to no host that lacks a round of
which it knows. So whoever is elected holds every acknowledged round: the majority that elects it
and the one that knew of the round have a voter in common. This is Raft (Ongaro and Ousterhout,
"In Search of an Understandable Consensus Algorithm", 2014) with a log of one entry, the state, and
with voters that store no entries: a worker keeps a few bytes, and no model of the server's.

Pure: messages and the time go in (:meth:`Election.receive`, :meth:`Election.tick`), messages and
events come out. Whoever drives this object does as :attr:`Election.events` say, then saves
:attr:`Election.ballot` where it has changed, and only then lets :attr:`Election.outbox` leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from peer.standby.election.copying import PIECE, Receiving, Sending
from peer.standby.election.electorate import Electorate, Timing
from peer.standby.election.events import Acknowledged, Deposed, Event, Promoted, Seat, Store
from peer.standby.election.messages import (
    BEGINNING,
    Ask,
    Ballot,
    Beat,
    Copy,
    Heard,
    Holds,
    Message,
    Position,
    Vote,
)


@dataclass
class _Campaign:
    """A candidate's."""

    term: int
    is_trial: bool
    granted: set[int]
    ends: float
    again: float


@dataclass
class _Lead:
    """The server's view of the others."""

    term: int
    began: float
    beat_at: float
    position: Position = BEGINNING  # proposed last
    content: bytes = b""
    is_open: bool = False  # it is not yet acknowledged
    known: dict[int, Position] = field(default_factory=dict)  # by voter
    held: dict[int, Position] = field(default_factory=dict)  # by host
    heard_at: dict[int, float] = field(default_factory=dict)
    sending: dict[int, Sending] = field(default_factory=dict)


class Election:
    """One process's part in it.

    Args:
        me: its id.
        electorate: who takes part.
        ballot: as it was saved last.
        held: the newest state on the disk of a host.
        uniform: draws a number between 0 and 1.
        timing: the election's times.
        now: the time.
        piece: bytes of a state that travel in one message.

    Attributes:
        ballot: to be saved before anything leaves.
        session: of the process that we run as the server; 0 where there is none yet.
        seat: the server that was heard last.
        outbox: messages to be sent, with their receivers.
        events: what happened, in order.
    """

    def __init__(
        self,
        me: int,
        electorate: Electorate,
        ballot: Ballot,
        held: Position,
        uniform: Callable[[], float],
        timing: Timing,
        now: float,
        piece: int = PIECE,
    ) -> None:
        self.me = me
        self.electorate = electorate
        self.ballot = ballot
        self.held = held
        self.timing = timing
        self.session = 0
        self.seat: Seat | None = None
        self.outbox: deque[tuple[int, Message]] = deque()
        self.events: deque[Event] = deque()
        self._uniform = uniform
        self._piece = piece
        self._is_host = me in electorate.hosts
        self._is_voter = me in electorate.voters
        self._heard_at = -timing.silence  # a sign of life of the server
        self._campaign: _Campaign | None = None
        self._lead: _Lead | None = None
        self._receiving = Receiving()
        self._stand_at = now + self._patience()
        if ballot.term == 0:
            self._stand_at = now if self._is_host and not self._is_voter else now + timing.first

    @property
    def leads(self) -> bool:
        """Whether we are the server."""
        return self._lead is not None

    def voters_heard(self, now: float) -> int:
        """How many voters the server has heard lately, itself among them."""
        assert self._lead is not None
        lately = now - self.timing.away
        others = (self._lead.heard_at.get(k, self._lead.began) for k in self.electorate.voters)
        return sum(at > lately for at in others)

    # --- what the driver says ---------------------------------------------------------------------

    def propose(self, round: int, content: bytes, now: float) -> None:
        """We, the server, hold the state after ``round`` on our disk: it is to be acknowledged."""
        lead = self._lead
        assert lead is not None
        self.held = lead.position = Position(lead.term, round)
        lead.content, lead.is_open = content, True
        lead.sending = {
            k: Sending(lead.term, lead.position, content, self.timing.retry, self._piece)
            for k in self.electorate.hosts
            if k != self.me
        }
        self._go_on(lead, now)

    def stored(self, position: Position) -> None:
        """What :class:`Store` asked for is on the disk."""
        self.held = max(self.held, position)
        self._receiving.forget()
        if self.seat is not None:
            self._say_what_is_held(self.seat.host, position)

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self._lead is not None:
            self._tick_as_server(self._lead, now)
        elif self._campaign is not None:
            self._tick_as_candidate(self._campaign, now)
        elif self._is_host and now >= self._stand_at and not self._is_behind(self.held):
            self._stand(now, is_trial=True)

    def receive(self, sender: int, message: Message, now: float) -> None:
        """A message has come; ``sender`` is who it really is."""
        if isinstance(message, Ask):
            if sender in self.electorate.hosts and self._is_voter:
                self._asked(sender, message, now)
            return
        if message.term > self.ballot.term:
            self._follow(message.term, now)
        is_old = message.term < self.ballot.term
        match message:
            case Beat() | Copy() if is_old:
                self._say(sender, Heard(self.ballot.term, self.ballot.known))
            case Vote() if sender in self.electorate.voters:
                self._voted(sender, message, now)
            case Beat() if sender in self.electorate.hosts:
                self._beaten(sender, message, now)
            case Copy() if sender in self.electorate.hosts and self._is_host:
                self._copied(sender, message)
            case Heard() | Holds() if self._lead is not None and not is_old:
                self._answered(self._lead, sender, message, now)

    # --- the voter --------------------------------------------------------------------------------

    def _asked(self, sender: int, ask: Ask, now: float) -> None:
        is_granted = (
            self._is_free_for(sender, ask)
            and not self._is_behind(ask.held)
            and not self.leads
            and now - self._heard_at >= self.timing.silence  # who has a server elects no other
        )
        if is_granted and not ask.is_trial:
            self._follow(ask.term, now)
            self.ballot = replace(self.ballot, vote=sender)
            self._stand_at = now + self._patience()
        self._say(sender, Vote(self.ballot.term, ask.term, ask.is_trial, is_granted))

    def _is_free_for(self, sender: int, ask: Ask) -> bool:
        """Whether our vote in that term can be the sender's."""
        if ask.term == self.ballot.term and not ask.is_trial:
            return self.ballot.vote == sender
        return ask.term > self.ballot.term

    def _is_behind(self, held: Position) -> bool:
        """Whether a host that holds this lacks a round that may be acknowledged."""
        return held < self.ballot.known

    def _beaten(self, sender: int, beat: Beat, now: float) -> None:
        """The server of our term is alive."""
        if self._lead is not None:
            return
        self._campaign = None
        self._heard_at = now
        self._stand_at = now + self._patience()
        self._learn(beat.known)
        seat = Seat(beat.term, sender, beat.session)
        if seat != self.seat:
            self.seat = seat
            self.events.append(seat)
        self._say(sender, Heard(beat.term, self.ballot.known))

    def _learn(self, known: Position) -> None:
        if known > self.ballot.known:
            self.ballot = replace(self.ballot, known=known)

    def _follow(self, term: int, now: float) -> None:
        """There is a newer term: ours, as a server or as a candidate, is over."""
        if term > self.ballot.term:
            self.ballot = replace(self.ballot, term=term, vote=None)
            self._campaign = None
            self._resign(now)

    # --- the backup -------------------------------------------------------------------------------

    def _copied(self, sender: int, copy: Copy) -> None:
        if self._lead is not None:
            return
        if copy.position > self.held:
            content = self._receiving.take(copy)
            if content is not None:
                self.events.append(Store(copy.position, content))
        self._say_what_is_held(sender, copy.position)

    def _say_what_is_held(self, server: int, of: Position) -> None:
        received = self._receiving.received if of == self._receiving.position else 0
        self._say(server, Holds(self.ballot.term, self.held, of, received))

    # --- the candidate ----------------------------------------------------------------------------

    def _patience(self) -> float:
        """Seconds without a server until we stand."""
        return self.timing.silence + self._uniform() * self.timing.spread

    def _stand(self, now: float, *, is_trial: bool) -> None:
        """Ask everybody; first on trial, so that who is cut off does not depose anybody later."""
        term = self.ballot.term + 1
        own = {self.me} if self._is_voter else set()
        if not is_trial:
            self.ballot = replace(self.ballot, term=term, vote=self.me if own else None)
        ends, again = now + self.timing.campaign, now + self.timing.retry
        self._campaign = _Campaign(term, is_trial, own, ends, again)
        self._ask(self._campaign)
        self._count(self._campaign, now)

    def _ask(self, campaign: _Campaign) -> None:
        for k in self.electorate.voters:
            if k not in campaign.granted:
                self._say(k, Ask(campaign.term, self.held, campaign.is_trial))

    def _tick_as_candidate(self, campaign: _Campaign, now: float) -> None:
        if now >= campaign.ends:
            self._campaign = None
            self._stand_at = now + self._uniform() * self.timing.spread
        elif now >= campaign.again:
            campaign.again = now + self.timing.retry
            self._ask(campaign)

    def _voted(self, sender: int, vote: Vote, now: float) -> None:
        campaign = self._campaign
        if campaign is None or not vote.is_granted:
            return
        if (vote.asked, vote.is_trial) == (campaign.term, campaign.is_trial):
            campaign.granted.add(sender)
            self._count(campaign, now)

    def _count(self, campaign: _Campaign, now: float) -> None:
        if len(campaign.granted) < self.electorate.majority:
            return
        if campaign.is_trial:
            self._stand(now, is_trial=False)
            return
        self._campaign = None
        self.session = 0
        self._lead = _Lead(campaign.term, now, now)
        for k in set(self.electorate.hosts) - campaign.granted:  # it may be gone, as the last is
            self._lead.heard_at[k] = now - self.timing.away + self.timing.silence
        self.seat = Seat(campaign.term, self.me, 0)
        self.events.append(Promoted(campaign.term))
        self._tick_as_server(self._lead, now)

    # --- the server -------------------------------------------------------------------------------

    def _tick_as_server(self, lead: _Lead, now: float) -> None:
        if self.voters_heard(now) < self.electorate.majority:
            self._resign(now)  # others may hear us whom we do not hear, and would wait for ever
            return
        if now >= lead.beat_at:
            self._beat(lead, now)
        self._go_on(lead, now)

    def beat(self, session: int, now: float) -> None:
        """Our process has that session: the workers may know."""
        if self._lead is not None:
            self.session = session
            self._beat(self._lead, now)

    def _beat(self, lead: _Lead, now: float) -> None:
        lead.beat_at = now + self.timing.beat
        if self._is_voter:
            lead.heard_at[self.me] = now
        for k in (*self.electorate.workers, *self.electorate.hosts):
            if k != self.me:
                self._say(k, Beat(lead.term, self.session, self.ballot.known))

    def _answered(self, lead: _Lead, sender: int, answer: Heard | Holds, now: float) -> None:
        lead.heard_at[sender] = now
        if isinstance(answer, Heard):
            lead.known[sender] = max(answer.known, lead.known.get(sender, BEGINNING))
        else:
            lead.held[sender] = answer.held
            if sender in lead.sending and answer.of == lead.position:
                lead.sending[sender].has(answer.received, now)
        self._go_on(lead, now)

    def _go_on(self, lead: _Lead, now: float) -> None:
        """Send what is to be sent of the state at hand; see whether it is acknowledged."""
        for k, sending in lead.sending.items():
            if lead.held.get(k, BEGINNING) < lead.position:
                for piece in sending.pieces(now):
                    self._say(k, piece)
        if not lead.is_open:
            return
        if self.ballot.known < lead.position and self._is_held_elsewhere(lead, now):
            self._learn(lead.position)
            self._beat(lead, now)
        if self._is_known_to_most(lead):
            lead.is_open = False
            self.events.append(Acknowledged(lead.position))

    def _is_held_elsewhere(self, lead: _Lead, now: float) -> bool:
        """Whether another host holds it, or there is none."""
        others = [k for k in self.electorate.hosts if k != self.me]
        if any(lead.held.get(k, BEGINNING) >= lead.position for k in others):
            return True
        lately = now - self.timing.away
        return all(lead.heard_at.get(k, lead.began) <= lately for k in others)

    def _is_known_to_most(self, lead: _Lead) -> bool:
        knowing = {k for k, known in lead.known.items() if known >= lead.position}
        if self._is_voter and self.ballot.known >= lead.position:
            knowing.add(self.me)
        return len(knowing.intersection(self.electorate.voters)) >= self.electorate.majority

    def _resign(self, now: float) -> None:
        if self._lead is not None:
            self.events.append(Deposed(self._lead.term))
            self._lead = None
            self.seat = None
            self._stand_at = now + self._patience()

    def _say(self, to: int, message: Message) -> None:
        self.outbox.append((to, message))

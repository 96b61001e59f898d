"""All links of one peer, and the exchange at hand: what a peer's network decides, and nothing else.

Bytes and the time go in (:meth:`Endpoint.receive`, :meth:`Endpoint.tick`), bytes and events come
out (:attr:`Endpoint.outboxes`, :attr:`Endpoint.events`). There is no thread, no socket and no clock
here: the I/O thread (:mod:`peer.net.io_thread`) moves bytes between sockets and this object, and a
test or a simulator may do so in virtual time.

What is decided here: which links make up the exchange at hand, and when it is over; whom it goes on
without; when the last value that is awaited is handed on in pieces; when another experiment next
door, or nobody there, ends the run; how we take leave. Who is who among those that greet us is
decided in :mod:`peer.net.admission`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping

import networkx as nx

from peer.effects import beginning_of
from peer.net.admission import TAKEN, Admission, Note
from peer.net.away.patience import Patience
from peer.net.commands import Admit, Begin, Finish, GoOn, Hurry, Part, Propose, Recorded, Reseat
from peer.net.events import Arrived, Arriving, Event, Failed, InPhase, Outcome, Redial, Resolved
from peer.net.exchange import Decided, Delivered, Piece, Settled, Unrecorded
from peer.net.farewell import GRACE, Farewell
from peer.net.header.seal import WireError
from peer.net.link import Link, Twice
from peer.net.members.roster import Roster
from peer.net.session import FINAL, Changed, Mismatch, Phase, Reconnect, remedy
from peer.net.status.overheard import Overheard
from peer.net.transfer.chunks import Checksums
from peer.net.transfer.send_buffers import Released
from peer.net.waiting.isolation import IsolationWatch
from peer.net.waiting.leads import Leads
from peer.net.waiting.waits import Waits
from peer.net.wire import Envelope, Hello, Offer, Probe, Reject, Status, decode
from topology.errors import UserError
from topology.membership import Membership


class Endpoint:
    """One peer's end of all its links.

    Args:
        links: one a neighbour.
        addresses: where each neighbour is, for messages to the user.
        now: the time.
        isolation: seconds without any neighbour after which we are isolated; None: never.
        patience: with slow neighbours; None: who is in touch is waited for.
        graph: all links that the experiment lists; ours alone, if None.
        members: what is known of who takes part.

    Attributes:
        events: what happened, in order; whoever drives this object takes them off.
        admission: who is who among those that greet us.
    """

    def __init__(
        self,
        links: Mapping[int, Link],
        addresses: Mapping[int, str],
        now: float = 0.0,
        isolation: float | None = None,
        patience: Patience | None = None,
        graph: nx.Graph[int] | None = None,
        members: Membership | None = None,
    ) -> None:
        self.links = dict(sorted(links.items()))  # events come in this order
        self.addresses = dict(addresses)
        self.events: deque[Event] = deque()
        self.admission = Admission(self.links, self.events.append)
        self._outcome: Outcome | None = None  # of the exchange at hand
        self._open: dict[int, Part] = {}  # the links' parts in it that are not settled
        self._in_pieces = False  # whether its last value may be handed on so
        self._without: set[int] = set()  # neighbours that the last exchange went on without
        self._has_exchanged = False  # the first exchange is over
        self._failure: tuple[float, UserError] | None = None  # to be told, and from when on
        self._farewell = Farewell(self.links)
        self._watch = IsolationWatch(self.links, now, isolation)
        self._agreement = next((link.me.data for link in links.values()), None)  # on classes
        self._waits = Waits(self.links, patience)
        me = next((link.me.peer for link in links.values()), 0)
        graph = nx.Graph([(me, k) for k in links]) if graph is None else graph
        self.roster = Roster(me, graph, self.links, self.events.append, members)
        self._leads = Leads(self.links)

    # --- commands ---------------------------------------------------------------------------------

    def begin(self, begin: Begin, now: float) -> None:
        """Begin an exchange; what comes of it is an :class:`Outcome`."""
        self._outcome = Outcome()
        for k in begin.parts.keys() - self.links.keys():  # it joined, and is not let in here
            self._outcome.missing.add(k)
            if begin.parts[k].payload is not None:
                self.events.append(Released(k, begin.parts[k].t, False))
        self._open = {k: part for k, part in begin.parts.items() if k in self.links}
        self._in_pieces = begin.in_pieces
        self._waits.begin(dict(self._open), now)
        self._leads.begin(min((part.t.round for part in begin.parts.values()), default=None), now)
        checksums: defaultdict[int, Checksums] = defaultdict(dict)  # of every payload
        for neighbour, part in sorted(self._open.items()):
            known = checksums[id(part.payload)]
            self.links[neighbour].begin(**vars(part), now=now, checksums=known)
        self._hand_over(now)
        self._listen_to_all(now)
        self._give_up(now)

    def recorded(self, recorded: Recorded, now: float) -> None:
        """What neighbours sent is on the disk (:class:`~peer.net.events.Arrived`)."""
        for neighbour, t in recorded.values:
            self.links[neighbour].recorded(t, now)
        self._listen_to_all(now)

    def resume(self) -> None:
        """More of a payload that is sent while it is written is there."""
        for link in self.links.values():
            link.resume()

    def finish(self, finish: Finish, now: float) -> None:
        """Begin to take leave."""
        self._farewell.begin(finish.round, finish.reason, now + finish.patience)
        self._take_leave(now)

    def start_at(self, round: int) -> None:
        """We have completed so many rounds already, before anything is said."""
        for link in self.links.values():
            link.session.at = beginning_of(round)

    def go_on(self, go_on: GoOn) -> None:
        """Leave out all rounds before that one."""
        for link in self.links.values():
            link.session.rejoin(go_on.round)

    def propose(self, propose: Propose, now: float) -> None:
        """Say that a peer joins, leaves or is gone, in a round that lies ahead."""
        of = propose.kind, propose.peer, propose.round
        propose.told(self.roster.propose(*of, now, propose.links))

    def admit(self, admit: Admit, now: float) -> None:
        """There is another neighbour, or it has another address or key."""
        neighbour = admit.link.neighbour
        self.addresses[neighbour] = admit.address
        if neighbour not in self.links:
            links = dict(sorted([*self.links.items(), (neighbour, admit.link)]))
            self.links.clear()  # which all parts share
            self.links.update(links)
            self._waits.meet(neighbour, now)

    def reseat(self, reseat: Reseat, now: float) -> None:
        """Hear nobody but the process that has been elected in that neighbour's place."""
        link = self.links[reseat.neighbour]
        link.seat.session = reseat.session
        link.session.begin_anew("another process has its place", now)
        link.events.append(Reconnect())
        self._listen(reseat.neighbour, link, now)

    def furthest(self, now: float) -> int:
        """Rounds that those who went on without us have completed, if believed; -1: nobody did."""
        return self._leads.furthest(now)

    def hurry(self, hurry: Hurry, now: float) -> None:
        """Let no exchange wait long any more."""
        self._waits.hurry(now + hurry.seconds)

    # --- bytes and time ---------------------------------------------------------------------------

    def receive(
        self,
        connection: bytes,
        authenticated: int | None,
        header: bytes,
        body: memoryview | None,
        now: float,
    ) -> bool:
        """A message has come; returns whether its connection is of use.

        Args:
            connection: which one it came by.
            authenticated: the neighbour that CURVE says sent it; -1 for nobody, None in plain text.
            header: its header frame; empty where it has none that can be read.
            body: its body frame, in memory that is not written to any more.
            now: the time.
        """
        try:
            envelope = decode(header)
        except WireError:
            self.admission.ignore()
            return not self.admission.is_spoilt(connection)
        if isinstance(envelope.message, Probe):
            self.admission.probed(connection, authenticated, envelope, envelope.message)
            return True
        if isinstance(envelope.message, Hello):
            of = self.links.get(envelope.message.peer)
            if of is not None and not of.seat.hears(envelope.session):
                return True
            link = self.admission.greeted(connection, authenticated, envelope, now)
            if link is not None:
                link.hello(envelope.session, envelope.seq, envelope.message, now)
        else:
            link = self.admission.sender(connection, authenticated, envelope.session)
            if link is not None:
                link.receive(envelope.session, envelope.seq, envelope.message, now, body)
                self._note_what_is_no_links(link, envelope, body, now)
        if link is not None:
            self._listen(link.neighbour, link, now)
            self._give_up(now)
        self._take_leave(now)
        return True

    def _note_what_is_no_links(
        self, link: Link, envelope: Envelope, body: memoryview | None, now: float
    ) -> None:
        """Take in what a message means beyond its link."""
        if envelope.session != link.session.number or link.phase in FINAL:
            return
        match envelope.message:
            case Offer(t):
                self._waits.offered(link.neighbour, t)
            case Status() as status if body is not None:
                self.events.append(Overheard(link.neighbour, status, body))
            case said:
                fault = self.roster.receive(link.neighbour, said, body, now)
                if fault:
                    self._note(f"peer {link.neighbour} tells of who takes part, and {fault}")

    def receive_answer(self, neighbour: int, header: bytes, now: float) -> None:
        """A neighbour answers by the connection on which we greet it: we are not who we say."""
        try:
            envelope = decode(header)
        except WireError:
            self.admission.ignore()
            return
        match envelope.message:
            case Reject(session, code, _) if code == TAKEN:
                me = self.links[neighbour].me
                if session == me.session and self._failure is None:
                    problem = UserError(
                        f"--id {me.peer}: another process is peer {me.peer} already, says peer "
                        f"{neighbour} at {self.addresses[neighbour]}; give every process an --id "
                        "of its own, or stop the other"
                    )
                    self._failure = (now, problem)

    def tick(self, now: float) -> None:
        """Let time pass."""
        for link in self.links.values():
            link.tick(now)
        if not self._farewell.has_begun and (isolated := self._watch.look(now)) is not None:
            self.events.append(isolated)
        if self._agreement is not None and not self._watch.is_hopeless:
            self.events.extend(filter(None, [self._agreement.look(now)]))
        self.roster.look(now)
        self._listen_to_all(now)
        self._give_up(now)
        if self._failure is not None and now >= self._failure[0]:
            self.events.append(Failed(self._failure[1]))
            self._failure = (float("inf"), self._failure[1])
        self._take_leave(now)

    def skip_time(self, seconds: float) -> None:
        """Our own loop stood still for so long: the silence was not the neighbours'."""
        self._watch.skip_time(seconds)
        self._waits.skip_time(seconds)
        if self._agreement is not None:
            self._agreement.skip_time(seconds)
        for link in self.links.values():
            link.session.skip_time(seconds)

    @property
    def outboxes(self) -> Iterator[tuple[int, deque[tuple[bytes, memoryview | None]]]]:
        """What is to be sent, by neighbour: headers with their bodies, taken off as they leave."""
        for neighbour, link in self.links.items():
            if link.outbox and link.phase is not Phase.QUARANTINED:
                yield neighbour, link.outbox

    # --- the exchange at hand ---------------------------------------------------------------------

    def _hand_over(self, now: float) -> None:
        """Give the exchange back once every neighbour is settled.

        Where one neighbour alone is outstanding, its chunks are handed on as they come.
        """
        if self._failure is not None or self._watch.is_hopeless or self._outcome is None:
            return  # nothing is learned any more, and the reason follows; or nobody waits
        if not self._open:
            done, self._outcome = self._outcome, None
            self._has_exchanged = True
            self._waits.end(now)
            self.events.append(done)
        elif len(self._open) == 1 and self._in_pieces:
            (last,) = self._open
            piece = self.links[last].stream()
            if piece is not None:
                self._arriving(last, piece)

    def _arriving(self, neighbour: int, piece: Piece) -> None:
        if self._outcome is not None:
            self.events.append(Arriving(neighbour, piece, self._outcome.received))

    def _settled(self, neighbour: int, settled: Settled, now: float) -> None:
        part = self._open.get(neighbour)
        if self._outcome is None or part is None or part.t != settled.t:
            return
        del self._open[neighbour]
        self._waits.settled(neighbour, settled.reason, now)
        if settled.in_doubt and settled.value is not None:
            self._outcome.in_doubt[neighbour] = settled.value
        elif settled.value is not None:
            self._outcome.received[neighbour] = settled.value
        if settled.sender is not None:
            self._outcome.senders[neighbour] = settled.sender
        if not settled.reason:
            self._without.discard(neighbour)
        else:
            if not settled.in_doubt:
                self._outcome.missing.add(neighbour)
            elif settled.value is None:
                self._outcome.unsure.add(neighbour)
            if neighbour not in self._without:
                self._without.add(neighbour)
                where = f"round {settled.t.round + 1}"
                self._note(f"{where}: going on without peer {neighbour}: {settled.reason}")
        self._hand_over(now)

    # --- what the links say -----------------------------------------------------------------------

    def _listen_to_all(self, now: float) -> None:
        for neighbour, link in self.links.items():
            self._listen(neighbour, link, now)

    def _listen(self, neighbour: int, link: Link, now: float) -> None:
        while link.events:
            match link.events.popleft():
                case Piece() as piece:
                    self._arriving(neighbour, piece)
                case Settled() as settled:
                    self._settled(neighbour, settled, now)
                case Unrecorded() as what:
                    self.events.append(Arrived(neighbour, what))
                case Decided(t, is_used):
                    self.events.append(Resolved(neighbour, t, is_used))
                case Delivered(t, in_flight):
                    self.events.append(Released(neighbour, t, in_flight))
                case Changed(phase, reason):
                    self.events.append(InPhase(neighbour, phase))
                    if phase is Phase.UP:
                        self.roster.connected(neighbour, now)
                    if phase is not Phase.LEFT or not self._farewell.has_begun:
                        self._note(f"peer {neighbour}: {phase.value} ({reason})")
                case Reconnect():
                    link.connected_anew(now)
                    self.events.append(Redial(neighbour))
                case Mismatch() as mismatch:
                    self._mismatch(neighbour, mismatch, now)
                case Twice():
                    self._note(
                        f"peer {neighbour} tells us that another process has our id "
                        f"{link.me.peer} (we keep our place; stop the other)"
                    )

    def _mismatch(self, neighbour: int, mismatch: Mismatch, now: float) -> None:
        """Before anything was learned, another experiment next door is the user's to put right."""
        if not (self._has_exchanged or self._failure or mismatch.is_late):
            problem = UserError(
                mismatch.words
                or f"peer {neighbour} at {self.addresses[neighbour]} runs another experiment: "
                f"{', '.join(mismatch.parts)} differ; {remedy(mismatch.parts)}"
            )
            self._failure = (now + GRACE, problem)  # the neighbour is told, too, before we are gone

    def _note(self, line: str) -> None:
        self.events.append(Note(line))

    def _give_up(self, now: float) -> None:
        """Settle the exchange at hand without those that are waited for no more."""
        for neighbour, part in list(self._open.items()):
            if not self.roster.is_exchanged(neighbour, part.t.round):
                self.links[neighbour].give_up("one of us takes no part in this round")
                self._listen(neighbour, self.links[neighbour], now)
        for neighbour, reason in list(self._waits.given_up(self._open, now)):
            self.links[neighbour].give_up(reason)
            self._listen(neighbour, self.links[neighbour], now)

    # --- taking leave -----------------------------------------------------------------------------

    def _take_leave(self, now: float) -> None:
        if self._farewell.look(now):
            self._listen_to_all(now)  # what was given up is released

    def has_left(self, now: float) -> bool:
        """Whether our farewell has left, or had the time to."""
        return self._farewell.has_left(now)

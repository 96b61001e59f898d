"""Links against each other and against liars, in virtual time.

:class:`World` joins links as :mod:`peer.net.io_thread` joins them: every direction of a link is a
connection that may break and is then another one, to be ignored until a HELLO comes by it; peers of
even ids take the last value in pieces; a snapshot is written over as soon as it is delivered.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.effects import Moment
from peer.net.away.failure_detector import Timing
from peer.net.exchange import Decided, Delivered, Piece, Settled
from peer.net.header.seal import HEADER_LIMIT
from peer.net.link import STRIKES, Link
from peer.net.session import Changed, Claim, Identity, Mismatch, Phase, Reconnect
from peer.net.transfer import sender as sender_module
from peer.net.transfer.checksum import KNOWN
from peer.net.transfer.outgoing import CREDIT
from peer.net.wire import (
    Ack,
    Chunk,
    Hello,
    Message,
    Nack,
    Offer,
    Ping,
    Reject,
    Welcome,
    decode,
    encode,
)
from tests.support.links import CHUNK, SIZES, moments, net_at, value_of

TICK = 0.05
UNDER_WAY = 64
"""Messages that one connection holds; a sender that finds it full tries again later."""


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Values of a few kilobytes, yet of many chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)
        yield


def identity(peer: int, session: int | None = None, **parts: str) -> Identity:
    fingerprint = {"graph": "ring", "seed": "0"} | parts
    return Identity(peer, 1000 + peer if session is None else session, fingerprint, {"g": "sig"})


# --- the world ------------------------------------------------------------------------------------


@dataclass
class Connection:
    """From one peer's DEALER to another's ROUTER, until it breaks."""

    number: int
    up_at: float
    broken: bool = False
    under_way: int = 0
    clear_at: float = 0.0  # when the last of what was sent has arrived


@dataclass(frozen=True)
class Packet:
    source: int
    target: int
    header: bytes
    body: bytes | memoryview | None

    @cached_property
    def message(self) -> Message:
        return decode(self.header).message


Fate = Callable[[Packet], list[tuple[float, Packet]]]
"""What the network does to a packet: the copies that arrive, and how much too late."""


def faithful(packet: Packet) -> list[tuple[float, Packet]]:
    return [(0.0, packet)]


@dataclass(eq=False)
class Buffer:
    memory: bytearray
    readers: set[int] = field(default_factory=set)


class Actor:
    """One peer: its links, and the driver above them."""

    def __init__(self, world: World, me: Identity, neighbours: Iterable[int], script: int) -> None:
        self.world = world
        self.me = me
        self.links = {
            k: Link(
                me, k, world.sizes, world.timing, world.checksum, world.now, agrees=world.agrees
            )
            for k in sorted(neighbours)
        }
        self.script = deque(moments(script))
        self.senders: dict[int, int] = {}
        self.frozen = False
        self.backlog: deque[tuple[Connection, Packet]] = deque()
        self.last_tick = world.now
        self.begin_at = world.now
        self.began: dict[Moment, float] = {}
        self.open: Moment | None = None
        self.waiting: set[int] = set()
        self.received: dict[int, memoryview] = {}
        self.pieces = bytearray()  # what has come of the last value
        self.results: dict[Moment, dict[int, bool]] = {}
        self.doubts: dict[int, Moment] = {}  # by neighbour, what is in doubt now
        self.was_in_doubt = 0
        self.settled_at: dict[tuple[Moment, int], float] = {}
        self.reasons: dict[tuple[Moment, int], str] = {}
        self.phases: dict[int, list[tuple[float, Phase]]] = {k: [] for k in self.links}
        self.mismatches: dict[int, tuple[str, ...]] = {}
        self.reconnects = 0
        self.buffers: dict[str, list[Buffer]] = {net: [] for net in world.sizes}
        self.sending: dict[Moment, Buffer] = {}
        self.leaves = False
        self.gone = False

    @property
    def finished(self) -> bool:
        return self.open is None and not self.script

    def turn(self) -> None:
        """What the network thread does in one turn of its loop, after receiving."""
        now = self.world.now
        if self.open is None and self.script and now >= self.begin_at:
            self._begin(self.script.popleft())
        if now - self.last_tick >= TICK - 1e-9:
            self.last_tick = now
            for link in self.links.values():
                link.tick(now)
        self._happen()
        owes = any(not link.idle for link in self.links.values())
        if self.leaves and self.finished and not owes and not self.gone:
            self.gone = True
            for link in self.links.values():
                link.leave(99, "finished")
        for k in self.links:
            self.world.flush(self.me.peer, k)

    def _begin(self, t: Moment) -> None:
        net = net_at(t)
        buffer = next((b for b in self.buffers[net] if not b.readers), None)
        if buffer is None:
            buffer = Buffer(bytearray(self.world.sizes[net]))
            self.buffers[net].append(buffer)
        buffer.memory[:] = value_of(self.me.peer, t, self.world.sizes)
        buffer.readers.update(self.links)
        self.open, self.waiting, self.received = t, set(self.links), {}
        self.began[t] = self.world.now
        self.sending[t] = buffer
        self.results[t] = {}
        for link in self.links.values():
            link.begin(t, net, memoryview(buffer.memory), self.world.now)
        self._last_in_pieces()

    def _last_in_pieces(self) -> None:
        if len(self.waiting) == 1 and self.me.peer % 2 == 0:
            self.pieces.clear()
            piece = self.links[min(self.waiting)].stream()
            if piece is not None:
                self._take(piece)

    def _take(self, piece: Piece) -> None:
        assert piece.t == self.open
        if piece.start == 0:
            self.pieces.clear()
        assert piece.start == len(self.pieces), "pieces are out of order"
        self.pieces += piece.body

    def _happen(self) -> None:
        for k, link in self.links.items():
            while link.events:
                match link.events.popleft():
                    case Piece() as piece:
                        assert self.waiting == {k}
                        self._take(piece)
                    case Settled(t, value, reason, in_doubt):
                        assert t == self.open, f"settled {t}, but open is {self.open}"
                        assert k in self.waiting, f"settled {t} twice with {k}"
                        self.waiting.remove(k)
                        self.settled_at[t, k] = self.world.now
                        self.reasons[t, k] = reason
                        if value is None and (in_doubt or not reason):
                            value = memoryview(bytes(self.pieces))
                        if in_doubt:
                            assert value is not None
                            assert bytes(value) == value_of(k, t, self.world.sizes)
                            assert k not in self.doubts, "two exchanges in doubt on a link"
                            self.doubts[k] = t
                            self.was_in_doubt += 1
                        elif value is not None:
                            self.received[k] = value
                        self._last_in_pieces()
                    case Decided(t, is_used):
                        assert self.doubts.pop(k) == t
                        self.results[t][k] = is_used
                    case Delivered(t):
                        self._delivered(t, k)
                    case Changed(phase, _):
                        self.phases[k].append((self.world.now, phase))
                    case Reconnect():
                        self.reconnects += 1
                        link.connected_anew(self.world.now)
                        self.world.cut(self.me.peer, k)
                    case Mismatch(parts):
                        self.mismatches[k] = parts
        if self.open is not None and not self.waiting:
            self._use()

    def _delivered(self, t: Moment, k: int) -> None:
        buffer = self.sending[t]
        assert k in buffer.readers, f"delivered {t} to {k} twice"
        buffer.readers.remove(k)
        if not buffer.readers:  # as if written over at once
            del self.sending[t]
            buffer.memory[:] = b"\x55" * len(buffer.memory)

    def _use(self) -> None:
        """Every neighbour is settled: what came must be what was sent, to the bit."""
        t, self.open = self.open, None
        assert t is not None
        for k in self.links:
            value = self.received.get(k)
            if value is not None:
                assert bytes(value) == value_of(k, t, self.world.sizes), f"{t}: not {k}'s value"
            if t != self.doubts.get(k):  # else it is decided later, or has been
                self.results[t].setdefault(k, value is not None)
        self.begin_at = self.world.now + self.world.compute.get(self.me.peer, 0.0)

    def receive(self, connection: Connection, packet: Packet) -> None:
        """As :meth:`peer.net.io_thread.Network._receive` does."""
        envelope = decode(packet.header)
        sender = self.senders.get(connection.number)
        link = None if sender is None else self.links[sender]
        # in memory of its own, as from ZeroMQ: ours may be written over as soon as it is delivered
        body = None if packet.body is None else memoryview(bytearray(packet.body))
        now = self.world.now
        if isinstance(envelope.message, Hello):
            claimed = self.links.get(envelope.message.peer)
            if claimed is None or claimed.session.claim(envelope.session, now) is not Claim.RIGHT:
                return
            for old in [c for c, k in self.senders.items() if k == envelope.message.peer]:
                del self.senders[old]
            self.senders[connection.number] = envelope.message.peer
            claimed.hello(envelope.session, envelope.seq, envelope.message, now)
        elif link is not None:
            link.receive(envelope.session, envelope.seq, envelope.message, now, body)


class World:
    """Peers, the connections between them, and the time."""

    def __init__(
        self,
        edges: Iterable[tuple[int, int]] = ((0, 1),),
        exchanges: int = 4,
        *,
        sizes: dict[str, int] = SIZES,
        timing: Timing = Timing(),  # noqa: B008 (frozen)
        checksum: bool = True,
        fate: Fate = faithful,
        latency: float = 0.001,
        bytes_per_second: float = float("inf"),
        absent: Iterable[int] = (),
        agrees: bool = False,
    ) -> None:
        self.agrees = agrees
        self.sizes, self.timing, self.checksum, self.fate = sizes, timing, checksum, fate
        self.latency = latency
        self.bytes_per_second = bytes_per_second
        self.exchanges = exchanges
        self.now = 0.0
        self.compute: dict[int, float] = {}
        self.blocked: set[tuple[int, int]] = set()  # directions in which all is lost
        self.counts: Counter[type[Message]] = Counter()
        self.trace: list[tuple[float, int, int, Message]] = []
        self._numbers = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.neighbours: dict[int, set[int]] = {}
        for a, b in edges:
            self.neighbours.setdefault(a, set()).add(b)
            self.neighbours.setdefault(b, set()).add(a)
        self.connections = {
            (a, b): Connection(next(self._numbers), 0.0) for a in self.neighbours
            for b in self.neighbours[a]
        }  # fmt: skip
        self.actors: dict[int, Actor] = {}
        for peer in self.neighbours:
            if peer not in absent:
                self.start(identity(peer))

    # --- time -------------------------------------------------------------------------------------

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._numbers), action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Until the condition holds (by default, all have finished); it must, in that time."""
        until = until or (lambda: all(actor.finished for actor in self.actors.values()))
        limit = self.now + seconds
        while not until():
            time, _, action = heapq.heappop(self._agenda)
            assert time <= limit, f"not within {seconds} s: {self._stuck()}"
            self.now = time
            action()

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self._agenda[0][0] <= end:
            self.now, _, action = heapq.heappop(self._agenda)
            action()
        self.now = end

    def _stuck(self) -> str:
        return "; ".join(
            f"{p} at {a.open} waits for {sorted(a.waiting)} "
            f"({', '.join(f'{k} {link.phase.value}' for k, link in a.links.items())})"
            for p, a in self.actors.items()
        )

    def _tick(self, actor: Actor) -> None:
        if self.actors.get(actor.me.peer) is not actor:
            return  # it was restarted
        if not actor.frozen:
            actor.turn()
        self.at(self.now + TICK, lambda: self._tick(actor))

    # --- peers ------------------------------------------------------------------------------------

    def start(self, me: Identity, skip: int = 0, exchanges: int | None = None) -> Actor:
        """A process starts, perhaps in place of a former one; it has done ``skip`` exchanges."""
        count = self.exchanges if exchanges is None else exchanges
        actor = Actor(self, me, self.neighbours[me.peer], count)
        for _ in range(skip):
            actor.script.popleft()
        self.actors[me.peer] = actor
        for k in self.neighbours[me.peer]:
            self.cut(me.peer, k)
            self.cut(k, me.peer)
        self.at(self.now, lambda: self._tick(actor))
        return actor

    def kill(self, peer: int) -> None:
        del self.actors[peer]
        for k in self.neighbours[peer]:
            self.cut(peer, k)
            self.cut(k, peer)

    def freeze(self, peer: int) -> None:
        """SIGSTOP: it does nothing, and what is sent to it piles up."""
        self.actors[peer].frozen = True

    def thaw(self, peer: int) -> None:
        actor = self.actors[peer]
        actor.frozen = False
        for link in actor.links.values():
            link.session.skip_time(self.now - actor.last_tick)
        while actor.backlog:
            connection, packet = actor.backlog.popleft()
            connection.under_way -= 1
            actor.receive(connection, packet)
        actor.turn()

    # --- connections ------------------------------------------------------------------------------

    def cut(self, source: int, target: int, seconds: float = 0.1, *, loses: bool = True) -> None:
        """Break a connection; another one takes its place. What is under way may still arrive."""
        self.connections[source, target].broken = loses
        self.connections[source, target] = Connection(next(self._numbers), self.now + seconds)

    def flush(self, source: int, target: int) -> None:
        link = self.actors[source].links[target]
        connection = self.connections[source, target]
        if target not in self.actors or self.now < connection.up_at:
            return
        if link.phase is Phase.QUARANTINED:
            return
        while link.outbox and connection.under_way < UNDER_WAY:
            header, body = link.outbox.popleft()
            packet = Packet(source, target, header, body)
            assert len(header) <= HEADER_LIMIT
            self.counts[type(packet.message)] += 1
            self.trace.append((self.now, source, target, packet.message))
            if (source, target) in self.blocked:
                continue
            size = len(header) + (0 if body is None else len(body))
            begins = max(self.now, connection.clear_at)
            connection.clear_at = begins + size / self.bytes_per_second
            for delay, copy in self.fate(packet):
                connection.under_way += 1
                arrives = connection.clear_at + self.latency + delay
                self.at(arrives, lambda c=connection, p=copy: self._arrive(c, p))  # type: ignore[misc]

    def _arrive(self, connection: Connection, packet: Packet) -> None:
        actor = self.actors.get(packet.target)
        if actor is None or connection.broken:
            return
        if actor.frozen:
            body = None if packet.body is None else bytes(packet.body)
            actor.backlog.append((connection, replace(packet, body=body)))
            return
        connection.under_way -= 1
        actor.receive(connection, packet)
        actor.turn()

    # --- what came of it --------------------------------------------------------------------------

    def values(self, peer: int) -> list[dict[int, bool]]:
        """For each exchange of ``peer`` in order: from whom a value came (all of them exact)."""
        results = self.actors[peer].results
        return [results[t] for t in sorted(results)]

    def phases(self, peer: int, neighbour: int) -> list[Phase]:
        return [phase for _, phase in self.actors[peer].phases[neighbour]]

    def all_exact(self) -> bool:
        return all(
            all(by.values()) for actor in self.actors.values() for by in actor.results.values()
        )

    def reconnected(self, peer: int) -> int:
        return self.actors[peer].reconnects


def ring(peers: int) -> list[tuple[int, int]]:
    return [(k, (k + 1) % peers) for k in range(peers)]


GRAPHS = {
    "pair": [(0, 1)],
    "ring of 3": ring(3),
    "ring of 5": ring(5),
    "star": [(0, k) for k in range(1, 5)],
    "complete": list(itertools.combinations(range(4), 2)),
}


# --- without faults -------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("edges", GRAPHS.values(), ids=GRAPHS)
def test_without_faults_every_exchange_has_everybodys_exact_bytes(
    edges: list[tuple[int, int]], checksum: bool
) -> None:
    world = World(edges, exchanges=8, checksum=checksum)
    world.run(5.0)
    assert world.all_exact()
    for peer, actor in world.actors.items():
        assert list(actor.results) == moments(8)
        assert all(by.keys() == world.neighbours[peer] for by in actor.results.values())
        assert all(world.phases(peer, k) == [Phase.UP] for k in actor.links)
        assert all(link.strikes == 0 for link in actor.links.values())
    world.wait(1.0)
    assert all(not actor.sending for actor in world.actors.values())  # all was acknowledged
    assert all(link.idle for actor in world.actors.values() for link in actor.links.values())


def test_without_faults_two_snapshots_a_net_are_enough() -> None:
    world = World(ring(4), exchanges=20)
    world.run(5.0)
    most = max(len(ring) for actor in world.actors.values() for ring in actor.buffers.values())
    assert most <= 2


@pytest.mark.parametrize("latency", [0.0001, 0.02, 0.3])
def test_without_faults_nothing_looks_lost_and_nothing_is_sent_twice(latency: float) -> None:
    world = World(exchanges=6, latency=latency)
    world.run(20.0)
    chunks = 3 * (2 + 6) * 2  # three values of either net, at both ends
    assert world.counts[Chunk] == chunks
    assert world.counts[Nack] == 0
    assert [actor.links[1 - p].gaps for p, actor in sorted(world.actors.items())] == [0, 0]


@pytest.mark.parametrize("compute", [0.0, 0.5, 7.0])
def test_peers_of_different_speed_wait_for_each_other(compute: float) -> None:
    world = World(ring(3), exchanges=6, latency=0.01)
    world.compute = {0: compute, 1: 0.1}
    world.run(60.0)
    assert world.all_exact()
    assert all(Phase.SUSPECT not in world.phases(p, k) for p, k in world.connections)


@pytest.mark.parametrize("seconds", [0.05, 0.25, 2.0])
def test_a_slow_link_carries_a_value_in_about_the_time_that_it_takes(seconds: float) -> None:
    # Chunks of 256 KiB at 5 and at 1 MB/s, and at a megabit. PINGs stand in line behind sixteen of
    # them: an answer that takes longer than usual is no reason to send everything again.
    chunks = 100
    sizes = {"discriminator": chunks * CHUNK, "generator": chunks * CHUNK}
    world = World(exchanges=1, sizes=sizes, bytes_per_second=CHUNK / seconds)
    world.run(2 * chunks * seconds + 10)
    assert world.all_exact()
    assert world.counts[Chunk] <= 1.5 * 2 * chunks
    assert Phase.DOWN not in world.phases(0, 1) + world.phases(1, 0)


# --- with faults ----------------------------------------------------------------------------------


class Adversary:
    """Does to packets and connections what networks do, from a seed."""

    def __init__(self, seed: int, kinds: Iterable[str], until: float = float("inf")) -> None:
        self.draw = np.random.default_rng(seed)
        self.kinds = sorted(kinds)
        self.rate = float(self.draw.choice([0.02, 0.1, 0.3]))
        self.until = until
        self.world: World | None = None

    def join(self, world: World) -> World:
        self.world = world
        world.fate = self
        if "cut" in self.kinds:
            world.at(0.2, self._cut)
        return world

    def __call__(self, packet: Packet) -> list[tuple[float, Packet]]:
        assert self.world is not None
        if self.draw.random() > self.rate or self.world.now > self.until:
            copy = self.draw.random() < 0.5  # ZeroMQ reads the body now, or as late as it can
            now = packet.body if packet.body is None or not copy else bytes(packet.body)
            return [(0.0, replace(packet, body=now))]
        kind = str(self.draw.choice(self.kinds))
        match kind:
            case "drop":
                return []
            case "duplicate":
                return [(0.0, packet), (float(self.draw.exponential(0.5)), packet)]
            case "delay":
                return [(float(self.draw.exponential(1.0)), packet)]
            case _ if packet.body is None or not isinstance(packet.message, Chunk):
                return [(0.0, packet)]
            case "flip":
                return [(0.0, replace(packet, body=self._flipped(packet.body)))]
            case "truncate":
                length = int(self.draw.integers(len(packet.body)))
                return [(0.0, replace(packet, body=bytes(packet.body[:length])))]
            case "lengthen":
                return [(0.0, replace(packet, body=bytes(packet.body) + b"\0" * 4))]
            case "bodiless":
                return [(0.0, replace(packet, body=None))]
            case "nan":
                return [(0.0, with_floats(packet, np.nan))]
        return [(0.0, packet)]

    def _flipped(self, body: bytes | memoryview) -> bytes:
        flipped = bytearray(body)
        bit = int(self.draw.integers(8 * len(flipped)))
        flipped[bit // 8] ^= 1 << bit % 8
        return bytes(flipped)

    def _cut(self) -> None:
        assert self.world is not None
        if self.world.now < self.until:
            pairs = sorted(self.world.connections)
            source, target = pairs[self.draw.integers(len(pairs))]
            loses = bool(self.draw.random() < 0.7)
            self.world.cut(source, target, float(self.draw.exponential(0.3)), loses=loses)
            self.world.at(self.world.now + float(self.draw.exponential(2.0)), self._cut)


def with_floats(packet: Packet, value: float) -> Packet:
    """The packet with one float of its body changed, and a checksum that fits."""
    envelope, body = decode(packet.header), bytearray(packet.body or b"")
    assert isinstance(envelope.message, Chunk)
    np.frombuffer(body, dtype="<f4")[len(body) // 8] = value
    chunk = replace(envelope.message, checksum=next(iter(KNOWN.values()))(body))
    return replace(packet, header=encode(envelope.session, envelope.seq, chunk), body=bytes(body))


seeds = st.integers(0, 2**32 - 1)
NETWORK_FAULTS = ("cut", "delay", "drop", "duplicate")


@given(seeds, st.sets(st.sampled_from(NETWORK_FAULTS), min_size=1), st.sampled_from([2, 3]))
@settings(max_examples=60)
def test_losses_never_hang_and_never_change_a_value(seed: int, kinds: set[str], peers: int) -> None:
    world = Adversary(seed, kinds).join(World(ring(peers) if peers > 2 else [(0, 1)], 6))
    world.run(1000.0)
    for actor in world.actors.values():  # that values are exact, the actors themselves assert
        assert list(actor.results) == moments(6)
        assert all(link.strikes == 0 for link in actor.links.values())


@given(seeds, st.sets(st.sampled_from(NETWORK_FAULTS), min_size=1))
@settings(max_examples=15)
def test_after_the_faults_every_exchange_is_exact_again(seed: int, kinds: set[str]) -> None:
    world = Adversary(seed, kinds, until=10.0).join(World(exchanges=150))
    world.compute = {0: 0.5, 1: 0.5}
    world.run(400.0)
    healed = [t for t, began in world.actors[0].began.items() if began > 60.0]
    assert len(healed) > 10
    assert all(world.actors[p].results[t][1 - p] for p in (0, 1) for t in healed)


CORRUPTIONS = ("flip", "truncate", "lengthen", "bodiless", "nan")


@given(seeds, st.sets(st.sampled_from(CORRUPTIONS), min_size=1), st.booleans())
@settings(max_examples=60)
def test_corrupt_bytes_are_never_settled_with(seed: int, kinds: set[str], cuts: bool) -> None:
    world = Adversary(seed, kinds | ({"cut", "drop"} if cuts else set())).join(World(exchanges=10))
    world.run(1500.0)
    for actor in world.actors.values():
        assert list(actor.results) == moments(10)
        for link in actor.links.values():
            assert link.strikes <= STRIKES
            assert (link.strikes == STRIKES) is (link.phase is Phase.QUARANTINED)


@pytest.mark.parametrize("loses", ["drop", "cut"])
def test_rare_losses_cost_no_exchange(loses: str) -> None:
    # One message in fifty lost, or a connection every two seconds: nobody is silent for a minute.
    exact = total = 0
    for seed in range(8):
        adversary = Adversary(seed, [loses])
        adversary.rate = 0.02 if loses == "drop" else 0.0
        world = adversary.join(World(exchanges=12))
        world.compute = {0: 0.2, 1: 0.2}
        world.run(1000.0)
        for actor in world.actors.values():
            exact += sum(by[k] for by in actor.results.values() for k in by)
            total += sum(len(by) for by in actor.results.values())
    assert exact == total == 8 * 2 * 12


def once(matches: Callable[[Packet], bool]) -> Fate:
    """Loses the first packet that matches."""
    state = {"lost": False}

    def fate(packet: Packet) -> list[tuple[float, Packet]]:
        if not state["lost"] and matches(packet):
            state["lost"] = True
            return []
        return [(0.0, packet)]

    return fate


LOST: dict[str, Callable[[Packet], bool]] = {
    "hello": lambda p: isinstance(p.message, Hello),
    "welcome": lambda p: isinstance(p.message, Welcome),
    "offer": lambda p: isinstance(p.message, Offer),
    "first chunk": lambda p: isinstance(p.message, Chunk),
    "middle chunk": lambda p: isinstance(p.message, Chunk) and p.message.index == 1,
    "last chunk": lambda p: (
        isinstance(p.message, Chunk) and p.message.t.exchange == 1 and p.message.index == 5
    ),
    "ack more": lambda p: isinstance(p.message, Ack) and p.message.verdict == "more",
    "ack whole": lambda p: isinstance(p.message, Ack) and p.message.verdict == "whole",
}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("victim", [0, 1])
def test_any_single_message_may_be_lost(lost: str, victim: int) -> None:
    world = World(exchanges=6, fate=once(lambda p: p.source == victim and LOST[lost](p)))
    world.run(30.0)
    assert world.all_exact()
    assert world.reconnected(0) == world.reconnected(1) == 0


@pytest.mark.parametrize("lost", LOST)
def test_a_connection_may_break_at_any_message(lost: str) -> None:
    # The message and all behind it are lost with the connection, and so is what comes by the new
    # one until a HELLO: the other direction lives on.
    world = World(exchanges=6)
    broken = once(lambda p: p.source == 0 and LOST[lost](p))

    def fate(packet: Packet) -> list[tuple[float, Packet]]:
        copies = broken(packet)
        if not copies:
            world.at(world.now, lambda: world.cut(0, 1))
        return copies

    world.fate = fate
    world.run(30.0)
    assert world.all_exact()


def test_one_lost_chunk_is_sent_again_but_not_sixteen_times() -> None:
    # Sixteen chunks are under way; every one behind the gap would ask for all of them again.
    sizes = {"discriminator": 40 * CHUNK, "generator": 40 * CHUNK}
    lost = once(lambda p: p.source == 0 and isinstance(p.message, Chunk) and p.message.index == 3)
    world = World(exchanges=1, sizes=sizes, fate=lost, latency=0.05)
    world.run(10.0)
    assert world.all_exact()
    sent = sum(1 for _, p, _, m in world.trace if p == 0 and isinstance(m, Chunk))
    assert sent <= 40 + 2 * CREDIT


def test_a_lost_chunk_is_noticed_by_the_gap_and_not_by_a_timeout() -> None:
    lost = once(lambda p: p.source == 0 and isinstance(p.message, Chunk) and p.message.index == 0)
    world = World(exchanges=2, fate=lost)
    world.run(1.0)
    assert world.all_exact()
    assert world.actors[1].links[0].gaps >= 1


def test_a_value_given_up_is_not_completed_from_memory_used_anew() -> None:
    # Peer 1 stands still with half of a value received; peer 0 gives up, and its snapshot is
    # written over while the other half still waits to be sent from it. CURVE vouches for the bytes
    # that left, not for those that were meant: no checksum is no protection here.
    sizes = {"discriminator": 12 * CHUNK, "generator": 12 * CHUNK}
    timing = Timing.within(start_timeout=20.0, deadline=10.0)

    jammed: list[Packet] = []

    def jam(packet: Packet) -> list[tuple[float, Packet]]:
        stuck = isinstance(packet.message, Chunk) and packet.message.index > 5
        if packet.source == 0 and world.now < 16.0 and (stuck or jammed):
            jammed.append(packet)  # and all behind it
            return [(16.0 + 1e-6 * len(jammed) - world.now, packet)]
        return [(0.0, packet)]

    world = World(exchanges=1, sizes=sizes, timing=timing, checksum=False, fate=jam)
    world.actors[1].begin_at = 0.3  # peer 0 has been greeted, but has no value yet
    world.wait(0.29)
    world.freeze(1)
    world.wait(15.0)
    assert world.values(0) == [{1: False}]
    world.thaw(1)
    world.run(60.0)  # the actors assert that values are exact
    assert world.values(1) == [{0: False}]


# --- somebody is missing --------------------------------------------------------------------------


def test_a_neighbour_that_never_comes_costs_the_start_timeout_once() -> None:
    world = World([(0, 1), (0, 2)], exchanges=6, absent=[1])
    world.run(130.0)
    me = world.actors[0]
    first, *later = moments(6)
    assert me.settled_at[first, 1] == pytest.approx(120.0, abs=2 * TICK)
    assert "did not come" in me.reasons[first, 1]
    assert all(me.settled_at[t, 1] == me.began[t] for t in later)
    assert world.values(0) == [{1: False, 2: True}] * 6
    assert world.values(2) == [{0: True}] * 6
    assert world.phases(0, 1) == []


def test_a_neighbour_that_comes_later_takes_part() -> None:
    # with so much to make up that, by default, it would not be waited for
    world = World(exchanges=400, timing=Timing(start_timeout=10.0, catch_up=400), absent=[1])
    world.compute = {0: 0.5, 1: 0.5}
    world.at(50.0, lambda: (world.start(identity(1)), None)[1])
    world.run(1000.0)
    assert world.values(0)[0] == {1: False}
    assert world.values(0)[-200:] == [{1: True}] * 200
    assert world.values(1)[-200:] == [{0: True}] * 200


def test_peers_may_start_a_minute_apart_and_lose_nothing() -> None:
    world = World(ring(3), exchanges=4, absent=[1, 2])
    world.at(20.0, lambda: (world.start(identity(1)), None)[1])
    world.at(60.0, lambda: (world.start(identity(2)), None)[1])
    world.wait(60.0)
    world.run(5.0)
    assert world.all_exact()


def test_what_waits_for_a_neighbour_that_is_not_there_does_not_grow() -> None:
    # Nothing can be sent to it; an hour of HELLOs would greet it all at once.
    world = World([(0, 1), (0, 2)], exchanges=3, absent=[1])
    world.wait(150.0)
    after_minutes = len(world.actors[0].links[1].outbox)
    world.wait(450.0)
    assert len(world.actors[0].links[1].outbox) <= after_minutes + 2


def test_silence_makes_suspect_then_down_and_the_deadline_settles() -> None:
    world = World(exchanges=40)
    world.compute = {0: 0.5, 1: 0.5}
    world.wait(3.0)
    world.freeze(1)
    frozen = world.now
    world.wait(70.0)
    me = world.actors[0]
    when = {phase: at for at, phase in me.phases[1]}
    assert world.phases(0, 1) == [Phase.UP, Phase.SUSPECT, Phase.DOWN]
    assert when[Phase.SUSPECT] - frozen == pytest.approx(5.0, abs=1.2)
    assert when[Phase.DOWN] - frozen == pytest.approx(30.0, abs=1.2)
    assert me.reconnects >= 1
    missed = [t for t, by in me.results.items() if not by[1]]
    assert me.settled_at[missed[0], 1] - frozen == pytest.approx(60.0, abs=1.2)
    assert "silent" in me.reasons[missed[0], 1]
    assert all(me.settled_at[t, 1] == me.began[t] for t in missed[1:])  # not waited for again
    assert len(missed) > 10
    world.thaw(1)
    world.run(100.0)
    assert world.phases(0, 1)[-1] is world.phases(1, 0)[-1] is Phase.UP
    assert world.values(1)[-1] == {0: False} or world.values(0)[-1] == {1: True}


def test_who_comes_back_catches_up_and_exchanges_again() -> None:
    world = World(exchanges=300)
    world.compute = {0: 0.5, 1: 0.5}
    world.wait(3.0)
    world.freeze(1)
    world.at(50.0, lambda: world.thaw(1))
    world.run(1000.0)
    assert world.values(0)[-100:] == [{1: True}] * 100
    assert world.values(1)[-100:] == [{0: True}] * 100


def test_slow_but_answering_is_waited_for_beyond_the_deadline() -> None:
    world = World(exchanges=4)
    world.compute = {1: 200.0}
    world.run(700.0)
    assert world.all_exact()
    assert world.phases(0, 1) == world.phases(1, 0) == [Phase.UP]
    waited = [world.actors[0].settled_at[t, 1] - world.actors[0].began[t] for t in moments(4)[1:]]
    assert min(waited) > 190.0 > Timing().deadline
    assert world.counts[Ping] > 100


@pytest.mark.parametrize("way", [(0, 1), (1, 0)])
def test_a_path_that_works_one_way_only_does_not_hold_an_exchange_for_ever(
    way: tuple[int, int],
) -> None:
    # Peer 0 hears the HELLOs of a peer 1 that hears nothing: no PING of its is ever answered.
    world = World(exchanges=40)
    world.compute = {0: 0.5, 1: 0.5}
    world.wait(3.0)
    world.blocked.add(way)
    world.run(600.0)
    assert world.values(0)[-1] == {1: False}
    assert world.values(1)[-1] == {0: False}


def test_a_neighbour_that_is_down_is_dialled_again_and_again() -> None:
    # ZeroMQ does not dial again after a refused key: only a new socket does.
    world = World(exchanges=1)
    world.run(5.0)
    world.kill(1)
    world.wait(600.0)
    assert world.phases(0, 1)[-1] is Phase.DOWN
    assert world.actors[0].reconnects > 3


def test_a_neighbour_that_never_came_is_dialled_again() -> None:
    # It may have refused our key when we first knocked, and know it now.
    world = World(absent=[1])
    world.wait(600.0)
    assert world.actors[0].reconnects > 3


def test_ones_own_standstill_is_not_the_neighbours_silence() -> None:
    world = World(exchanges=10)
    world.compute = {0: 0.5, 1: 0.5}
    world.wait(2.2)
    world.freeze(0)
    world.wait(4.0)
    world.thaw(0)
    world.run(100.0)
    assert world.all_exact()
    assert world.phases(0, 1) == [Phase.UP]


# --- another process ------------------------------------------------------------------------------


def test_a_neighbour_restarted_from_its_checkpoint_goes_on_where_it_was() -> None:
    world = World(exchanges=40)
    world.compute = {0: 0.5, 1: 0.5}
    world.run(60.0, until=lambda: len(world.actors[1].results) == 11)
    done = len(world.actors[1].results) - 1
    world.kill(1)
    world.wait(8.0)
    world.start(identity(1, session=77), skip=done)
    world.run(200.0)
    assert world.all_exact()
    assert Phase.UNKNOWN in world.phases(0, 1)  # "restarted"
    assert world.phases(0, 1)[-1] is Phase.UP


def test_a_neighbour_restarted_from_nothing_is_answered_late_and_catches_up() -> None:
    world = World(exchanges=100)
    world.compute = {0: 0.5, 1: 0.5}
    world.wait(15.0)
    at = len(world.actors[0].results)
    world.kill(1)
    world.start(identity(1, session=77))
    world.run(400.0)
    new = world.values(1)
    assert new[: at - 2] == [{0: False}] * (at - 2)
    assert new[at:] == [{0: True}] * (100 - at)
    assert world.actors[1].reasons[Moment(0, 0), 0] == "it went on without us"
    assert world.values(0)[at:] == [{1: True}] * (100 - at)


def test_one_restarted_at_once_is_believed_when_the_old_process_falls_silent() -> None:
    world = World(exchanges=40)
    world.compute = {0: 0.5, 1: 0.5}
    world.wait(5.0)
    done = len(world.actors[1].results) - 1
    world.kill(1)
    restarted = world.now
    world.start(identity(1, session=77), skip=done)
    world.run(15.0, until=lambda: world.actors[0].links[1].session.number == 77)
    assert Timing().retry <= world.now - restarted < 8.0  # asked, and given that time to answer
    world.run(100.0)
    assert world.values(1)[-20:] == [{0: True}] * 20


def test_a_neighbour_that_restarts_without_end_does_not_hold_an_exchange_for_ever() -> None:
    # It crashes a second after its HELLO, and something starts it again, every ten seconds.
    world = World(exchanges=3)
    world.run(5.0, until=lambda: world.actors[0].links[1].phase is Phase.UP)

    def again(session: int = 2000) -> None:
        if 1 in world.actors:
            world.kill(1)
            world.at(world.now + 9.0, lambda: again(session + 1))
        else:
            world.start(identity(1, session=session)).begin_at = float("inf")
            world.at(world.now + 1.0, lambda: again(session))

    again()
    world.run(1000.0, until=lambda: world.actors[0].finished)
    assert len(world.values(0)) == 3


def test_who_has_finished_says_so_and_is_not_waited_for() -> None:
    world = World(exchanges=10)
    world.start(identity(1), exchanges=4).leaves = True
    world.run(20.0)
    assert world.values(1) == [{0: True}] * 4
    assert world.values(0) == [{1: True}] * 4 + [{1: False}] * 6
    me = world.actors[0]
    assert world.phases(0, 1)[-1] is Phase.LEFT
    assert all(
        "finished" in me.reasons[t, 1] or "left" in me.reasons[t, 1] for t in moments(10)[4:]
    )
    assert all(me.settled_at[t, 1] - me.began[t] < 0.5 for t in moments(10)[4:])
    assert me.links[1].idle


def test_both_may_finish_at_once() -> None:
    world = World(exchanges=4)
    for actor in world.actors.values():
        actor.leaves = True
    world.run(5.0, until=lambda: all(actor.gone for actor in world.actors.values()))
    world.wait(1.0)
    assert world.all_exact()
    assert world.phases(0, 1)[-1] is world.phases(1, 0)[-1] is Phase.LEFT


# --- another experiment ---------------------------------------------------------------------------


def test_both_sides_say_which_part_differs() -> None:
    world = World(exchanges=3)
    world.start(identity(1, seed="1", loss="lsgan"))
    world.run(5.0)
    for peer, other in ((0, 1), (1, 0)):
        assert world.actors[peer].mismatches == {other: ("loss", "seed")}
        assert world.phases(peer, other) == [Phase.REFUSED]
        assert world.values(peer) == [{other: False}] * 3
    world.wait(10.0)
    assert world.counts[Reject] <= 4  # said, and then muted


def test_a_refused_neighbour_that_was_put_right_is_welcome() -> None:
    world = World(exchanges=200)
    world.compute = {0: 0.5, 1: 0.5}
    world.start(identity(1, seed="1"))
    world.wait(5.0)
    assert world.actors[0].links[1].phase is Phase.REFUSED
    world.kill(1)
    world.start(identity(1, session=77))
    world.run(300.0)
    assert world.actors[0].links[1].phase is Phase.UP
    assert world.values(0)[-50:] == [{1: True}] * 50

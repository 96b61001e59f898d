"""Endpoints on any graph, joined by a network in memory, in virtual time.

The network carries the real bytes. It can lose, delay, duplicate and reorder messages and break
connections; a peer can be frozen, killed, and started again as another process. Every peer does
what its I/O thread and its compute thread would do, and holds the endpoint to its promises:

- a value is what the neighbour sent at that step, to the bit, until the next exchange begins;
- pieces come in order, and a value that came in pieces is not in the outcome, too;
- every exchange has one outcome, and each payload is released once by every neighbour.

A payload is written over as soon as it is released: what the network carries is the same memory,
as with ZeroMQ's zero-copy frames, so a release that comes too early shows as a torn value.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import networkx as nx
import numpy as np
import torch

from peer.effects import Letter, Moment
from peer.net.admission import Note
from peer.net.away.failure_detector import Timing
from peer.net.away.late_comer import LateComer
from peer.net.away.patience import Patience
from peer.net.commands import Begin, Finish, GoOn, Part
from peer.net.endpoint import Endpoint
from peer.net.events import Arriving, Failed, InPhase, Outcome, Redial
from peer.net.link import Link
from peer.net.session import Identity, Phase
from peer.net.transfer.letters import PREFIX, pack
from peer.net.transfer.send_buffers import Released
from topology.errors import UserError

CHUNK = 4096
SIZES = {"discriminator": 2 * CHUNK, "generator": 5 * CHUNK + 400}
TICK = 0.05
UNDER_WAY = 64
"""Messages that one connection holds; a sender that finds it full tries again later."""

BRISK = Timing.within(start_timeout=6.0, deadline=4.0)

Edge = tuple[int, int]


def identity(peer: int, session: int | None = None, **parts: str) -> Identity:
    fingerprint = {"graph": "ring", "seed": "0"} | parts
    return Identity(peer, 1000 + peer if session is None else session, fingerprint, {"g": "sig"})


def make_endpoint(
    me: Identity,
    neighbours: Iterable[int],
    timing: Timing = BRISK,
    now: float = 0.0,
    checksum: bool = True,
    is_patient: bool = False,
) -> Endpoint:
    links = {k: Link(me, k, SIZES, timing, checksum, now) for k in neighbours}
    patience = Patience(links, now) if is_patient else None
    return Endpoint(links, {k: address_of(k) for k in links}, patience=patience)


def address_of(peer: int) -> str:
    return f"tcp://10.0.0.{peer}:4000"


# --- what is exchanged ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One exchange of the whole network: which net, and which way it goes on every edge.

    An edge (a, b) is used both ways ("x"), from a to b (">"), from b to a ("<"), or not named.
    """

    net: str
    ways: Mapping[Edge, str]

    @property
    def is_letter(self) -> bool:
        return self.net.startswith(PREFIX)


def two_way(edges: Iterable[Edge], count: int) -> list[Step]:
    """Both nets' arenas, in turn, over every edge."""
    ways = dict.fromkeys(edges, "x")
    return [Step(("discriminator", "generator")[s % 2], ways) for s in range(count)]


def any_ways(edges: Sequence[Edge], count: int, seed: int) -> list[Step]:
    """Arenas and letters; every edge is used in a random way, or not at all."""
    draw = np.random.default_rng(seed)
    nets = (*SIZES, PREFIX + "model")
    return [
        Step(
            str(draw.choice(nets)),
            {e: w for e in edges if (w := str(draw.choice(["x", "x", ">", "<", ""])))},
        )
        for _ in range(count)
    ]


@lru_cache(4096)
def value_of(peer: int, step: int, net: str) -> bytes:
    """What ``peer`` sends at that step."""
    draw = np.random.default_rng([peer, step])
    if not net.startswith(PREFIX):
        return draw.standard_normal(SIZES[net] // 4, dtype=np.float32).tobytes()
    tensor = torch.from_numpy(draw.standard_normal(1500, dtype=np.float32))
    return bytes(pack(Letter(net.removeprefix(PREFIX), {"x": tensor}, {"at": [peer, step]})))


@dataclass(frozen=True)
class Role:
    """What a peer does at a step on one link."""

    t: Moment
    sends: bool
    wants: bool


def roles_of(peer: int, script: Sequence[Step], per_round: int) -> list[dict[int, Role]]:
    """By step: both ends of an edge count the exchanges on it, from 0 in every round."""
    used: Counter[tuple[Edge, int]] = Counter()
    roles = []
    for s, step in enumerate(script):
        at_step = {}
        for edge, way in step.ways.items():
            if peer in edge:
                t = Moment(s // per_round, used[edge, s // per_round])
                used[edge, s // per_round] += 1
                is_first = edge[0] == peer
                sends = way in ("x>" if is_first else "x<")
                wants = way in ("x<" if is_first else "x>")
                at_step[edge[1] if is_first else edge[0]] = Role(t, sends, wants)
        roles.append(at_step)
    return roles


@dataclass(eq=False)
class Memory:
    """A payload: written little by little, perhaps, and written over once it is released."""

    data: bytearray
    readers: set[tuple[int, Moment]]
    written: int
    is_in_flight: bool = False

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: slice, /) -> memoryview:
        return memoryview(self.data)[place.start : min(place.stop, self.written)]

    def release(self, reader: tuple[int, Moment], in_flight: bool) -> None:
        self.readers.remove(reader)
        self.is_in_flight |= in_flight
        if not self.readers and not self.is_in_flight:
            self.data[:] = b"\x55" * len(self.data)  # sound floats, but not those


# --- the network ----------------------------------------------------------------------------------


@dataclass
class Connection:
    """From one peer's DEALER to another's ROUTER, until it breaks."""

    name: bytes
    up_at: float
    is_broken: bool = False
    under_way: int = 0
    clear_at: float = 0.0  # when the last of what was sent has arrived


@dataclass(frozen=True)
class Packet:
    source: int
    target: int
    header: bytes
    body: memoryview | None


Fate = Callable[[Packet, float], list[tuple[float, Packet]]]
"""What happens to a packet at that time: the copies that arrive, and how much too late."""


class Faults:
    """Loses, duplicates and delays (so reorders) messages, from a seed, ``until`` some time."""

    def __init__(self, seed: int, rate: float, until: float = float("inf")) -> None:
        self.draw = np.random.default_rng(seed)
        self.rate, self.until = rate, until

    def __call__(self, packet: Packet, now: float) -> list[tuple[float, Packet]]:
        if packet.body is not None and self.draw.random() < 0.5:  # it is copied now, or on arrival
            packet = replace(packet, body=memoryview(bytes(packet.body)))
        if now > self.until or self.draw.random() > self.rate:
            return [(0.0, packet)]
        match self.draw.integers(3):
            case 0:
                return []
            case 1:
                return [(0.0, packet), (float(self.draw.exponential(0.5)), packet)]
            case _:
                return [(float(self.draw.exponential(1.0)), packet)]


@dataclass
class Result:
    """An exchange at one peer, once it is over."""

    values: set[int]  # from whom a value came, whole or in pieces: the right one
    in_pieces: set[int]
    missing: set[int]
    at: float


class Host:
    """One process of a peer: its endpoint, and what its threads would do around it."""

    def __init__(self, network: NetworkInMemory, me: Identity, first: int) -> None:
        self.network = network
        self.peer = me.peer
        neighbours = sorted(network.graph[me.peer], reverse=network.reverses_links)
        self.endpoint = make_endpoint(
            me, neighbours, network.timing, network.now, network.checksum, network.is_patient
        )
        self.roles = roles_of(me.peer, network.script, network.per_round)
        self.step = first  # the next one, or the one at hand
        self.joined: list[tuple[int, int]] = []  # rounds: completed before, and gone on in
        self._late = LateComer(network.timing.catch_up)
        self.begin_at = network.now
        self.is_open = False
        self.is_frozen = False
        self.has_left = False
        self._is_leaving = False
        self.last_tick = network.now
        self.backlog: deque[tuple[Connection, Packet]] = deque()
        self.results: dict[int, Result] = {}
        self.notes: list[str] = []
        self.phases: dict[int, list[Phase]] = {k: [] for k in neighbours}
        self.failures: list[tuple[float, UserError]] = []
        self.redials: Counter[int] = Counter()
        self.inputs: list[tuple[str, tuple[object, ...]]] = []
        self._memory: list[Memory] = []  # not yet released by all
        self._lent: list[tuple[memoryview, bytes]] = []  # good until the next exchange begins
        self._pieces: dict[int, bytearray] = {}

    @property
    def is_done(self) -> bool:
        return self.step >= len(self.roles)

    @property
    def unreleased(self) -> int:
        return sum(len(memory.readers) for memory in self._memory)

    def turn(self) -> None:
        now = self.network.now
        if now - self.last_tick >= TICK - 1e-9:
            self.last_tick = now
            self._write_more()
            self._put("tick", now)
        while not self.is_done and not self.is_open and now >= self.begin_at:
            if self._going_on(self.step):
                self._begin()
            else:
                self._pass()  # it has no part in it
        if self.is_done and self.network.leaves and not self._is_leaving:
            self._is_leaving = True
            self._put("finish", Finish(self.step, self.network.patience), now)
        self.pass_on()
        for k, outbox in self.endpoint.outboxes:
            self.network.send(self.peer, k, outbox)
        self.has_left = self.endpoint.has_left(now)

    def receive(self, connection: Connection, packet: Packet) -> None:
        body = None if packet.body is None else memoryview(bytearray(packet.body))
        who = packet.source if self.network.curve else None
        self._put("receive", connection.name, who, packet.header, body, self.network.now)

    def _put(self, name: str, *arguments: object) -> None:
        if self.network.records:
            self.inputs.append((name, arguments))
        getattr(self.endpoint, name)(*arguments)

    def _going_on(self, step: int) -> dict[int, Role]:
        """What it does at that step; in the round in which it joins, it sends no net's value."""
        roles, round = self.roles[step], step // self.network.per_round
        if not self.joined or round != self.joined[-1][1] or self.network.script[step].is_letter:
            return roles
        return {k: replace(role, sends=False) for k, role in roles.items() if role.wants}

    def _pass(self) -> None:
        """The next step; after a round, with the others far ahead, that of a later one."""
        self.step += 1
        per_round = self.network.per_round
        round, rounds = self.step // per_round, len(self.roles) // per_round
        if self.step % per_round:
            return
        target = self._late.target(round, self.endpoint.furthest(self.network.now), rounds)
        if target is not None:
            self._put("go_on", GoOn(target))
            self.joined.append((round, target))
            self.step = target * per_round

    def _begin(self) -> None:
        for view, expected in self._lent:
            assert bytes(view) == expected, "a value changed before the next exchange"
        self._lent, self._pieces, self.is_open = [], {}, True
        roles, net = self._going_on(self.step), self.network.script[self.step].net
        readers = {(k, role.t) for k, role in roles.items() if role.sends}
        data = bytearray(value_of(self.peer, self.step, net))
        memory = Memory(data, readers, 0 if self.network.writes_slowly else len(data))
        self._memory = [each for each in self._memory if each.readers]
        self._memory.append(memory)
        parts = {
            k: Part(role.t, net, memory if role.sends else None, role.wants)
            for k, role in roles.items()
        }
        pieces = self.peer % 2 == 0 and not self.network.script[self.step].is_letter
        self._put("begin", Begin(parts, pieces), self.network.now)

    def _write_more(self) -> None:
        if any(memory.written < len(memory) for memory in self._memory):
            for memory in self._memory:
                memory.written = min(len(memory), memory.written + CHUNK + 100)
            self._put("resume")

    def pass_on(self) -> None:
        events = self.endpoint.events
        while events:
            match events.popleft():
                case Outcome() as outcome:
                    self._check(outcome)
                case Arriving() as arriving:
                    self._take(arriving)
                case Released(k, t, in_flight):
                    (memory,) = [m for m in self._memory if (k, t) in m.readers]  # so, once
                    memory.release((k, t), in_flight)
                case Failed(problem):
                    self.failures.append((self.network.now, problem))
                case Redial(k):
                    self.redials[k] += 1
                    self.network.cut(self.peer, k)
                case InPhase(k, phase):
                    self.phases[k].append(phase)
                case Note(line):
                    self.notes.append(line)

    def _take(self, arriving: Arriving) -> None:
        k, piece = arriving.neighbour, arriving.piece
        assert self.is_open
        assert piece.t == self.roles[self.step][k].t
        if piece.start == 0:
            self._pieces[k] = bytearray()
        assert piece.start == len(self._pieces[k]), "pieces are out of order"
        assert piece.start % 4 == len(piece.body) % 4 == 0, "not whole floats"
        self._pieces[k] += piece.body
        net = self.network.script[self.step].net
        assert k not in arriving.others
        for other, value in arriving.others.items():
            assert bytes(value) == value_of(other, self.step, net)

    def _check(self, outcome: Outcome) -> None:
        assert self.is_open, "an outcome without an exchange"
        step, self.is_open = self.step, False
        roles, net = self._going_on(step), self.network.script[step].net
        wanted = {k for k, role in roles.items() if role.wants}
        received = outcome.received.keys()
        assert received <= wanted
        assert not received & outcome.missing
        assert outcome.missing <= roles.keys()
        in_pieces = wanted - received - outcome.missing
        assert len(in_pieces) <= 1
        assert in_pieces <= self._pieces.keys()
        for k in in_pieces:
            assert bytes(self._pieces[k]) == value_of(k, step, net), f"not {k}'s at {step}"
        for k, view in outcome.received.items():
            expected = value_of(k, step, net)
            assert bytes(view) == expected, f"not {k}'s at {step}"
            self._lent.append((view, expected))
        self.results[step] = Result(
            received | in_pieces, in_pieces, outcome.missing, self.network.now
        )
        if self.joined and step // self.network.per_round == self.joined[-1][1]:
            self._late.heard(bool(wanted - outcome.missing))
        self._pass()
        self.begin_at = self.network.now + self.network.compute.get(self.peer, 0.0)


@dataclass
class NetworkInMemory:
    """Peers on ``edges`` that run ``script``, the connections between them, and the time.

    Attributes:
        curve: messages come with the sender that CURVE would have authenticated.
        compute: seconds between two exchanges, by peer.
        leaves: who has done its script finishes, and has ``patience`` for that.
        is_patient: deadlines adapt to what exchanges take.
        records: keep what goes into every endpoint, and what is on the wire.
    """

    edges: Sequence[Edge]
    script: Sequence[Step]
    timing: Timing = BRISK
    checksum: bool = True
    curve: bool = False
    latency: float = 0.001
    bytes_per_second: float = 4e6  # a value's chunks come one after the other
    fate: Fate = lambda packet, now: [(0.0, packet)]
    per_round: int = 2
    compute: Mapping[int, float] = field(default_factory=dict)
    writes_slowly: bool = False
    leaves: bool = False
    patience: float = 5.0
    reverses_links: bool = False
    records: bool = False
    is_patient: bool = False
    absent: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.graph = nx.Graph(self.edges)
        self.now = 0.0
        self.hosts: dict[int, Host] = {}
        self.wire: list[tuple[float, int, int, bytes, bytes]] = []
        self._numbers = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._connections: dict[Edge, Connection] = {}
        for peer in sorted(self.graph):
            for k in self.graph[peer]:
                self.cut(peer, k)
        for peer in sorted(self.graph):
            if peer not in self.absent:
                self.start(identity(peer))

    # --- time -------------------------------------------------------------------------------------

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._numbers), action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Until it holds (by default, all have done the script); it must, within that time."""
        until = until or (lambda: all(host.is_done for host in self.hosts.values()))
        limit = self.now + seconds
        while not until():
            time, _, action = heapq.heappop(self._agenda)
            assert time <= limit, f"not within {seconds} s: {self._stuck()}"
            self.now = time
            action()

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self._agenda and self._agenda[0][0] <= end:
            self.now, _, action = heapq.heappop(self._agenda)
            action()
        self.now = end

    def _stuck(self) -> str:
        return "; ".join(
            f"{p} at step {host.step} "
            f"({', '.join(f'{k} {link.phase.value}' for k, link in host.endpoint.links.items())})"
            for p, host in self.hosts.items()
            if not host.is_done
        )

    # --- peers ------------------------------------------------------------------------------------

    def start(self, me: Identity, first: int = 0) -> Host:
        """A process starts, perhaps in place of a former one, with the step ``first``."""
        host = self.hosts[me.peer] = Host(self, me, first)
        self._cut_all(me.peer)
        self.at(self.now, lambda: self._tick(host))
        return host

    def kill(self, peer: int) -> Host:
        self._cut_all(peer)
        return self.hosts.pop(peer)

    def freeze(self, peer: int) -> None:
        """SIGSTOP: it does nothing, and what is sent to it piles up."""
        self.hosts[peer].is_frozen = True

    def thaw(self, peer: int) -> None:
        host = self.hosts[peer]
        host.is_frozen = False
        host._put("skip_time", self.now - host.last_tick)
        while host.backlog:
            connection, packet = host.backlog.popleft()
            connection.under_way -= 1
            host.receive(connection, packet)
        host.turn()

    def _tick(self, host: Host) -> None:
        if self.hosts.get(host.peer) is not host or host.has_left:
            return
        if not host.is_frozen:
            host.turn()
        self.at(self.now + TICK, lambda: self._tick(host))

    # --- connections ------------------------------------------------------------------------------

    def cut(self, source: int, target: int, seconds: float = 0.1) -> None:
        """Break a connection; what is under way is lost, and another one takes its place."""
        if (source, target) in self._connections:
            self._connections[source, target].is_broken = True
        name = b"\0%d" % next(self._numbers)
        self._connections[source, target] = Connection(name, self.now + seconds)

    def _cut_all(self, peer: int) -> None:
        for k in self.graph[peer]:
            self.cut(peer, k)
            self.cut(k, peer)

    def send(
        self, source: int, target: int, outbox: deque[tuple[bytes, memoryview | None]]
    ) -> None:
        connection = self._connections[source, target]
        there = self.hosts.get(target)
        if there is None or there.has_left or self.now < connection.up_at:
            return
        while outbox and connection.under_way < UNDER_WAY:
            packet = Packet(source, target, *outbox.popleft())
            if self.records:
                self.wire.append((self.now, source, target, packet.header, packet.body or b""))
            size = len(packet.header) + len(packet.body or b"")
            begins = max(self.now, connection.clear_at)
            connection.clear_at = begins + size / self.bytes_per_second
            for delay, copy in self.fate(packet, self.now):
                connection.under_way += 1
                self.at(
                    connection.clear_at + self.latency + delay,
                    lambda c=connection, p=copy: self._arrive(c, p),  # type: ignore[misc]
                )

    def _arrive(self, connection: Connection, packet: Packet) -> None:
        host = self.hosts.get(packet.target)
        if host is None or host.has_left or connection.is_broken:
            return
        if host.is_frozen:
            host.backlog.append((connection, packet))
            return
        connection.under_way -= 1
        host.receive(connection, packet)
        host.turn()

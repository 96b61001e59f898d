"""One-way exchanges and letters on links over lossy channels, in virtual time.

The world is that of ``test_two_links_in_virtual_time.py``; its peers follow a script of steps, each
of which sends to some neighbours, wants something from some, or both.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.effects import Letter, Moment
from peer.net.away.failure_detector import Timing
from peer.net.exchange import Delivered, Settled
from peer.net.session import Identity
from peer.net.transfer import sender as sender_module
from peer.net.transfer.letters import PREFIX, pack
from peer.net.wire import Ack, Chunk, Nack, Offer
from tests.peer.net.test_two_links_in_virtual_time import (
    Actor,
    Adversary,
    Buffer,
    Packet,
    World,
    faithful,
    identity,
)
from tests.support.links import CHUNK, SIZES

BOUND = 130.0
"""Virtual seconds: the start timeout and the deadline's worst, and then nobody waits any more."""


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)
        yield


def letter_of(source: int, target: int, t: Moment, name: str) -> bytes:
    """What ``source`` writes to ``target`` at ``t``: of many chunks, or of one."""
    draw = np.random.default_rng([source, target, t.round, t.exchange])
    length = int(draw.choice([0, 10, 3000, 12000]))
    tensor = torch.from_numpy(draw.standard_normal(length, dtype=np.float32))
    return bytes(pack(Letter(name, {"x": tensor}, {"from": source, "t": list(t)})))


def arena_of(source: int, t: Moment, net: str) -> bytes:
    draw = np.random.default_rng([source, t.round, t.exchange])
    return draw.standard_normal(SIZES[net] // 4, dtype=np.float32).tobytes()


def value_of(source: int, target: int, t: Moment, name: str) -> bytes:
    if name.startswith(PREFIX):
        return letter_of(source, target, t, name.removeprefix(PREFIX))
    return arena_of(source, t, name)


@dataclass(frozen=True)
class Role:
    """One link's part in a step."""

    name: str  # of the net, or the letter's behind its prefix
    sends: bool
    wants: bool


@dataclass(frozen=True)
class Step:
    """One effect of a coroutine."""

    round: int
    roles: Mapping[int, Role]


Script = Sequence[Step]


@dataclass(frozen=True)
class Came:
    """How a link's part in a step ended."""

    t: Moment
    role: Role
    value: bool
    reason: str
    began: float
    ended: float


class Writer(Actor):
    """A peer that follows a script."""

    def __init__(self, world: Writers, me: Identity, script: Script, skip: int) -> None:
        super().__init__(world, me, world.neighbours[me.peer], 0)
        self.script = deque(script)  # type: ignore[assignment]
        self.moments: Counter[tuple[int, int]] = Counter()
        self.parts: dict[int, tuple[Moment, Role]] = {}
        self.memories: dict[tuple[int, Moment], Buffer] = {}
        self.came: dict[int, list[Came]] = {k: [] for k in self.links}
        for _ in range(skip):
            self._parts(self.script.popleft())  # type: ignore[arg-type]

    def _parts(self, step: Step) -> dict[int, tuple[Moment, Role]]:
        parts = {}
        for k, role in sorted(step.roles.items()):
            parts[k] = Moment(step.round, self.moments[k, step.round]), role
            self.moments[k, step.round] += 1
        return parts

    def _begin(self, step: Any) -> None:
        self.parts = self._parts(step)
        self.waiting, self.received = set(self.parts), {}
        self.open = step
        self.started = self.world.now
        for k, (t, role) in self.parts.items():
            payload = None
            if role.sends:
                value = value_of(self.me.peer, k, t, role.name)
                self.memories[k, t] = Buffer(bytearray(value))
                payload = memoryview(self.memories[k, t].memory)
            self.links[k].begin(t, role.name, payload, self.world.now, role.wants)

    def _settled(self, k: int, event: Settled) -> None:
        t, role = self.parts[k]
        assert event.t == t, f"{k}: settled {event.t}, but open is {t}"
        assert k in self.waiting, f"settled {t} twice with {k}"
        self.waiting.remove(k)
        if event.value is not None:
            assert role.wants
            assert not event.reason
            assert bytes(event.value) == value_of(k, self.me.peer, t, role.name)
            self.received[k] = event.value
        elif role.wants:
            assert event.reason, f"{t}: without a value, without a reason"
        had = event.value is not None
        self.came[k].append(Came(t, role, had, event.reason, self.started, self.world.now))

    def _happen(self) -> None:
        for k, link in self.links.items():
            kept = []
            while link.events:
                match event := link.events.popleft():
                    case Settled():
                        self._settled(k, event)
                    case Delivered(t):
                        # as if written over at once; a second time is a KeyError
                        memory = self.memories.pop((k, t)).memory
                        memory[:] = b"\x55" * len(memory)
                    case _:
                        kept.append(event)
            link.events.extend(kept)
        super()._happen()

    def _use(self) -> None:
        for k, value in self.received.items():  # still whole, now that the last one is there
            t, role = self.parts[k]
            assert bytes(value) == value_of(k, self.me.peer, t, role.name)
        self.open = None
        self.begin_at = self.world.now + self.world.compute.get(self.me.peer, 0.0)


class Writers(World):
    """Peers that follow scripts."""

    def __init__(self, scripts: Mapping[int, Script], **settings: Any) -> None:
        self.scripts = scripts
        edges = {
            (min(k, n), max(k, n)) for k, s in scripts.items() for step in s for n in step.roles
        }
        super().__init__(sorted(edges), **settings)

    def start(self, me: Identity, skip: int = 0, exchanges: int | None = None) -> Writer:
        actor = Writer(self, me, self.scripts[me.peer], skip)
        self.actors[me.peer] = actor
        for k in self.neighbours[me.peer]:
            self.cut(me.peer, k)
            self.cut(k, me.peer)
        self.at(self.now, lambda: self._tick(actor))
        return actor

    def writer(self, peer: int) -> Writer:
        actor = self.actors[peer]
        assert isinstance(actor, Writer)
        return actor

    def came(self, peer: int, neighbour: int) -> dict[Moment, Came]:
        return {came.t: came for came in self.writer(peer).came[neighbour]}

    def check(self) -> None:
        """Both ends of every link agree, as far as they can: what arrived for the sender did."""
        for peer in self.actors:
            for k in self.neighbours[peer]:
                if k not in self.actors:
                    continue
                other = self.came(k, peer)
                for t, came in self.came(peer, k).items():
                    if came.role.sends and not came.role.wants and not came.reason and t in other:
                        assert other[t].value, f"{t}: {peer} thinks that {k} has it"

    def assert_all_came(self) -> None:
        """Nobody did without anything."""
        for peer in self.actors:
            for k in self.neighbours[peer]:
                for came in self.came(peer, k).values():
                    assert came.value == came.role.wants, f"{peer} from {k}: {came}"
                    assert came.reason == "", f"{peer} from {k}: {came}"


# --- scripts --------------------------------------------------------------------------------------


def star(workers: Iterable[int], rounds: int, pattern: str) -> dict[int, Script]:
    """Server 0 and its workers; ``>`` sends to all of them, ``<`` gathers, ``x`` both at once."""
    workers = list(workers)
    scripts: dict[int, list[Step]] = {k: [] for k in (0, *workers)}
    for r in range(rounds):
        for i, way in enumerate(pattern):
            name = f"{PREFIX}{'model' if way == '>' else 'update'} {i}"
            there, back = way in ">x", way in "<x"
            scripts[0].append(Step(r, dict.fromkeys(workers, Role(name, there, back))))
            for k in workers:
                scripts[k].append(Step(r, {0: Role(name, back, there)}))
    return scripts


def pair(ways: str, rounds: int = 1) -> dict[int, Script]:
    """Peers 0 and 1; ``g`` and ``d`` swap an arena, the other signs are those of :func:`star`."""
    nets = {"g": "generator", "d": "discriminator"}
    scripts = star([1], rounds, ways)

    def role(i: int, otherwise: Role) -> Role:
        way = ways[i % len(ways)]
        return Role(nets[way], True, True) if way in nets else otherwise

    return {
        k: [
            Step(step.round, {n: role(i, each) for n, each in step.roles.items()})
            for i, step in enumerate(script)
        ]
        for k, script in scripts.items()
    }


# --- without faults -------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["><", ">><", ">", "<", "x", "><x", ">>>><<", "x>x<"])
@pytest.mark.parametrize("workers", [1, 3])
def test_without_faults_everything_comes(pattern: str, workers: int) -> None:
    world = Writers(star(range(1, workers + 1), 4, pattern))
    world.run(BOUND)
    world.wait(1.0)
    world.assert_all_came()
    for peer in world.actors:
        assert not world.writer(peer).memories  # all was delivered
        assert all(link.idle for link in world.actors[peer].links.values())


@settings(max_examples=60)
@given(st.text("<>xgd", min_size=1, max_size=12), st.sampled_from([0.001, 0.2, 1.5]))
def test_letters_and_arenas_take_turns_on_one_link(ways: str, latency: float) -> None:
    world = Writers(pair(ways, 2), latency=latency)
    world.run(BOUND)
    world.assert_all_came()


def test_nothing_is_sent_twice_where_the_other_end_is_slow() -> None:
    """What a receiver asks for before it was sent is not sent again for that."""
    world = Writers(star([1], 3, "><"))
    world.compute = {0: 7.3, 1: 8.6}
    world.run(BOUND)
    world.assert_all_came()
    chunks = [m for _, _, _, m in world.trace if isinstance(m, Chunk)]
    assert len(chunks) == len(set(chunks))


def test_two_letters_cross_at_one_moment() -> None:
    world = Writers(pair("x", 3), latency=0.5)
    world.run(BOUND)
    world.assert_all_came()
    offers = {(s, m.t) for _, s, _, m in world.trace if isinstance(m, Offer)}
    assert offers == {(k, Moment(r, 0)) for k in (0, 1) for r in range(3)}


# --- with faults ----------------------------------------------------------------------------------

TROUBLE = st.sets(st.sampled_from(["drop", "duplicate", "delay"]), min_size=1)


@settings(max_examples=80)
@given(st.integers(0, 10**6), TROUBLE, st.sampled_from(["><", ">><", "x", ">x<", "<<>"]))
def test_a_server_and_its_workers_lose_nothing_to_losses(
    seed: int, kinds: set[str], pattern: str
) -> None:
    world = Writers(star([1, 2, 3], 3, pattern))
    adversary = Adversary(seed, kinds)
    adversary.rate = min(adversary.rate, 0.1)
    adversary.join(world)
    world.run(600.0)
    world.assert_all_came()


@settings(max_examples=80)
@given(st.integers(0, 10**6), TROUBLE, st.text("<>xgd", min_size=2, max_size=8))
def test_any_sequence_of_exchanges_survives_losses(seed: int, kinds: set[str], ways: str) -> None:
    world = Writers(pair(ways, 2))
    adversary = Adversary(seed, kinds)
    adversary.rate = min(adversary.rate, 0.1)
    adversary.join(world)
    world.run(900.0)
    world.assert_all_came()


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sets(st.sampled_from(["drop", "duplicate", "delay", "cut", "flip", "truncate"]), min_size=1),
    st.text("<>xgd", min_size=2, max_size=6),
)
def test_whatever_happens_both_ends_end_and_agree(seed: int, kinds: set[str], ways: str) -> None:
    world = Adversary(seed, kinds).join(Writers(pair(ways, 2)))
    assert isinstance(world, Writers)
    world.run(4000.0)
    world.check()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 1), st.floats(0.0, 6.0), st.text("<>x", min_size=1))
def test_either_end_may_be_killed_and_come_back_or_not(
    seed: int, victim: int, when: float, ways: str
) -> None:
    world = Writers(pair(ways[:8], 3), timing=Timing.within(10.0, 8.0))
    world.compute = {0: 0.3, 1: 0.2}
    draw = np.random.default_rng(seed)
    world.run(60.0, until=lambda: world.now >= when)
    steps = sum(len(came) for came in world.writer(victim).came.values())
    world.kill(victim)
    world.wait(float(draw.exponential(3.0)))
    if draw.random() < 0.7:
        from_start = draw.random() < 0.4
        rounds = len(ways[:8])
        skip = 0 if from_start else steps // rounds * rounds  # its checkpoint is of a round's end
        world.start(identity(victim, 77), skip=skip)
    world.run(60.0 + 24 * 12.0)
    for peer in world.actors:
        for came in world.writer(peer).came[1 - peer]:
            assert came.ended - came.began < 30.0


@pytest.mark.parametrize("lost", ["Offer", "Chunk", "Ack", "Nack"])
@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("ways", [">", "<", "x"])
def test_any_one_message_may_be_lost(lost: str, number: int, ways: str) -> None:
    seen: Counter[str] = Counter()

    def fate(packet: Packet) -> list[tuple[float, Packet]]:
        kind = type(packet.message).__name__
        seen[kind] += 1
        return [] if kind == lost and seen[kind] == number + 1 else faithful(packet)

    world = Writers(pair(ways, 3), fate=fate)
    world.run(20.0)
    world.assert_all_came()


# --- who is late, away, gone ----------------------------------------------------------------------


def test_a_receiver_of_what_the_other_is_past_goes_on_at_once() -> None:
    """The sender skipped an exchange: the receiver asks, hears "late", and does not wait on."""
    scripts = pair("<", 3)
    scripts[1] = [step for step in scripts[1] if step.round != 1]
    world = Writers(scripts)
    world.run(10.0)
    came = world.came(0, 1)
    assert [came[Moment(r, 0)].value for r in range(3)] == [True, False, True]
    assert came[Moment(1, 0)].reason == "it went on without us"
    assert world.came(1, 0)[Moment(2, 0)].reason == ""


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_sender_to_one_who_is_past_it_goes_on_at_once(count: int) -> None:
    """The receiver skipped them all: none of them takes the room of what it waits for."""
    scripts = pair(">" * count, 3)
    scripts[1] = [step for step in scripts[1] if step.round != 1]
    world = Writers(scripts)
    world.run(10.0)
    sent, got = world.came(0, 1), world.came(1, 0)
    for t, came in sent.items():
        # the first may have come before the receiver was past it
        assert came.reason in ("", "it went on without us") if t.round == 1 else came.reason == ""
    assert all(came.value for came in got.values())
    assert {t.round for t in got} == {0, 2}


@pytest.mark.parametrize("ways", [">", "<", "><", "x"])
def test_a_neighbour_that_never_comes_costs_the_start_timeout_once(ways: str) -> None:
    world = Writers(pair(ways, 5), absent=[1])
    world.run(BOUND)
    came = list(world.came(0, 1).values())
    assert 120.0 <= came[0].ended < 121.0
    assert came[-1].ended < came[0].ended + 1.0
    assert {c.reason for c in came} == {"it did not come in 120 s"}
    assert not world.writer(0).memories


@pytest.mark.parametrize("ways", [">", "<", "><", "x"])
def test_one_who_falls_silent_costs_one_deadline(ways: str) -> None:
    world = Writers(pair(ways, 40))
    world.compute = {0: 0.5, 1: 0.5}
    world.run(20.0, until=lambda: world.now > 3.0)
    world.freeze(1)
    world.run(200.0, until=lambda: world.writer(0).finished)
    waits = [c.ended - c.began for c in world.came(0, 1).values() if c.reason]
    assert 55.0 < waits[0] < 62.0
    assert all(wait < 0.1 for wait in waits[1:])
    assert not world.writer(0).memories
    world.thaw(1)
    world.run(90.0)
    world.check()


@pytest.mark.parametrize("ways", [">", "<", "x"])
def test_one_who_has_finished_is_not_waited_for(ways: str) -> None:
    scripts = pair(ways, 4)
    scripts[1] = scripts[1][:2]
    world = Writers(scripts)
    world.writer(1).leaves = True
    world.run(10.0)
    world.wait(1.0)
    came = world.came(0, 1)
    assert [came[Moment(r, 0)].reason for r in range(2)] == ["", ""]
    assert all("finished" in came[Moment(r, 0)].reason or came[Moment(r, 0)].reason == "it is left"
               for r in (2, 3))  # fmt: skip
    assert not world.writer(0).memories


def test_a_receiver_restarted_without_end_does_not_hold_a_sender_for_ever() -> None:

    def no_chunks(packet: Packet) -> list[tuple[float, Packet]]:
        return [] if isinstance(packet.message, Chunk) else faithful(packet)

    world = Writers({0: star([1], 1, ">")[0], 1: []}, fate=no_chunks)
    for session in range(60, 70):
        world.wait(3.0)
        if world.writer(0).finished:
            break
        world.start(identity(1, session))
    assert world.writer(0).finished
    assert "restarted" in world.came(0, 1)[Moment(0, 0)].reason


def test_a_part_of_a_value_that_was_given_up_is_not_waited_for() -> None:
    """The sender gives up, and its word for it is lost: it answers PINGs, and will never send."""

    def half_and_no_abort(packet: Packet) -> list[tuple[float, Packet]]:
        message = packet.message
        half = isinstance(message, Chunk) and message.t.round == 0 and message.index > 1
        return [] if half or message == Ack(Moment(0, 0), 0, "abort") else faithful(packet)

    world = Writers(pair(">", 2), fate=half_and_no_abort)
    world.run(5.0, until=lambda: world.now > 4.0)
    sender = world.actors[0].links[1]
    sender._settlement.do_without("it has had enough")
    world.run(40.0)
    assert world.came(0, 1)[Moment(0, 0)].reason == "it has had enough"
    assert world.came(1, 0)[Moment(0, 0)].reason == "it went on without us"
    assert world.came(1, 0)[Moment(1, 0)].value


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [("@model", "generator"), ("generator", "@model"), ("@update", "@model")],
)
def test_another_value_than_what_is_expected_is_refused(sent: str, wanted: str) -> None:
    world = Writers(
        {
            0: [Step(0, {1: Role(sent, True, False)}), Step(1, {1: Role("@next", True, True)})],
            1: [Step(0, {0: Role(wanted, False, True)}), Step(1, {0: Role("@next", True, True)})],
        }
    )
    world.run(10.0)
    reason = world.came(1, 0)[Moment(0, 0)].reason
    assert reason == f"it sent '{sent}' where '{wanted}' is exchanged"
    assert world.actors[1].links[0].strikes == 1
    assert world.came(1, 0)[Moment(1, 0)].value
    assert world.came(0, 1)[Moment(1, 0)].value


def test_acks_and_nacks_stay_few() -> None:
    """Whoever waits long asks ever more seldom."""
    world = Writers(star([1], 1, "<"))
    world.compute = {1: 0.0}
    world.actors[1].begin_at = 200.0
    world.run(BOUND + 100.0)
    world.assert_all_came()
    asked = [m for _, s, _, m in world.trace if s == 0 and isinstance(m, Nack)]
    assert 4 <= len(asked) <= 12
    assert not [m for _, s, _, m in world.trace if s == 1 and isinstance(m, Ack)]

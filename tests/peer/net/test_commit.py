"""Both ends of a link use what they swap, or neither does, whatever the network does to them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from peer.effects import BEFORE_ALL, Moment
from peer.net.away.failure_detector import Timing
from peer.net.exchange import Exchange
from peer.net.settling.commit import Commit
from peer.net.transfer import sender as sender_module
from peer.net.wire import Ack, Nack, Offer, Ping, Vote, Welcome
from tests.peer.net.test_link_against_a_script import Scripted
from tests.peer.net.test_two_links_in_virtual_time import GRAPHS, Packet, World, faithful
from tests.support.links import CHUNK, moments, value_of

TIMING = Timing.within(start_timeout=8.0, deadline=3.0, catch_up=400)


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Values of a few kilobytes, yet of many chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)
        yield


def disagreements(world: World) -> list[tuple[int, int, Moment]]:
    """The exchanges that one end of a link used and the other did not."""
    found = []
    for a, neighbours in world.neighbours.items():
        for b in sorted(neighbours):
            one, other = world.actors[a].results, world.actors[b].results
            both = one.keys() & other.keys() if a < b else ()
            found += [(a, b, t) for t in both if one[t].get(b, False) != other[t].get(a, False)]
    return found


def in_doubt(world: World) -> int:
    return sum(len(actor.doubts) for actor in world.actors.values())


def chaos(seed: int, graph: str, agrees: bool, exchanges: int = 40) -> World:
    """A network with rates of its own of loss, delay, cuts and standstills; then it heals."""
    draw = np.random.default_rng(seed)
    loss, twice, late = draw.choice([0.0, 0.01, 0.1, 0.3], 3)
    healed = [False]

    def fate(packet: Packet) -> list[tuple[float, Packet]]:
        if healed[0]:
            return faithful(packet)
        copies = 0 if draw.random() < loss else 2 if draw.random() < twice else 1
        return [(float(draw.exponential(0.5)) if draw.random() < late else 0.0, packet)] * copies

    world = World(GRAPHS[graph], exchanges, timing=TIMING, fate=fate, agrees=agrees)
    world.compute = {k: float(draw.choice([0.0, 0.3, 1.0])) for k in world.actors}
    edges = [(a, b) for a in world.neighbours for b in world.neighbours[a]]
    chaos_ends = 40.0
    for _ in range(int(draw.integers(1, 12))):
        a, b = edges[int(draw.integers(len(edges)))]
        at, seconds = float(draw.uniform(0.0, chaos_ends)), float(draw.choice([0.2, 4.0, 10.0]))
        match draw.integers(3):
            case 0:  # one direction is gone; what was under way may be lost
                loses = bool(draw.random() < 0.7)
                world.at(at, lambda a=a, b=b, s=seconds, x=loses: world.cut(a, b, s, loses=x))
            case 1:
                world.at(at, lambda a=a, b=b: world.blocked.add((a, b)))
                world.at(at + seconds, lambda a=a, b=b: world.blocked.discard((a, b)))
            case 2:
                world.at(at, lambda a=a: world.freeze(a))
                world.at(at + seconds, lambda a=a: world.thaw(a))

    def heal() -> None:
        healed[0] = True
        world.blocked.clear()

    world.at(chaos_ends + 11.0, heal)
    world.run(2000.0)
    world.wait(max(0.0, chaos_ends + 60.0 - world.now))
    return world


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("seed", range(6))
def test_both_ends_use_a_swap_or_neither(seed: int, graph: str) -> None:
    world = chaos(seed, graph, agrees=True)
    assert in_doubt(world) == 0
    assert disagreements(world) == []
    assert all(list(actor.results) == moments(40) for actor in world.actors.values())


def test_without_agreement_some_swaps_are_used_by_one_end_alone() -> None:
    found = [seed for seed in range(6) if disagreements(chaos(seed, "ring of 5", agrees=False))]
    assert found, "this chaos shows nothing"


def test_what_is_in_doubt_comes_up_in_that_chaos() -> None:
    worlds = [chaos(seed, "ring of 5", agrees=True) for seed in range(6)]
    assert sum(actor.was_in_doubt for world in worlds for actor in world.actors.values()) > 0


# --- one by one -----------------------------------------------------------------------------------


def lose(verdict: str, t: Moment) -> World:
    """Peer 0 decides; its ``verdict`` on ``t``, and all answers to votes until 20 s, are lost."""
    held = [True]

    def fate(packet: Packet) -> list[tuple[float, Packet]]:
        match packet.message:
            case Ack(t=at, verdict=said) if at == t and said == verdict and held[0]:
                return []
        return faithful(packet)

    world = World(exchanges=40, timing=TIMING, fate=fate, agrees=True)
    world.compute = {0: 0.5, 1: 0.5}
    world.at(20.0, lambda: held.__setitem__(0, False))
    return world


def test_a_lost_commit_is_asked_for_again_and_nobody_goes_on_without_it() -> None:
    t = moments(40)[3]
    world = lose("commit", t)
    world.run(100.0)
    assert world.all_exact()
    assert world.actors[1].was_in_doubt == 0  # the decider answers PINGs: it was waited for
    assert world.counts[Vote] > 45


def test_a_voter_that_hears_nothing_goes_on_in_doubt_and_learns_it_late() -> None:
    t = moments(40)[3]
    world = lose("commit", t)
    # from the loss on, peer 1 hears nothing of peer 0, which hears it
    world.run(30.0, until=lambda: t in world.actors[0].results)
    world.blocked.add((0, 1))
    world.wait(12.0)
    assert world.actors[0].results[t] == {1: True}
    assert world.actors[1].doubts == {0: t}
    assert len(world.actors[1].results) > 6  # it did not stand still
    world.blocked.clear()
    world.run(100.0)
    assert world.actors[1].results[t] == {0: True}
    assert not world.actors[1].doubts
    assert disagreements(world) == []
    assert world.values(1)[-5:] == [{0: True}] * 5


def test_an_abort_that_is_lost_is_presumed() -> None:
    t = moments(40)[3]
    world = World(exchanges=40, timing=TIMING, agrees=True)
    world.compute = {0: 0.5, 1: 0.5}
    world.run(30.0, until=lambda: world.actors[0].open == t)
    world.blocked.update({(1, 0)})  # the vote does not get there
    world.wait(1.0)
    world.blocked.add((0, 1))
    world.wait(8.0)
    assert world.actors[0].results[t] == {1: False}
    assert world.actors[1].doubts == {0: t}
    world.blocked.clear()
    world.run(100.0)
    assert world.actors[1].results[t] == {0: False}
    assert disagreements(world) == []


def test_a_decider_started_anew_answers_as_far_as_its_state_goes_back() -> None:

    t = Moment(4, 0)
    for used, answer in ((t, "commit"), (BEFORE_ALL, "abort"), (Moment(3, 1), "abort")):
        scripted = Scripted(agrees=True, used=used)
        scripted.say(Vote(t, scripted.me.session))
        assert [m for m in scripted.heard() if isinstance(m, Ack)] == [Ack(t, 0, answer)]


def test_a_vote_for_a_former_process_is_answered_while_the_exchange_is_open() -> None:
    """Else the voter, bound by its vote, and the decider, without one, wait for ever."""
    t, said = Moment(4, 0), []
    commit = Commit(True, 1.0, said.append, lambda decided: None)
    exchange = Exchange().next(t, "generator", True, 0.0, 1.0, 1.0, is_mutual=True)
    commit.voted(t, exchange, is_of_us=False)
    assert said == [Ack(t, 0, "abort")]
    assert not commit.agreed(t, 1, 0.0)
    commit.voted(t, exchange, is_of_us=True)
    assert commit.agreed(t, 1, 0.0)
    assert said == [Ack(t, 0, "abort"), Ack(t, 0, "commit")]


def test_the_rest_of_a_value_that_the_voter_has_given_up_is_asked_for_soon() -> None:
    """A decider that was started anew said "abort"; of the voter's value the offer alone had come.

    What else comes of it is lost with the voter's part in the exchange: waiting is for nothing.
    """
    t, later = moments(3)[0], moments(3)[2]
    scripted = Scripted(agrees=True)
    scripted.begin(t)
    scripted.say(scripted.offer(t))
    scripted.say(Vote(t, 999))  # for the value of another process
    assert Ack(t, 0, "abort") in scripted.heard()
    scripted.say(Ping(later, 1))
    scripted.wait(1.5 * scripted.link.timing.retry)
    assert Nack(t, 0) in scripted.heard()
    scripted.say(Ack(t, 0, "late"))
    assert [(settled.t, settled.value) for settled in scripted.settled()] == [(t, None)]


@pytest.mark.parametrize("agrees", [True, False])
def test_what_a_former_process_sent_ahead_is_not_used_where_both_ends_agree(agrees: bool) -> None:
    """It comes to that exchange with another value, and would use that."""
    here, ahead = moments(2)
    scripted = Scripted(agrees=agrees)
    scripted.begin(here)
    scripted.send(ahead)  # whole, while ours is still in the exchange before
    scripted.session, scripted.seq = 32, 0  # the neighbour is started anew
    scripted.say_hello()
    scripted.say(Welcome(scripted.me.session, 0))
    scripted.say(Ack(here, 0, "late"))
    scripted.say(Vote(ahead, scripted.me.session))
    scripted.begin(ahead)
    scripted.say(Vote(ahead, scripted.me.session))
    used = [settled.t for settled in scripted.settled() if settled.value is not None]
    assert used == ([] if agrees else [ahead])
    if agrees:
        new = value_of(2, ahead)
        scripted.send(ahead, new)
        assert bytes(scripted.settled()[-1].value or b"") == new


def test_who_voted_has_our_value_and_its_next_process_is_not_offered_it() -> None:
    """That one would ask, hear that the value was used, and use another of its own."""
    t = moments(1)[0]
    scripted = Scripted(agrees=True)
    scripted.begin(t)
    scripted.send(t)
    scripted.say(Vote(t, scripted.me.session))  # and its ACK "whole" is late
    assert [settled.t for settled in scripted.settled()] == [t]
    scripted.heard()
    scripted.session, scripted.seq = 32, 0  # the neighbour is started anew
    scripted.say_hello()
    scripted.say(Welcome(scripted.me.session, 0))
    assert not any(isinstance(message, Offer) for message in scripted.heard())

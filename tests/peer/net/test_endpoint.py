"""An endpoint among others, and alone among liars, in virtual time.

What every peer must see at every moment, the peers of :mod:`tests.support.network_in_memory`
assert themselves: the neighbours' bytes, pieces in order, one outcome, one release a payload.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import networkx as nx
import numpy as np
import pytest
from hypothesis import Phase as Stage
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.net.commands import Begin
from peer.net.endpoint import GRACE
from peer.net.events import Arriving, Event, Outcome
from peer.net.session import Phase
from peer.net.transfer import sender as sender_module
from tests.support.network_in_memory import (
    BRISK,
    CHUNK,
    TICK,
    Edge,
    Faults,
    Host,
    NetworkInMemory,
    Step,
    address_of,
    any_ways,
    identity,
    make_endpoint,
    two_way,
)

GRAPHS: dict[str, list[Edge]] = {
    "pair": [(0, 1)],
    "ring of 3": list(nx.cycle_graph(3).edges),
    "ring of 6": list(nx.cycle_graph(6).edges),
    "star": list(nx.star_graph(5).edges),
    "complete": list(nx.complete_graph(5).edges),
}


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Values of a few kilobytes, yet of many chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "chunk_size", lambda speed: CHUNK)
        yield


seeds = st.integers(0, 2**32 - 1)


def examples(count: int) -> settings:
    """Whole networks: the example that fails is given as it is, for to shrink it takes minutes."""
    return settings(max_examples=count, phases=[Stage.explicit, Stage.reuse, Stage.generate])


@st.composite
def graphs(draw: st.DrawFn, most: int = 8) -> list[Edge]:
    """A random tree, and some more edges; ids are not in the order of anything."""
    random = np.random.default_rng(draw(seeds))
    count = draw(st.integers(2, most))
    names = [int(k) for k in random.permutation(3 * count)[:count]]
    edges = {(names[int(random.integers(k))], names[k]) for k in range(1, count)}
    for a, b in itertools.combinations(names, 2):
        if random.random() < 0.2 and (b, a) not in edges:
            edges.add((a, b))
    return sorted(edges)


def assert_complete(network: NetworkInMemory) -> None:
    """Everybody had all that it wanted, at every step that it had a part in."""
    for host in network.hosts.values():
        wanted = {s: {k for k, r in at.items() if r.wants} for s, at in enumerate(host.roles) if at}
        assert {s: result.values for s, result in host.results.items()} == wanted
        assert all(not result.missing for result in host.results.values())


def assert_undisturbed(network: NetworkInMemory) -> None:
    for host in network.hosts.values():
        assert all(phases == [Phase.UP] for phases in host.phases.values())
        assert host.endpoint.admission.foreign == 0
        assert not host.redials
        assert not host.failures
        assert host.notes == [f"peer {k}: up (connected)" for k in sorted_by_note(host)]


def sorted_by_note(host: Host) -> list[int]:
    """The neighbours in the order that they came."""
    order = [int(note.split()[1].rstrip(":")) for note in host.notes]
    assert sorted(order) == sorted(host.phases)
    return order


def assert_released(network: NetworkInMemory) -> None:
    """Some time after the last exchange, nothing is on its way."""
    network.wait(3.0)
    for host in network.hosts.values():
        assert host.unreleased == 0
        assert all(link.idle for link in host.endpoint.links.values())


def missing(host: Host) -> list[set[int]]:
    return [host.results[s].missing for s in sorted(host.results)]


def said_without(host: Host, peer: int) -> list[str]:
    return [note for note in host.notes if f"going on without peer {peer}:" in note]


# --- exchanges without faults ---------------------------------------------------------------------


@pytest.mark.parametrize("curve", [True, False])
@pytest.mark.parametrize("edges", GRAPHS.values(), ids=GRAPHS)
def test_every_exchange_has_every_neighbours_bytes(edges: list[Edge], curve: bool) -> None:
    network = NetworkInMemory(edges, two_way(edges, 8), curve=curve, checksum=not curve)
    network.run(5.0)
    assert_complete(network)
    assert_undisturbed(network)
    assert_released(network)
    for peer, host in network.hosts.items():
        streamed = sum(len(result.in_pieces) for result in host.results.values())
        assert streamed == 0 if peer % 2 else streamed > 0  # even peers let values come in pieces


@given(
    graphs(), seeds, st.integers(1, 5), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 0.002, 0.2]),
)  # fmt: skip
@examples(30)
def test_arenas_and_letters_go_any_way_over_any_graph(
    edges: list[Edge], seed: int, per_round: int, curve: bool, slowly: bool, latency: float
) -> None:
    network = NetworkInMemory(
        edges, any_ways(edges, 8, seed), curve=curve, checksum=not curve, latency=latency,
        per_round=per_round, writes_slowly=slowly,
        compute={edges[0][0]: 0.3},
    )  # fmt: skip
    network.run(60.0)
    assert_complete(network)
    assert_undisturbed(network)
    assert_released(network)


def test_a_hundred_endpoints() -> None:
    graph = nx.gnm_random_graph(100, 130, seed=4)
    edges = [*graph.edges, *((k, (k + 1) % 100) for k in graph if graph.degree[k] == 0)]
    script = [Step("discriminator", dict.fromkeys(edges, "x"))] * 20
    network = NetworkInMemory(edges, script, records=True)
    network.run(5.0)
    assert_complete(network)
    assert_undisturbed(network)
    chunks = sum(bool(body) for *_, body in network.wire)
    assert chunks == 20 * 2 * len(edges) * 2  # each once


def test_an_exchange_with_nobody_is_over_at_once() -> None:
    endpoint = make_endpoint(identity(0), [1])
    endpoint.begin(Begin({}), 0.0)
    assert list(endpoint.events) == [Outcome({}, set())]


# --- exchanges with faults ------------------------------------------------------------------------


@given(graphs(5), seeds, st.sampled_from([0.02, 0.1, 0.3]), st.booleans(), st.booleans())
@examples(30)
def test_losses_never_hang_and_never_change_a_value(
    edges: list[Edge], seed: int, rate: float, curve: bool, slowly: bool
) -> None:
    network = NetworkInMemory(
        edges, any_ways(edges, 6, seed), curve=curve, checksum=not curve,
        fate=Faults(seed, rate), writes_slowly=slowly, leaves=seed % 2 == 0,
    )  # fmt: skip
    draw = np.random.default_rng(seed)
    for _ in range(int(draw.integers(4))):
        a, b = edges[draw.integers(len(edges))]
        network.at(float(draw.exponential(2.0)), lambda a=a, b=b: network.cut(a, b))  # type: ignore[misc]
    network.run(300.0)
    for host in network.hosts.values():
        assert sorted(host.results) == [s for s, roles in enumerate(host.roles) if roles]
        assert not host.failures
        assert all(link.strikes == 0 for link in host.endpoint.links.values())


@given(graphs(5), seeds)
@examples(10)
def test_after_the_faults_everything_arrives_again(edges: list[Edge], seed: int) -> None:
    network = NetworkInMemory(
        edges, two_way(edges, 60), fate=Faults(seed, 0.2, until=8.0),
        compute=dict.fromkeys(itertools.chain(*edges), 0.5),
    )  # fmt: skip
    network.run(200.0)
    for host in network.hosts.values():
        healed = [r for r in host.results.values() if r.at > 25.0]
        assert len(healed) >= 5
        assert all(r.values == set(host.phases) for r in healed)
    assert_released(network)


# --- deaths ---------------------------------------------------------------------------------------


def test_a_neighbour_that_dies_is_done_without_and_takes_part_again() -> None:
    edges = GRAPHS["complete"][:9]  # 3 and 4 are not joined
    network = NetworkInMemory(
        edges, two_way(edges, 60), compute=dict.fromkeys(range(5), 0.5), absent=frozenset([4])
    )
    network.start(identity(4))
    network.wait(5.0)
    others = [network.hosts[k] for k in (0, 1, 2)]
    before = [len(host.results) for host in others]
    assert all(not any(missing(host)) for host in others)
    network.kill(4)
    network.wait(15.0)
    for host, count in zip(others, before, strict=True):
        times = [host.results[s].at for s in sorted(host.results)]
        without = missing(host)
        assert without == [set()] * count + [{4}] * (len(without) - count)
        assert len(without) > count + 15
        assert BRISK.deadline - 0.6 <= times[count] - 5.0 <= BRISK.deadline + 3 * TICK
        assert max(np.diff(times[count:])) < 0.5 + 3 * TICK  # later ones do not wait for it
        assert len(said_without(host, 4)) == 1
        assert f"round {count // 2 + 1}: " in said_without(host, 4)[0]
        assert all(result.values >= {0, 1, 2, 3} - {host.peer} for result in host.results.values())
    assert not any(missing(network.hosts[3]))
    back = others[0].step + 2
    network.start(identity(4, 2004), back)
    network.wait(5.0)
    for host in others:
        assert [s for s in host.results if s >= back]
        assert all(4 in result.values for s, result in host.results.items() if s >= back)
        assert host.phases[4][-1] is Phase.UP
        assert len(said_without(host, 4)) == 1
    network.kill(4)
    network.run(60.0)
    assert all(missing(host)[-1] == {4} for host in others)
    assert all(len(said_without(host, 4)) == 2 for host in others)  # the second death is news


def test_who_never_came_is_waited_for_once() -> None:
    edges = GRAPHS["ring of 3"]
    network = NetworkInMemory(edges, two_way(edges, 10), absent=frozenset([2]))
    network.run(30.0)
    for host in network.hosts.values():
        assert missing(host) == [{2}] * 10
        assert len(said_without(host, 2)) == 1
        assert host.results[0].at == pytest.approx(BRISK.start_timeout, abs=3 * TICK)


@pytest.mark.parametrize("apart", [0.0, 0.3, 3.0])
def test_both_ends_of_a_link_die_and_take_part_again(apart: float) -> None:
    edges = GRAPHS["ring of 6"]
    network = NetworkInMemory(edges, two_way(edges, 80), compute=dict.fromkeys(range(6), 0.5))
    network.wait(3.0)
    for peer in (2, 3):
        network.kill(peer)
        network.wait(apart)
    network.wait(12.0)
    for peer in (2, 3):
        network.start(identity(peer, 2000 + peer), network.hosts[0].step + 2)
        network.wait(apart)
    network.run(100.0)
    for peer, neighbours in enumerate(network.graph[k] for k in range(6)):
        host = network.hosts[peer]
        assert all(host.results[s].values == set(neighbours) for s in range(60, 80))
    assert missing(network.hosts[0]) == missing(network.hosts[5]) == [set()] * 80
    assert any(missing(network.hosts[1]))
    assert len(said_without(network.hosts[1], 2)) == 1


@given(graphs(7), seeds, st.booleans(), st.booleans())
@examples(30)
def test_whoever_dies_freezes_or_restarts_nobody_hangs(
    edges: list[Edge], seed: int, curve: bool, slowly: bool
) -> None:
    peers = sorted(set(itertools.chain(*edges)))
    draw = np.random.default_rng(seed)
    network = NetworkInMemory(
        edges, any_ways(edges, 12, seed), curve=curve, checksum=not curve, writes_slowly=slowly,
        compute={k: float(draw.choice([0.0, 0.4])) for k in peers}, leaves=True,
    )  # fmt: skip

    def restart(peer: int, session: int, behind: int) -> None:
        steps = [host.step for host in network.hosts.values()] or [0]
        network.start(identity(peer, session), min(11, max(0, max(steps) - behind)))

    hits = draw.permutation(peers)[: int(draw.integers(1, 4))]
    for peer, session in zip((int(k) for k in hits), itertools.count(5000)):
        at = float(draw.exponential(1.5))
        if draw.random() < 0.3:
            network.at(at, lambda k=peer: network.freeze(k))  # type: ignore[misc]
            network.at(at + float(draw.exponential(4.0)), lambda k=peer: network.thaw(k))  # type: ignore[misc]
        else:
            network.at(at, lambda k=peer: network.kill(k))  # type: ignore[misc]
            if draw.random() < 0.6:
                behind, later = int(draw.integers(-1, 4)), at + float(draw.exponential(4.0))
                network.at(later, lambda k=peer, s=session, b=behind: restart(k, s, b))  # type: ignore[misc]
    network.wait(30.0)
    network.run(60.0)
    for host in network.hosts.values():
        assert not host.failures
        assert all(link.strikes == 0 for link in host.endpoint.links.values())


@pytest.mark.parametrize("seconds", [3.0, 30.0])
def test_who_was_frozen_does_not_take_its_own_silence_for_a_neighbours(seconds: float) -> None:
    edges = GRAPHS["ring of 3"]
    network = NetworkInMemory(edges, two_way(edges, 200), compute=dict.fromkeys(range(3), 0.5))
    network.wait(3.0)
    network.freeze(1)
    network.wait(seconds)
    network.thaw(1)
    network.run(300.0)
    frozen, other = network.hosts[1], network.hosts[0]
    assert not any("silent" in note for note in frozen.notes)
    assert any({1} == gone for gone in missing(other)) == (seconds > BRISK.deadline)
    assert other.phases[1][-1] is Phase.UP
    assert all(other.results[s].values == {1, 2} for s in range(190, 200))
    assert len(said_without(other, 1)) <= 1


@pytest.mark.parametrize("graph", ["pair", "ring of 3", "star", "complete"])
@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_who_was_away_for_long_joins_the_others_and_keeps_nobody_waiting(
    graph: str, how: str
) -> None:
    edges = GRAPHS[graph]
    peers = sorted({k for edge in edges for k in edge})
    away, back, end = 5.0, 60.0, 100.0
    network = NetworkInMemory(
        edges, two_way(edges, 4000), compute=dict.fromkeys(peers, 0.05), per_round=2
    )
    network.wait(away)
    before = network.hosts[1].step
    if how == "frozen":
        network.freeze(1)
    else:
        network.kill(1)
    network.wait(back - away)
    if how == "frozen":
        network.thaw(1)
    else:
        network.start(identity(1, 7777), before)
    network.wait(end - back)
    late = network.hosts[1]
    assert late.joined[0][1] - late.joined[0][0] > 100
    assert len(late.joined) <= 5
    joined = late.joined[-1][1]
    listened = [late.results[s] for s in (2 * joined, 2 * joined + 1)]
    neighbours = set(late.phases)
    assert all(result.values == neighbours for result in listened)
    assert listened[-1].at - back < 5.0
    for k in neighbours:
        times = {s: result.at for s, result in network.hosts[k].results.items() if result.at > back}
        assert max(np.diff(sorted(times.values()))) < 1.0, "it kept a neighbour waiting"
        after = [network.hosts[k].results[s] for s in times if s >= 2 * joined + 2]
        assert len(after) > 100
        assert all(1 in result.values for result in after)


# --- another experiment next door, and farewells ------------------------------------------------


def test_in_a_network_both_sides_of_the_difference_name_each_other() -> None:
    edges = [(0, 1), (1, 2), (2, 3)]
    network = NetworkInMemory(edges, two_way(edges, 3), absent=frozenset([2]))
    network.start(identity(2, seed="9"))
    network.wait(8.0)
    for host, other in ((1, 2), (2, 1), (3, 2)):
        ((at, problem),) = network.hosts[host].failures
        assert f"peer {other} at {address_of(other)} " in str(problem)
        assert GRACE <= at <= GRACE + 1.0
        assert network.hosts[host].results == {}
    assert network.hosts[0].failures == []


def test_after_an_exchange_another_experiment_does_not_fail_the_run() -> None:
    edges = GRAPHS["ring of 3"]
    network = NetworkInMemory(edges, two_way(edges, 40), compute=dict.fromkeys(range(3), 0.5))
    network.wait(3.0)
    network.kill(2)
    network.wait(6.0)
    network.start(identity(2, 2002, seed="9"))
    network.wait(3.0)
    for peer in (0, 1):
        host = network.hosts[peer]
        assert host.phases[2][-1] is Phase.REFUSED
        assert any("peer 2: refused" in note and "seed differ" in note for note in host.notes)
    network.kill(2)
    network.run(60.0)
    for host in network.hosts.values():
        assert not host.failures
        assert missing(host)[-10:] == [{2}] * 10
        assert len(said_without(host, 2)) == 1


def test_in_a_network_who_leaves_is_said_to_have_left_and_not_waited_for() -> None:
    edges = GRAPHS["ring of 3"]
    network = NetworkInMemory(
        edges, two_way(edges, 20), compute=dict.fromkeys(range(3), 0.5), leaves=True
    )
    network.hosts[2].roles = network.hosts[2].roles[:5]
    leaver = network.hosts[2]
    network.run(10.0, lambda: leaver.has_left)
    assert leaver.unreleased == 0
    assert not leaver.endpoint.events
    network.run(20.0)
    for peer in (0, 1):
        host = network.hosts[peer]
        assert missing(host) == [set()] * 5 + [{2}] * 15
        assert host.phases[2] == [Phase.UP, Phase.LEFT]
        assert len(said_without(host, 2)) == 1
        assert max(np.diff([host.results[s].at for s in range(20)])) < 0.5 + 3 * TICK


# --- determinism ----------------------------------------------------------------------------------


def disturbed(edges: list[Edge], seed: int, reverses: bool = False) -> NetworkInMemory:
    network = NetworkInMemory(
        edges, any_ways(edges, 10, seed), fate=Faults(seed, 0.1), records=True,
        reverses_links=reverses, compute={edges[0][0]: 0.4},
    )  # fmt: skip
    victim = edges[-1][1]
    network.at(2.0, lambda: network.kill(victim))
    network.at(5.0, lambda: network.start(identity(victim, 7777), 2))
    network.wait(15.0)
    return network


@given(graphs(5), seeds)
@examples(5)
def test_the_same_inputs_give_the_same_bytes_twice(edges: list[Edge], seed: int) -> None:
    once, again = disturbed(edges, seed), disturbed(edges, seed)
    assert len(once.wire) > 20
    assert once.wire == again.wire
    for peer, host in once.hosts.items():
        assert host.notes == again.hosts[peer].notes
        assert host.results == again.hosts[peer].results


@pytest.mark.parametrize("what", ["frames", "events"])
@given(edges=graphs(5), seed=seeds)
@examples(5)
def test_the_order_in_which_links_were_made_changes_nothing(
    what: str, edges: list[Edge], seed: int
) -> None:
    for host in disturbed(edges, seed).hosts.values():
        neighbours = sorted(host.phases)
        once, again = replayed(host, neighbours), replayed(host, neighbours[::-1])
        assert once[what] == again[what]


def replayed(host: Host, neighbours: list[int]) -> dict[str, list[object]]:
    """What comes out of another endpoint, call by call, when the same goes in."""
    me = host.endpoint.links[neighbours[0]].me
    endpoint = make_endpoint(me, neighbours)
    out: dict[str, list[object]] = {"frames": [], "events": []}
    for name, arguments in host.inputs:
        getattr(endpoint, name)(*arguments)
        out["events"].append([plain(event) for event in endpoint.events])
        endpoint.events.clear()
        frames = {}
        for k, outbox in endpoint.outboxes:
            frames[k] = [(header, bytes(body or b"")) for header, body in outbox]
            outbox.clear()
        out["frames"].append(frames)
    return out


def plain(event: Event) -> object:
    """The event, with what lies in memory as bytes."""
    match event:
        case Outcome(received, gone):
            return {k: bytes(value) for k, value in received.items()}, sorted(gone)
        case Arriving(k, piece, others):
            return k, piece.t, piece.start, bytes(piece.body), sorted(others)
    return event

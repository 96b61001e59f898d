"""Letters in the event driver: delays, losses, peers that are away; seeded, and never stuck."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.talking_peers import DEADLINE, Talk

# --- time -----------------------------------------------------------------------------------------


def test_a_send_takes_its_delay_and_so_does_waiting_for_it() -> None:
    talk = Talk(peers=2, rounds=1, keys={"network": {"delay": 2.0}}).run()
    assert [(a, b) for _, _, a, b, _ in talk.steps(0)] == [(0.0, 2.0), (2.0, 4.0)]
    assert [(a, b) for _, _, a, b, _ in talk.steps(1)] == [(0.0, 2.0), (2.0, 4.0)]


def test_a_send_is_over_when_it_is_there_though_the_other_end_is_busy() -> None:
    talk = Talk(peers=2, rounds=1, pause={1: 30.0}, keys={"network": {"delay": 1.0}}).run()
    assert [(a, b) for _, _, a, b, _ in talk.steps(0)] == [(0.0, 1.0), (1.0, 61.0)]
    assert [(a, b) for _, _, a, b, _ in talk.steps(1)] == [(30.0, 30.0), (60.0, 61.0)]


def test_two_letters_cross_in_one_delay() -> None:
    talk = Talk(peers=3, rounds=2, pattern="x", keys={"network": {"delay": 3.0}}).run()
    assert [b for _, _, _, b, _ in talk.steps(0)] == [3.0, 6.0]
    assert [came for *_, came in talk.steps(0)] == [(1, 2)] * 2


def test_a_gathering_is_over_with_the_slowest_link() -> None:
    links = [{"between": [0, 2], "delay": 5.0}]
    talk = Talk(rounds=1, keys={"network": {"delay": 1.0, "links": links}}).run()
    assert [b for _, _, _, b, _ in talk.steps(0)] == [5.0, 10.0]
    assert [b for _, _, _, b, _ in talk.steps(1)] == [1.0, 2.0]


def test_jitter_moves_the_clock_and_not_what_comes() -> None:
    calm = Talk().run()
    jumpy = Talk(keys={"network": {"delay": 0.1, "jitter": 3.0}}).run()
    assert [came for *_, came in calm.steps(0)] == [came for *_, came in jumpy.steps(0)]
    assert jumpy.steps(0)[-1][3] > calm.steps(0)[-1][3]


# --- losses and absences --------------------------------------------------------------------------


def test_a_lost_letter_costs_the_deadline_at_both_ends() -> None:
    talk = Talk(peers=2, rounds=40, skips=False, keys={"network": {"loss": 0.3}}).run()
    got = {(r, i): bool(came) for r, i, _, _, came in talk.steps(1) + talk.steps(0) if came}
    lost = 80 - len(got)
    assert 10 < lost < 40
    for peer in (0, 1):
        waits = [b - a for _, _, a, b, _ in talk.steps(peer)]
        assert set(waits) <= {0.0, DEADLINE}
    assert 0.5 * lost * DEADLINE < talk.simulated[0].now <= lost * DEADLINE


def test_who_is_past_a_lost_exchange_is_not_waited_for_again() -> None:
    """The one that begins later finds the other past it, and goes on at once."""
    talk = Talk(peers=2, rounds=40, pattern="x", pause={1: 25.0}, skips=False)
    talk.keys = {"network": {"loss": 0.3}}
    talk.run()
    waits = [b - a for _, _, a, b, _ in talk.steps(1)]
    assert max(waits) == 0.0


def test_an_absent_worker_is_left_out_and_costs_one_deadline() -> None:
    talk = Talk(rounds=5, keys={"faults": [{"peer": 2, "down": 0.0}]}).run()
    assert [came for _, i, _, _, came in talk.steps(0) if i == 1] == [(1,)] * 5
    assert talk.simulated[0].now <= 2 * DEADLINE
    assert not talk.steps(2)


def test_an_absent_server_is_not_waited_for_for_ever() -> None:
    talk = Talk(rounds=5, keys={"faults": [{"peer": 0, "down": 0.0}]}).run()
    assert [came for *_, came in talk.steps(1)] == [()] * 5
    assert talk.simulated[1].now <= 2 * DEADLINE


def test_a_server_away_for_a_while_and_back_in_time_misses_nothing() -> None:
    faults = [{"peer": 0, "down": 1.0, "up": 7.0}]
    talk = Talk(pause={0: 0.8, 1: 0.3}, keys={"faults": faults}).run()
    assert [came for _, i, _, _, came in talk.steps(0) if i == 1] == [(1, 2)] * 3


def test_one_that_dies_while_its_letter_is_under_way_stops_nobody() -> None:
    """What it would have gone on with comes only after it has gone for ever."""
    keys = {"network": {"delay": 4.0}, "faults": [{"peer": 1, "down": 2.0}]}
    talk = Talk(keys=keys).run()
    assert len(talk.steps(0)) == 6
    assert len(talk.steps(2)) == 6


@st.composite
def talks(draw: st.DrawFn) -> dict[str, Any]:
    """Everything about a talk, its network and what fails in it."""
    graph = draw(st.sampled_from(["star", "star", "ring", "complete"]))
    peers = draw(st.integers(2 if graph == "star" else 3, 4 if graph == "star" else 5))
    moments = st.integers(0, 60) | st.floats(0, 60)  # whole ones fall together
    faults = []
    for k in draw(st.lists(st.integers(0, peers - 1), max_size=4)):
        down, length = draw(moments), draw(st.none() | st.integers(1, 60) | st.floats(0.1, 60))
        faults.append({"peer": k, "down": down, "up": None if length is None else down + length})
    network = {
        "delay": draw(st.sampled_from([0.0, 0.3, 4.0, 15.0])),
        "jitter": draw(st.sampled_from([0.0, 2.0])),
        "loss": draw(st.sampled_from([0.0, 0.1, 0.5])),
    }
    for limit in draw(st.sets(st.sampled_from(["bandwidth", "uplink", "downlink", "channel"]))):
        network[limit] = draw(st.sampled_from([0.001, 0.0001]))  # a letter takes a second, or ten
    pauses = st.sampled_from([0.01, 0.5, 1.0, 3.0, 7.0, 25.0])
    return {
        "graph": graph,
        "peers": peers,
        "pattern": draw(st.text("<>x", min_size=1, max_size=4)),
        "pause": draw(st.dictionaries(st.integers(0, 4), pauses)),
        "skips": draw(st.booleans()),
        "keys": {"network": network, "faults": faults, "seed": draw(st.integers(0, 1000))},
    }


@settings(max_examples=300)
@given(talks())
def test_nobody_is_ever_stuck_and_the_seed_decides(settings: dict[str, Any]) -> None:
    # run() itself raises where somebody is stuck
    first, again = Talk(**settings).run(), Talk(**settings).run()
    assert first.log == again.log
    for k, peer in first.simulated.items():
        if peer.finished:
            assert len({r for r, *_ in first.steps(k)}) == 3
        assert peer.now < 10_000.0


@settings(max_examples=300)
@given(talks(), st.integers(2, 3))
def test_several_ranks_are_as_one(settings: dict[str, Any], ranks: int) -> None:
    one, several = Talk(**settings).run(), Talk(**settings).run(ranks)
    assert sorted(several.simulated) == sorted(one.simulated)
    for k, peer in one.simulated.items():
        assert several.steps(k) == one.steps(k)
        assert several.simulated[k].now == peer.now
        assert several.simulated[k].finished == peer.finished
        assert several.simulated[k].bytes_in == peer.bytes_in
        assert several.simulated[k].bytes_out == peer.bytes_out

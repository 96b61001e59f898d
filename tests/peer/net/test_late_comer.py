"""When a peer that was left behind leaves rounds out, and where it goes on."""

from __future__ import annotations

import pytest

from peer.net.away.late_comer import LARGEST_MARGIN, LISTENS_AGAIN, LateComer


@pytest.mark.parametrize(
    ("round", "ahead", "rounds", "target"),
    [
        (5, -1, 100, None),  # nobody went on without it
        (5, 15, 100, None),  # ten rounds are made up
        (5, 16, 100, 18),
        (5, 97, 100, 99),  # in the last round at the latest
        (95, 99, 100, None),
        (98, 2000, 100, 99),
        (99, 2000, 100, None),  # there is no round left
        (20, 3, 100, None),  # they are behind
    ],
)
def test_the_round_to_join_in(round: int, ahead: int, rounds: int, target: int | None) -> None:
    assert LateComer(10).target(round, ahead, rounds) == target


def test_who_has_heard_nothing_tries_again_further_ahead() -> None:
    late = LateComer(10)
    margins = []
    round = 0
    for _ in range(9):
        target = late.target(round, round + 50, 10**6)
        assert target is not None
        margins.append(target - round - 50)
        late.heard(False)
        round = target + 1
    assert margins[:5] == [2, 4, 8, 16, 32]
    assert max(margins) == LARGEST_MARGIN
    # its neighbours are no further than it is, but it has nothing of theirs yet
    assert late.target(round, round, 10**6) == round + LARGEST_MARGIN
    late.heard(True)
    assert late.target(round, round + 10, 10**6) is None
    assert late.target(round, round + 11, 10**6) == round + 13


def test_who_came_before_its_neighbours_listens_in_the_next_round_too_but_not_for_ever() -> None:
    late = LateComer(10)
    assert late.target(5, 50, 1000) == 52
    for round in range(53, 53 + LISTENS_AGAIN):
        late.heard(False)
        assert late.target(round, round - 2, 1000) == round  # no round is left out
    late.heard(False)
    assert late.target(round + 1, round - 1, 1000) is None
    # from here on it is late as anybody is: not before it is many rounds behind
    assert late.target(round + 2, round + 2, 1000) is None


def test_there_is_no_round_to_listen_in_after_the_last() -> None:
    late = LateComer(10)
    late.heard(False)
    assert late.target(100, 90, 100) is None


def test_every_net_has_to_be_heard_of() -> None:
    late = LateComer(10)
    late.heard(True)
    late.heard(False)
    assert late.target(53, 51, 1000) == 53
    late.heard(True)
    late.heard(True)
    assert late.target(54, 51, 1000) is None


def test_a_round_of_several_nets_counts_once() -> None:
    late = LateComer(10)
    late.heard(False)
    late.heard(False)
    assert late.target(50, 100, 1000) == 104  # the margin has doubled once

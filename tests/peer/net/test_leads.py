"""How far ahead neighbours are, as far as that is believed: one that lies ends nobody's run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from peer.effects import Moment
from peer.net.away.failure_detector import Timing
from peer.net.session import Phase, Session
from peer.net.waiting.leads import BLOCK, HASTE, SLACK, Leads
from tests.support.network_in_memory import identity

LIE = 4_000_000


def linked(sessions: list[Any]) -> Any:
    return {k: SimpleNamespace(session=session) for k, session in enumerate(sessions)}


def session_with(round: int, *, apart: bool) -> Session:
    """With a neighbour that is there, and says that it is in that round."""
    session = Session(identity(0), Timing(), 0.0, lambda message: None, lambda event: None)
    session.phase = Phase.UP
    session.their_at = Moment(round, 0)
    session.are_apart = apart
    return session


def together(session: Session, now: float, round: int) -> None:
    """The two swap in that round."""
    session.are_apart, session.at, session.done = False, Moment(round, 0), Moment(round, 0)
    session.alive(now)
    session.are_apart = True


def test_who_did_not_go_on_without_us_leads_nobody() -> None:
    assert Leads(linked([])).furthest(0.0) == -1
    assert Leads(linked([session_with(90, apart=False)])).furthest(0.0) == -1


@pytest.mark.parametrize(
    ("others", "believed"),
    [
        ([(600, True)], 600),  # it is late, and a second one says how far all are
        ([(598, True), (597, True)], 598),
        ([(50, False)], 50),  # it is not late at all
        ([(50, False), (51, False)], 51),
    ],
)
def test_a_lie_is_believed_as_far_as_a_second_neighbour_is_there(
    others: list[tuple[int, bool]], believed: int
) -> None:
    liar = session_with(LIE, apart=True)
    together(liar, 10.0, 50)
    leads = Leads(linked([liar, *(session_with(round, apart=apart) for round, apart in others)]))
    for round in range(BLOCK + 1):
        leads.begin(round, float(round))  # one a second
    assert leads.furthest(10.0) <= max(believed, 50 + SLACK)
    if believed > 50 + SLACK:
        assert leads.furthest(10.0) == believed


def test_a_lone_neighbour_takes_us_no_further_than_time_allows() -> None:
    session = session_with(LIE, apart=True)
    leads = Leads(linked([session]))
    assert leads.furthest(0.0) == LIE  # we have just been started: it may be that we were long away
    together(session, 100.0, 40)
    for round in range(24, 24 + BLOCK + 1):
        leads.begin(round, 80.0 + 0.5 * (round - 24))  # two a second
    assert leads.furthest(100.0) == 40 + SLACK
    assert leads.furthest(200.0) == 40 + SLACK + int(HASTE * 2 * 100)
    session.their_at = Moment(240, 0)  # which is true: two a second, for 100 s
    assert leads.furthest(200.0) == 240


def test_rounds_that_were_left_out_are_no_pace() -> None:
    session = session_with(LIE, apart=True)
    leads = Leads(linked([session]))
    for round in range(BLOCK + 1):
        leads.begin(round, float(round))
    together(session, 16.0, 16)
    leads.begin(5_000, 17.0)
    for round in range(5_000, 5_000 + BLOCK + 1):
        leads.begin(round, 17.0 + round - 5_000)
    assert leads.furthest(33.0) == 16 + SLACK + int(HASTE * 17)


def test_what_a_left_behind_neighbour_leaves_out_does_not_count() -> None:
    session = session_with(700, apart=True)
    session.listens_in = 700
    assert Leads(linked([session])).furthest(0.0) == -1
    session.their_at = Moment(701, 0)
    assert Leads(linked([session])).furthest(0.0) == 701

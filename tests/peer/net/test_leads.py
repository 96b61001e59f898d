"""How far ahead neighbours are, as far as that is believed: one that lies ends nobody's run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from peer.effects import Moment
from peer.net.away.failure_detector import Timing
from peer.net.session import Phase, Session
from peer.net.transfer.checksum import Checksum
from peer.net.waiting.leads import BLOCK, HASTE, SLACK, STALE, Leads
from tests.support.network_in_memory import identity

LIE = 4_000_000


def linked(sessions: list[Any]) -> Any:
    return {k: SimpleNamespace(session=session) for k, session in enumerate(sessions)}


def session_with(round: int, *, apart: bool) -> Session:
    """With a neighbour that is there, and says that it is in that round."""
    tells = (lambda message: None), (lambda event: None)
    session = Session(identity(0), Timing(), 0.0, *tells, Checksum(True))
    session.phase = Phase.UP
    session.their_at = Moment(round, 0)
    session.are_apart = apart
    return session


def train(leads: Leads, sessions: list[Session], rounds: range, pace: float, now: float) -> float:
    """Rounds in which we swap with those, who then go on without us; when the last one began."""
    for session in sessions:
        session.are_apart, session.done = False, Moment(0, 0)
    for round in rounds:
        leads.begin(round, now)
        now += 1 / pace
    for session in sessions:
        session.are_apart = True
    return now - 1 / pace


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
    leads = Leads(linked([liar, *(session_with(round, apart=apart) for round, apart in others)]))
    now = train(leads, [liar], range(50 - BLOCK, 51), pace=1.0, now=0.0)
    allowed = 50 + SLACK + int(HASTE * STALE)
    assert leads.furthest(now) <= max(believed, allowed)
    if believed > allowed:
        assert leads.furthest(now) == believed


def test_a_lone_neighbour_takes_us_no_further_than_time_allows() -> None:
    session = session_with(LIE, apart=True)
    leads = Leads(linked([session]))
    assert leads.furthest(0.0) == LIE  # we have just been started: it may be that we were long away
    now = train(leads, [session], range(24, 24 + BLOCK + 1), pace=2.0, now=80.0)
    at = 40 + SLACK + int(HASTE * STALE)
    assert leads.furthest(now) == at
    assert leads.furthest(now + 100) == at + int(HASTE * 2 * 100)
    session.their_at = Moment(240, 0)  # which is true: two a second, for 100 s
    assert leads.furthest(now + 100) == 240


def test_who_stood_still_comes_back_at_once() -> None:
    """What a neighbour had sent before is swapped first, and its words of now are believed."""
    session = session_with(0, apart=False)
    leads = Leads(linked([session]))
    now = train(leads, [session], range(2 * BLOCK), pace=2.0, now=0.0) + 60.0
    session.are_apart = False
    for round in range(2 * BLOCK, 2 * BLOCK + STALE):  # these were here already
        leads.begin(round, now)
    session.are_apart, session.their_at = True, Moment(2 * BLOCK + 120, 0)
    assert leads.furthest(now) == 2 * BLOCK + 120


def test_rounds_that_were_left_out_are_no_pace() -> None:
    session = session_with(LIE, apart=True)
    leads = Leads(linked([session]))
    now = train(leads, [session], range(BLOCK + 1), pace=1.0, now=0.0)
    now = train(leads, [], range(5_000, 5_000 + BLOCK + 1), pace=1.0, now=now + 1)
    assert leads.furthest(now) == BLOCK + SLACK + int(HASTE * (STALE + BLOCK + 1))


def test_what_a_left_behind_neighbour_leaves_out_does_not_count() -> None:
    session = session_with(700, apart=True)
    session.listens_in = 700
    assert Leads(linked([session])).furthest(0.0) == -1
    session.their_at = Moment(701, 0)
    assert Leads(linked([session])).furthest(0.0) == 701

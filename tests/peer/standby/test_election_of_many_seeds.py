"""The election in virtual time: lost, late and doubled messages, cuts, deaths, standstills."""

from __future__ import annotations

import os

import pytest

from peer.standby.election.election import Election
from peer.standby.election.messages import Ask, Beat, Copy, Heard, Holds, Message, Position
from tests.support.elections import Trial

SEEDS = int(os.environ.get("HEARSAY_ELECTION_SEEDS", "150"))
"""How many seeds are tried; the published figure is for 2,000."""

FOUND = 60
"""A bug that was put in shows within so many seeds."""


def test_one_server_a_term_no_acknowledged_round_lost_and_it_goes_on_after_healing() -> None:
    broken = {seed: found for seed in range(SEEDS) if (found := Trial(seed).run())}
    assert broken == {}


class VotesTwice(Election):
    """A bug, put in: whether the vote of a term is given already is not looked at."""

    def _is_free_for(self, sender: int, ask: Ask) -> bool:
        return ask.term >= self.ballot.term


class ElectsAnybody(Election):
    """A bug, put in: whether a candidate holds the last acknowledged round is not looked at."""

    def _is_behind(self, held: Position) -> bool:
        return False


class KnowsNothing(Election):
    """A bug, put in: a round is acknowledged though no majority knows of it."""

    def _is_known_to_most(self, lead: object) -> bool:
        return True


class AnswersOldServers(Election):
    """A bug, put in: a voter does not look at the term of what a server says."""

    def receive(self, sender: int, message: Message, now: float) -> None:
        is_old = isinstance(message, Beat | Copy) and message.term < self.ballot.term
        if is_old and isinstance(message, Beat):
            self._learn(message.known)
            self._say(sender, Heard(message.term, self.ballot.known))
        elif is_old and isinstance(message, Copy):
            self._say(sender, Holds(message.term, message.position, message.position, message.size))
        else:
            super().receive(sender, message, now)


@pytest.mark.parametrize("bug", [VotesTwice, ElectsAnybody, KnowsNothing, AnswersOldServers])
def test_bugs_of_the_rules_are_found(bug: type[Election]) -> None:
    assert any(Trial(seed, bug).run() for seed in range(FOUND))


def test_a_ballot_that_is_not_saved_is_found() -> None:
    assert any(Trial(seed, forgets=True).run() for seed in range(FOUND))

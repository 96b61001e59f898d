"""Who is started anew does not stand still in an exchange that its neighbour is past."""

from __future__ import annotations

from collections.abc import Iterator

from peer.effects import Moment
from peer.net.session import Phase
from sim.torture.chaos.draw import draw_scenario
from sim.torture.chaos.scenario import Scenario
from sim.torture.process import Process
from sim.torture.trial import Trial

Wait = tuple[int, int, Moment]
"""Who waits, for which neighbour, in which exchange."""

LOOK = 0.1
"""Seconds between two looks at everybody."""


class WatchedTrial(Trial):
    """A trial that notes how long anybody waits for who is past that exchange.

    Attributes:
        longest: seconds.
    """

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.longest = 0.0
        self._since: dict[Wait, float] = {}
        self.agenda.at(LOOK, self._look)

    def _look(self) -> None:
        now = self.agenda.now
        self._since = {wait: self._since.get(wait, now) for wait in self._waits()}
        for since in self._since.values():
            self.longest = max(self.longest, now - since)
        self.agenda.at(now + LOOK, self._look)

    def _waits(self) -> Iterator[Wait]:
        there = {k: p for k, p in self.processes.items() if self._runs(p)}
        for k, process in there.items():
            for neighbour, link in process.io.endpoint.links.items():
                if neighbour not in there or link.exchange.is_settled:
                    continue
                other = there[neighbour].io.endpoint.links[k]
                are_up = link.phase is Phase.UP and other.phase is Phase.UP
                if are_up and other.session.at > link.exchange.t:
                    yield k, neighbour, link.exchange.t

    @staticmethod
    def _runs(process: Process) -> bool:
        return not (process.is_over or process.io.is_gone or process.io.is_frozen)


def test_nobody_waits_half_a_minute_for_who_has_gone_on() -> None:
    """In this one somebody did, for 28 s."""
    scenario = draw_scenario(87, 8, fixed={"is_silent": True}, focus="restarts")
    trial = WatchedTrial(scenario)
    assert trial.run().failures == []
    assert 0.0 < trial.longest < 12.0

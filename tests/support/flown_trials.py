"""Trials of the torture chamber whose peers record their flights, and the replay of these.

Whatever a seed draws is followed, letters, codecs and power cuts too: a flight tells whose values a
process used, and from whose checkpoint it went on, and not what the network or the disk did to it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgpack
import pytest

from peer.peer import Peer
from peer.state import PeerState
from peer.state.flight.reader import Incarnation, Kind
from sim.replay.replay import Replay
from sim.replay.replayed import Replayed
from sim.simulated_peer.simulated_peer import SimulatedPeer
from sim.torture import process as of_process
from sim.torture.chaos.scenario import Scenario
from sim.torture.process import Process, WatchedDriver
from sim.torture.setting import setting_of
from sim.torture.trial import Trial, Verdict

Flights = dict[int, list[Incarnation]]
"""By peer, what its processes recorded, in the order of their starts."""


class FlownTrial(Trial):
    """A trial that keeps what the flights of its peers' processes would tell."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.flights: Flights = {k: [] for k in range(scenario.peers)}
        self._saved_by: dict[tuple[int, int], int] = {}  # by peer and round, the session

    def make_driver(self, peer: Peer, *others: Any) -> WatchedDriver:
        """The chamber's driver, whose recorder's records are kept."""
        driver = WatchedDriver(peer, *others)
        driver.flight._append = partial(_note, self.flights[peer.id][-1])
        return driver

    def _start(self, state: PeerState) -> None:
        flights, round = self.flights[state.peer], state.round
        super()._start(state)
        session, source = 1000 + self._sessions, self._saved_by.get((state.peer, round))
        flights.append(Incarnation(len(flights), session, round, source, {}, (), ("", "")))

    def _save(self, process: Process) -> None:
        # Noted before, as the power may be cut just when the checkpoint is on the disk.
        session = self.flights[process.peer][-1].session
        self._saved_by[process.peer, process.state.round] = session
        super()._save(process)


def _note(flown: Incarnation, record: bytes) -> None:
    name, *fields = msgpack.unpackb(record, strict_map_key=False)
    flown.note(Kind(name), fields)


class ReplayedTrial(Replay):
    """The replay of a trial: its peers hold the chamber's floats, and no images."""

    def __init__(self, scenario: Scenario, flights: Flights) -> None:
        super().__init__(flights)
        self.setting = setting_of(scenario)

    def _start(self, process: Replayed) -> None:
        flight, setting = process.flight, self.setting
        state = setting.state(process.peer)
        if flight.begins:
            state.load(self._saved[flight.source, flight.begins])
        facade = Peer(state, setting.experiment.schedule, setting.experiment.weights)
        process.simulated = SimulatedPeer(facade, setting.program.start(facade))


def fly(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> tuple[Verdict, Flights]:
    """Run a scenario; what became of it, and its peers' flights."""
    trial = FlownTrial(scenario)
    monkeypatch.setattr(of_process, "WatchedDriver", trial.make_driver)
    return trial.run(), trial.flights

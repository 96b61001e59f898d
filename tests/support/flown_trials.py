"""Trials of the torture chamber whose peers record their flights, and the replay of these."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgpack

from peer.peer import Peer
from peer.state import PeerState
from peer.state.flight.reader import Incarnation, Kind
from peer.state.flight.recorder import FlightRecorder
from sim.replay.replay import Replay
from sim.replay.replayed import Replayed
from sim.simulated_peer.simulated_peer import SimulatedPeer
from sim.torture import process as of_process
from sim.torture.programs import PROGRAMS, experiment_of, state_of
from sim.torture.scenario import Scenario
from sim.torture.trial import Trial, Verdict


class FlownDriver(of_process.WatchedDriver):
    """The chamber's driver, with the recorder that the process was given."""

    def __init__(self, peer: Peer, *others: Any) -> None:
        super().__init__(peer, *others)
        recorder = getattr(peer.state, "recorder", None)
        assert isinstance(recorder, FlightRecorder)
        self.flight = recorder


class FlownTrial(Trial):
    """A trial that keeps what the flights of its peers' processes would tell."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.flights: dict[int, list[Incarnation]] = {k: [] for k in range(scenario.peers)}
        self._saved_by: dict[int, int] = {}

    def _start(self, state: PeerState) -> None:
        flights = self.flights[state.peer]
        source = self._saved_by.get(state.peer) if flights else None
        session = 1001 + self._sessions
        flown = Incarnation(len(flights), session, state.round, source, {}, (), ("", ""))
        flights.append(flown)
        state.recorder = FlightRecorder(partial(_note, flown))  # type: ignore[attr-defined]
        super()._start(state)

    def _report(self, state: PeerState) -> None:
        before = self._saved.get(state.peer)
        super()._report(state)
        if self._saved.get(state.peer) is not before:
            self._saved_by[state.peer] = self.flights[state.peer][-1].session


def _note(flown: Incarnation, record: bytes) -> None:
    name, *fields = msgpack.unpackb(record, strict_map_key=False)
    flown.note(Kind(name), fields)


class ReplayedTrial(Replay):
    """The replay of a trial: its peers hold the chamber's floats, and no images."""

    def __init__(self, scenario: Scenario, flights: dict[int, list[Incarnation]]) -> None:
        super().__init__(flights)
        self.scenario = scenario

    def _start(self, process: Replayed) -> None:
        flight, experiment = process.flight, experiment_of(self.scenario)
        state = state_of(self.scenario, process.peer)
        if flight.begins:
            state.load(self._saved[flight.source, flight.begins])
        facade = Peer(state, experiment.schedule, experiment.weights)
        running = PROGRAMS[self.scenario.program](self.scenario).start(facade)
        process.simulated = SimulatedPeer(facade, running)


def fly(scenario: Scenario, monkeypatch: Any) -> tuple[Verdict, dict[int, list[Incarnation]]]:
    """Run a scenario; what became of it, and its peers' flights."""
    monkeypatch.setattr(of_process, "WatchedDriver", FlownDriver)
    trial = FlownTrial(scenario)
    return trial.run(), trial.flights

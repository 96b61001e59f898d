"""Replays the run in a run directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peer.compute.execute import prepare_compute_thread
from peer.state.flight.reader import Incarnation, read_flight
from peer.state.flight.recorder import flight_path
from peer.state.recorder import arena_digest
from sim.records.reader import PeerResult, peer_folders, read_run
from sim.replay.replay import Difference, Each, Replay
from topology.errors import UserError
from topology.membership import NEWCOMERS


@dataclass(frozen=True)
class ReplayedRun:
    """What came of a replay.

    Attributes:
        flights: by peer, its processes in the order of their starts.
        damaged: by peer, bytes at the end of its flight that are no whole records.
        without_flight: the peers that left none.
        compared: rounds of a process whose checksums are equal.
        ends_compared: peers whose final digests are equal.
        differences: of the first round that has any, by peer. Within a round, one peer's makes
            another one's, as they exchange several values in it.
    """

    flights: Mapping[int, Sequence[Incarnation]]
    damaged: Mapping[int, int]
    without_flight: tuple[int, ...]
    compared: int
    ends_compared: int
    differences: tuple[Difference, ...]

    @property
    def difference(self) -> Difference | None:
        """The first; None where there is none."""
        return next(iter(self.differences), None)


def replay_run(
    folder: str | Path, overrides: Iterable[str] = (), each: Each | None = None
) -> ReplayedRun:
    """Compute a real network's run again, from its experiment, seed and flights.

    Args:
        folder: the run directory, with the ``peer-<id>`` folders of all peers.
        overrides: ``key=value`` changes, such as where the data are on this machine.
        each: is called for every round of every process, with the peer's state, its process and
            its report.

    Raises:
        UserError: no run of real peers, or its data are not here.
    """
    recorded = read_run(folder)
    folders = peer_folders(Path(folder), recorded.experiment.peers + NEWCOMERS)
    paths = {k: flight_path(of) for k, of in folders.items() if flight_path(of).exists()}
    if not paths:
        raise UserError(
            f"{folder}: no peer left a flight; name a run of real peers (of `peer` or `peer up`)"
        )
    read = {k: read_flight(path) for k, path in paths.items()}
    flights = {k: flight for k, (flight, _) in read.items()}
    prepare_compute_thread(recorded.experiment.threads)
    replay = Replay(flights, overrides, each)
    differences = replay.run()
    ends = 0
    if not differences:
        ends, differences = _compare_ends(replay, recorded.results)
    return ReplayedRun(
        flights,
        {k: lost for k, (_, lost) in read.items() if lost},
        tuple(k for k in range(recorded.experiment.peers) if k not in flights),
        replay.compared,
        ends,
        tuple(differences),
    )


def _compare_ends(
    replay: Replay, results: Mapping[int, PeerResult]
) -> tuple[int, list[Difference]]:
    """How many peers' final nets are equal, and those whose are not."""
    equal, differences = 0, []
    for k, process in replay.last.items():
        result = results.get(k)
        peer = process.simulated
        if result is None or peer is None or peer.state.round != result.rounds:
            continue
        if arena_digest(peer.state) != result.arena_blake2b:
            words = "the digest of the final nets is another one"
            differences.append(Difference(result.rounds, k, process.flight.number, words))
        else:
            equal += 1
    return equal, differences

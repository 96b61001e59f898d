"""What a simulation records of every round that a peer completes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from peer.effects import Report
from peer.gan.arena import Layout
from peer.gan.net_name import PAIR
from peer.loggers import Loggers, Pictures
from peer.quality.quality_log import QualityLog
from peer.state.recorder import Recorder
from sim.engines.stacked_arenas import matrix_of
from sim.metrics.disagreement import disagreement
from sim.simulated_peer.round_snapshots import RoundSnapshots
from sim.simulated_peer.simulated_peer import SimulatedPeer
from sim.simulated_peer.snapshots import Snapshot

RoundCallback = Callable[[int, int, Mapping[str, Any]], None]
"""Called with a peer's id, the rounds it has completed, and what it measured."""


class Disagreement(Protocol):
    """Measures the network's disagreement after a round, once all peers have completed it."""

    def reported(self, peer: SimulatedPeer, round: int) -> None:
        """``peer`` has completed ``round``."""


class RunObserver:
    """Records rounds, measures the network's disagreement, and judges generators on the way.

    Args:
        recorder: writes the rounds, and says which of them are recorded.
        disagreement: is told of the recorded rounds.
        quality: scores generators, if the experiment asks for it.
        progress: is called for every round of every peer.
        taken: seconds of this machine that the run has taken so far, without scoring.
        loggers: get what is recorded.
        pictures: keeps what peers draw.
    """

    def __init__(
        self,
        recorder: Recorder,
        disagreement: Disagreement,
        quality: QualityLog | None = None,
        progress: RoundCallback | None = None,
        taken: Callable[[], float] = float,
        loggers: Loggers | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        self.recorder = recorder
        self.disagreement = disagreement
        self.quality = quality
        self.progress = progress
        self.taken = taken
        self.loggers = loggers or Loggers()
        self.pictures = pictures

    def reported(self, peer: SimulatedPeer, report: Report) -> None:
        """Record the round, at the virtual time at which ``peer`` has completed it."""
        self.recorder.write(
            peer.id,
            report.round,
            report.measures,
            seconds=peer.now,
            bytes_in=peer.bytes_in,
            bytes_out=peer.bytes_out,
        )
        if self.recorder.wants(report.round):
            counts = {"seconds": peer.now, "bytes_in": peer.bytes_in, "bytes_out": peer.bytes_out}
            self.loggers.record(peer.id, report.round, report.measures, **counts)
            self.disagreement.reported(peer, report.round)
        if self.quality:
            score = self.quality.write(
                peer.state,
                report.round,
                seconds=peer.now,
                wall=self.taken(),
                bytes_out=peer.bytes_out,
            )
            if score is not None:
                self.loggers.scalars("quality", score.scalars(), report.round, peer.id)
        if self.pictures:
            self.pictures.keep(peer.state, report.round)
        if self.progress:
            self.progress(peer.id, report.round, report.measures)


class LocalDisagreement:
    """The disagreement of peers that are all in this process.

    Args:
        peers: how many there are.
        write: takes a round and its disagreement by net.
        wants: which rounds are measured.
        begins: rounds that all had completed before.
    """

    def __init__(
        self,
        peers: int,
        write: Callable[[int, dict[str, float]], None],
        wants: Callable[[int], bool],
        begins: int = 0,
    ) -> None:
        self.write = write
        self._snapshots = RoundSnapshots(PAIR, peers, wants, begins)

    def reported(self, peer: SimulatedPeer, round: int) -> None:
        """``peer`` has completed ``round``; after the last one, measure and write."""
        for completed, found in self._snapshots.add(peer, round):
            of_nets: dict[str, float] = {
                name: snapshot_disagreement(found[name], layout)
                for name, layout in peer.state.gan.layouts.items()
                if len(found[name]) > 1
            }
            self.write(completed, of_nets)


def snapshot_disagreement(arenas: Sequence[Snapshot], layout: Layout) -> float:
    """The disagreement of peers whose arenas had these values (:mod:`sim.metrics.disagreement`).

    It is of the parameters alone: batch-norm's statistics, at the arenas' tail, are left out.
    """
    return disagreement(matrix_of([arena.tensor[: layout.trained] for arena in arenas])[0])

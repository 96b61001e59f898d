"""Writes a peer's flight: see :mod:`peer.state.flight`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgpack
import torch

from peer.effects import Moment
from peer.experiment import Experiment
from peer.state.checkpoint import Checkpoint
from peer.state.flight.checksum import checksum
from peer.state.flight.frames import FrameFile
from peer.state.flight.reader import VERSION, Kind, read_records
from peer.state.peer_state import PeerState
from topology.membership import Membership

FILE = "flight.msgpack"
"""In the peer's own folder."""


def _keep_nothing(record: bytes) -> None:
    """Of a peer whose flight nobody will read."""


class FlightRecorder:
    """Records what shapes the run of one process of a peer.

    A record is written before anything is sent that depends on it. So whoever used a value of a
    process that was killed used one that its flight accounts for.

    Args:
        append: takes each record; what it takes is lost if absent.
        experiment: of the process that was recorded before, as it was written.
    """

    def __init__(
        self,
        append: Callable[[bytes], None] = _keep_nothing,
        experiment: Mapping[str, Any] | None = None,
    ) -> None:
        self._append = append
        self._experiment = experiment
        self._senders: dict[int, int] = {}  # by neighbour, the session of the last value used
        self._round = -1
        self._exchanges = 0  # of this round, so far
        self._effects = 0  # that the program asked for, so far

    @classmethod
    def of_file(cls, file: FrameFile) -> FlightRecorder:
        """One that goes on in a file."""
        starts = [kind[1] for kind in read_records(file.records) if kind[0] == Kind.STARTED]
        known = [start["experiment"] for start in starts if start.get("experiment")]
        return cls(file.append, known[-1] if known else None)

    def started(
        self,
        experiment: Experiment,
        state: PeerState,
        session: int,
        source: int | None,
    ) -> None:
        """A process begins.

        Args:
            experiment: that it runs, if another than the one before.
            state: from which it goes on.
            session: its number, which neighbours know it by.
            source: the session of the process that wrote the checkpoint it goes on from; None where
                it begins anew, or nothing is known of that.
        """
        resolved = experiment.resolved()
        start = {
            "version": VERSION,
            "session": session,
            "round": state.round,
            "source": source,
            "classes": list(state.class_names),
            "torch": torch.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "experiment": None if resolved == self._experiment else resolved,
        }
        self._write(Kind.STARTED, start)

    def agreed(self, classes: Collection[str]) -> None:
        """The peers have agreed on the classes of their images."""
        self._write(Kind.CLASSES, list(classes))

    def asked(self) -> None:
        """The program asks for an effect; to be called for each, before it is carried out."""
        self._effects += 1

    def exchanged(
        self,
        round: int,
        missing: Collection[int],
        senders: Mapping[int, int],
        held: Collection[int] = (),
    ) -> None:
        """An exchange is over; to be called for each, in order.

        Args:
            round: the number, from 0, of the round at hand.
            missing: the neighbours that it was done without.
            senders: by neighbour, the session of the process whose value is used, or held.
            held: those that it was done without whose values are held apart, in doubt.
        """
        if round != self._round:
            self._round, self._exchanges = round, 0
        place = [round, self._exchanges]
        self._exchanges += 1
        new = {k: of for k, of in senders.items() if self._senders.get(k) != of}
        if new:
            self._senders.update(new)
            self._write(Kind.SENDERS, *place, new)
        if missing:
            self._write(Kind.WITHOUT, *place, sorted(missing))
        if held:
            self._write(Kind.HELD, *place, sorted(held))

    def used_late(self, neighbour: int, t: Moment) -> None:
        """What was held apart of ``neighbour``, of exchange ``t``, is used now."""
        self._write(Kind.LATE, self._effects, neighbour, *t)

    def completed(self, state: PeerState) -> None:
        """A round is completed."""
        vectors = [net.arena.vector for _, net in sorted(state.nets.items())]
        self._write(Kind.COMPLETED, state.round, checksum(vectors))

    def skipped(self, round: int) -> None:
        """After the round that was just completed, the peer goes on in that one."""
        self._write(Kind.SKIPPED, round)

    def members_changed(self, members: Membership) -> None:
        """From the round to come on, the peer counts on these changes of who takes part."""
        self._write(Kind.MEMBERS, members.to_words())

    def told_time(self, seconds: float) -> None:
        """The algorithm asked for the time, and may decide by it."""
        self._write(Kind.TIME, seconds)

    def recalled(self, checkpoint: Checkpoint) -> None:
        """The nets may go back to that checkpoint, because steps were not finite."""
        self._write(Kind.RECALLED, checkpoint.totals.get("session"), checkpoint.round)

    def ended(self, round: int, reason: str) -> None:
        """The process ends after so many rounds, and was not killed."""
        self._write(Kind.ENDED, round, reason)

    def _write(self, kind: Kind, *fields: Any) -> None:
        self._append(msgpack.packb([kind.value, *fields]))


def flight_path(folder: Path) -> Path:
    """Where the flight of the peer with that folder is."""
    return folder / FILE

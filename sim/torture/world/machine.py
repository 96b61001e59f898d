"""What a peer has beside its process: a clock, and a disk with its checkpoints."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from peer.runtime.saver import Saver
from peer.state import PeerState
from peer.state.checkpoint import load_state
from peer.state.journal.journal import Journal, open_journal
from sim.environment.disk import PowerCut, SimulatedDisk
from sim.torture.books.ledger import Violation
from sim.torture.world.agenda import Agenda
from sim.torture.world.clock import Clock
from topology.errors import UserError

FOLDER = Path("peer")

FAILING = 40
"""Operations of a disk that fails half of them."""

LONGEST_SAVE = 12
"""Operations of a save within which the power may be cut."""

LONGEST_SPELL = 40
"""The same of a peer that writes all the time, into its journal: a round's, or a few rounds'."""


class Disk(SimulatedDisk):
    """A machine's disk: where the power is cut, nothing on the machine runs on."""

    end: Callable[[], NoReturn] | None = None  # ends the process

    def operate(self, path: Path | None = None, mount: int | None = None) -> None:
        """Count an operation; fail if it is to."""
        try:
            super().operate(path, mount)
        except PowerCut:
            end, self.end = self.end, None
            if end is not None:
                end()
            raise


class Machine:
    """One peer's machine, which outlives its processes.

    Args:
        agenda: the true time.
        rate: how quickly its clock goes.
        draw: uniform on [0, 1); of all that is random about the disk.
        tell: gets the lines that a user would read.

    Attributes:
        clock: its clock.
        saved: the round of the last state that it says is saved.
        journal: of the process that runs, if it has one.
    """

    def __init__(
        self, agenda: Agenda, rate: float, draw: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self.clock = Clock(agenda, rate)
        self.saved = 0
        self._draw = draw
        self._tell = tell
        self.journal: Journal | None = None
        self._was_bad = False  # the disk, since the process began
        self._disk = Disk()
        self._saver: Saver | None = None

    # --- checkpoints ------------------------------------------------------------------------------

    def begin(self, state: PeerState, is_exact: bool) -> None:
        """A process begins, with that state; with a journal, if ``is_exact``."""
        self.journal = open_journal(FOLDER, state.round, is_exact, disk=self._disk)
        self._saver = Saver(state, FOLDER, {}, self._tell, self._disk, self.journal)

    def write(self, session: int) -> None:
        """The process begins to write into its journal. By the compute thread.

        Raises:
            UserError: as :class:`peer.runtime.process.Process`, it cannot.
        """
        assert self._saver is not None
        try:
            if self.journal is not None:
                self.journal.begin(session)
        except OSError as problem:
            raise UserError(f"{FOLDER}: cannot be written: {problem.strerror}") from None
        if self._saver.has_to_begin:
            self._saver.save({})

    @property
    def may_end(self) -> bool:
        """Whether a process may end by its journal: the disk did not take what it wrote."""
        return self.journal is not None and self._was_bad

    @property
    def is_telling_again(self) -> bool:
        """Whether the process computes again what one before it had computed, and saved."""
        return self._saver is not None and self._saver.is_telling_again

    def save(self) -> None:
        """Save the state. By the compute thread."""
        assert self._saver is not None
        self._saver.save({})
        if not self._saver.problem:
            self.saved = self._saver.state.round

    def load(self, state: PeerState) -> None:
        """Put a state that was just made where the newest checkpoint left it.

        Raises:
            Violation: what was saved is lost, or damaged.
        """
        said: list[str] = []
        self._disk.failing.clear()
        self._disk.cut_at = None
        self._was_bad = self._disk.room is not None
        load_state(state, FOLDER, tell=said.append, disk=self._disk)
        if said:
            raise Violation(f"peer {state.peer}: {said[0]}")
        if state.round < self.saved:
            raise Violation(
                f"peer {state.peer}: the state after round {self.saved} was saved, and is lost"
            )
        self.saved = state.round

    # --- faults -----------------------------------------------------------------------------------

    def cut_power(self) -> None:
        """The disk forgets what was not synced."""
        self._disk.crash(np.random.default_rng(int(self._draw() * 2**53)))

    def cut_power_soon(self, end: Callable[[], NoReturn]) -> None:
        """Cut the power before one of the next operations of the disk; ``end`` ends the process."""
        longest = LONGEST_SAVE if self.journal is None else LONGEST_SPELL
        self._disk.cut_at = self._disk.operations + int(self._draw() * longest)
        self._disk.end = end

    def fill(self) -> None:
        """From now on, the disk has no room."""
        self._disk.room = self._disk.used
        self._was_bad = True

    def fail(self) -> None:
        """Of its next operations, half do not succeed."""
        begins, self._was_bad = self._disk.operations, True
        self._disk.failing |= {
            n: errno.EIO for n in range(begins, begins + FAILING) if self._draw() < 0.5
        }

    def mend_disk(self) -> None:
        """Nothing is wrong with the disk any more."""
        self._disk.room = None
        self._disk.cut_at = None
        self._disk.failing.clear()

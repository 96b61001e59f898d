"""What a peer has beside its process: a clock, and a disk with its checkpoints."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np

from peer.runtime.saver import Saver
from peer.state import PeerState
from peer.state.checkpoint import load_state
from sim.environment.disk import PowerCut, SimulatedDisk
from sim.torture.books.ledger import Violation
from sim.torture.world.agenda import Agenda
from sim.torture.world.clock import Clock

FOLDER = Path("peer")

FAILING = 40
"""Operations of a disk that fails half of them."""

LONGEST_SAVE = 12
"""Operations of a save within which the power may be cut."""


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
    """

    def __init__(
        self, agenda: Agenda, rate: float, draw: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self.clock = Clock(agenda, rate)
        self.saved = 0
        self._draw = draw
        self._tell = tell
        self._disk = SimulatedDisk()
        self._saver: Saver | None = None

    # --- checkpoints ------------------------------------------------------------------------------

    def begin(self, state: PeerState) -> None:
        """A process begins, with that state."""
        self._saver = Saver(state, FOLDER, {}, self._tell, self._disk)

    def save(self, is_cut: bool) -> bool:
        """Save the state; returns whether the power was cut meanwhile, as it may if ``is_cut``."""
        assert self._saver is not None
        if is_cut:
            self._disk.cut_at = self._disk.operations + int(self._draw() * LONGEST_SAVE)
        try:
            self._saver.save({})
        except PowerCut:
            return True
        self._disk.cut_at = None
        if not self._saver.problem:
            self.saved = self._saver.state.round
        return is_cut

    def load(self, state: PeerState) -> None:
        """Put a state that was just made where the newest checkpoint left it.

        Raises:
            Violation: what was saved is lost, or damaged.
        """
        said: list[str] = []
        self._disk.failing.clear()
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

    def fill(self) -> None:
        """From now on, the disk has no room."""
        self._disk.room = self._disk.used

    def fail(self) -> None:
        """Of its next operations, half do not succeed."""
        begins = self._disk.operations
        self._disk.failing |= {
            n: errno.EIO for n in range(begins, begins + FAILING) if self._draw() < 0.5
        }

    def mend_disk(self) -> None:
        """Nothing is wrong with the disk any more."""
        self._disk.room = None
        self._disk.failing.clear()

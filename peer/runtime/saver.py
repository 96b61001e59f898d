"""Saves a peer's state, whatever the disk says: again at the next occasion, said once."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peer.runtime.resources import Reserve
from peer.state import PeerState
from peer.state.checkpoint import remove_checkpoint, save_state, saved_rounds
from peer.state.disk import REAL, Disk
from peer.state.journal.journal import Journal

JOURNAL_LEAST = 16 * 2**20
"""Bytes of a journal that are no reason for a checkpoint, however small the nets are."""

JOURNAL_ARENAS = 16
"""Beyond so many times the bytes of a peer's nets, a journal is one. A checkpoint has three or so,
the nets and their optimizers' moments, so that it costs a fifth of what the journal costs."""


class Saver:
    """One peer's checkpoints.

    Args:
        state: the peer's.
        folder: its own.
        traits: of the experiment, written into each checkpoint.
        tell: gets a line when a state cannot be saved, and when it can again.
        disk: on which the folder is.
        journal: of the peer; a checkpoint begins it anew.

    Attributes:
        problem: why the last state that was to be saved was not; empty where it was.
    """

    def __init__(
        self,
        state: PeerState,
        folder: Path,
        traits: Mapping[str, Any],
        tell: Callable[[str], None],
        disk: Disk = REAL,
        journal: Journal | None = None,
    ) -> None:
        self.state = state
        self.folder = folder
        self.traits = traits
        self.tell = tell
        self.disk = disk
        self.journal = journal
        self.problem = ""
        self._reserve = Reserve() if disk is REAL else None  # another disk needs none

    @property
    def newest(self) -> int | None:
        """The round of the newest checkpoint on the disk; None where the disk does not tell."""
        try:
            return next(iter(saved_rounds(self.folder, self.disk)), None)
        except OSError:
            return None

    @property
    def is_telling_again(self) -> bool:
        """Whether the peer still computes again what a process before this one had computed."""
        return self.journal is not None and bool(self.journal.events)

    @property
    def has_to_begin(self) -> bool:
        """Whether a journal has no checkpoint yet that it follows."""
        return self.journal is not None and self.newest is None

    @property
    def is_due(self) -> bool:
        """Whether the journal is so long that another checkpoint costs little beside it."""
        if self.journal is None:
            return False
        own = sum(net.arena.vector.nbytes for net in self.state.nets.values())
        return self.journal.nbytes > max(JOURNAL_LEAST, JOURNAL_ARENAS * own)

    def save(self, totals: Mapping[str, Any]) -> None:
        """Save the state as it is, between two rounds; returns though the disk be full.

        Raises:
            UserError: the journal cannot be begun anew.
        """
        if self.journal is not None:
            self.journal.go_on_in(self.state.round)
        try:
            with contextlib.nullcontext() if self._reserve is None else self._reserve.lent():
                self._write(totals)
        except OSError as problem:
            if not self.problem:
                self.tell(
                    f"the state after round {self.state.round} cannot be saved "
                    f"({problem.strerror}); training goes on, and it is tried again"
                )
            self.problem = problem.strerror or str(problem)
        else:
            if self.problem:
                self.tell(f"the state after round {self.state.round} could be saved again")
            self.problem = ""
            if self.journal is not None:
                with contextlib.suppress(OSError):  # old ones take room, until the next time
                    self.journal.tidy(saved_rounds(self.folder, self.disk)[-1])

    def _write(self, totals: Mapping[str, Any]) -> None:
        """Save; where there is no room for another checkpoint, older ones make it."""
        while True:
            try:
                save_state(self.state, self.folder, self.traits, totals, disk=self.disk)
                return
            except OSError as problem:
                if problem.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._make_room():
                    raise

    def _make_room(self) -> bool:
        """Take the oldest checkpoint away, or a later one, which is given up; never the last."""
        rounds = saved_rounds(self.folder, self.disk)
        if len(rounds) < 2:
            return False
        # Those that stay may be there in name only, if the folder could not be flushed before.
        self.disk.sync_folder(self.folder)
        spare = rounds[0] if rounds[0] > self.state.round else rounds[-1]
        remove_checkpoint(self.folder, spare, self.disk)
        return True

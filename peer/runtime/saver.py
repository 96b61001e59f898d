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


class Saver:
    """One peer's checkpoints.

    Args:
        state: the peer's.
        folder: its own.
        traits: of the experiment, written into each checkpoint.
        tell: gets a line when a state cannot be saved, and when it can again.
        disk: on which the folder is.

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
    ) -> None:
        self.state = state
        self.folder = folder
        self.traits = traits
        self.tell = tell
        self.disk = disk
        self.problem = ""
        self._reserve = Reserve() if disk is REAL else None  # another disk needs none

    @property
    def newest(self) -> int | None:
        """The round of the newest checkpoint on the disk."""
        return next(iter(saved_rounds(self.folder, self.disk)), None)

    def save(self, totals: Mapping[str, Any]) -> None:
        """Save the state as it is, between two rounds; returns in any case."""
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

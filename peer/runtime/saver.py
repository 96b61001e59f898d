"""Saves a peer's state, whatever the disk says: again at the next occasion, said once."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peer.runtime.resources import Reserve
from peer.state import PeerState
from peer.state.checkpoint import checkpoint_path, save_state, saved_rounds


class Saver:
    """One peer's checkpoints.

    Args:
        state: the peer's.
        folder: its own.
        traits: of the experiment, written into each checkpoint.
        tell: gets a line when a state cannot be saved, and when it can again.

    Attributes:
        problem: why the last state that was to be saved was not; empty where it was.
    """

    def __init__(
        self,
        state: PeerState,
        folder: Path,
        traits: Mapping[str, Any],
        tell: Callable[[str], None],
    ) -> None:
        self.state = state
        self.folder = folder
        self.traits = traits
        self.tell = tell
        self.problem = ""
        self._reserve = Reserve()

    @property
    def newest(self) -> int | None:
        """The round of the newest checkpoint on the disk."""
        return next(iter(saved_rounds(self.folder)), None)

    def save(self, totals: Mapping[str, Any]) -> None:
        """Save the state as it is, between two rounds; returns in any case."""
        try:
            with self._reserve.lent():
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
                save_state(self.state, self.folder, self.traits, totals)
                return
            except OSError as problem:
                rounds = saved_rounds(self.folder)
                if problem.errno not in (errno.ENOSPC, errno.EDQUOT) or len(rounds) < 2:
                    raise
                checkpoint_path(self.folder, rounds[-1]).unlink(missing_ok=True)

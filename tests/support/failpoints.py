"""Named places in a peer's program at which it kills itself: by SIGKILL, as ``kill -9`` does.

Nothing of this is in the program: a process that a test has forked puts itself around a function,
before it runs the command.
"""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PLACES = {
    "before a value is written": ("peer.state.journal.journal:Journal.add_value", "before"),
    "a value is half-written": ("peer.state.journal.file:JournalFile._write", "halfway"),
    "a value is written": ("peer.state.journal.journal:Journal.add_value", "after"),
    "before the journal is synced": ("peer.state.journal.file:JournalFile.sync", "before"),
    "the journal is synced": ("peer.state.journal.file:JournalFile.sync", "after"),
    "it is told that values are synced": ("peer.net.io_thread:IoThread.recorded", "after"),
    "before a vote": ("peer.net.settling.commit:Commit.ask", "before"),
    "a vote is about to leave": ("peer.net.settling.commit:Commit.ask", "after"),
    "before it is decided": ("peer.net.settling.settlement:Settlement._with_value", "before"),
    "a decision is about to leave": ("peer.net.settling.commit:Commit.agreed", "after"),
    "messages have left": ("peer.net.sockets:Sockets.send", "after"),
    "before values are used": ("peer.net.zmq_driver:combine", "before"),
    "values are used": ("peer.net.zmq_driver:combine", "after"),
    "before the outcome is written": ("peer.net.recorded.io:RecordedIo.note", "before"),
    "the outcome is written": ("peer.net.recorded.io:RecordedIo.note", "after"),
    "before an exchange begins": ("peer.net.io_thread:IoThread.begin", "before"),
    "an exchange has begun": ("peer.net.io_thread:IoThread.begin", "after"),
    "it is told again": ("peer.net.recorded.io:RecordedIo.outcome_again", "after"),
    "before the journal is begun anew": ("peer.state.journal.journal:Journal.go_on_in", "before"),
    "the journal is begun anew": ("peer.state.journal.journal:Journal.go_on_in", "after"),
    "before a checkpoint is renamed": ("peer.state.disk:RealDisk.rename", "before"),
    "a checkpoint is renamed": ("peer.state.disk:RealDisk.rename", "after"),
    "before journals are removed": ("peer.state.journal.journal:Journal.tidy", "before"),
    "journals are removed": ("peer.state.journal.journal:Journal.tidy", "after"),
}
"""By name, a function and where in it."""

SELDOM = [name for name in PLACES if "journal is begun" in name or "checkpoint" in name]
SELDOM += [name for name in PLACES if "removed" in name]
"""Those that a peer comes by at a checkpoint alone."""


@dataclass(frozen=True)
class Failpoint:
    """A place, and the how-manieth time that a process comes by kills it."""

    name: str
    at: int

    def arm(self) -> None:
        """Have this process kill itself there."""
        path, when = PLACES[self.name]
        module, _, attributes = path.partition(":")
        owner: Any = importlib.import_module(module)
        *within, function = attributes.split(".")
        for name in within:
            owner = getattr(owner, name)
        setattr(owner, function, self._around(getattr(owner, function), when))

    def _around(self, function: Callable[..., Any], when: str) -> Callable[..., Any]:
        left = self.at

        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left:
                return function(*arguments, **named)
            if when == "halfway":
                file, content = arguments
                function(file, content[: len(content) // 2])
            elif when == "after":
                function(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("unreachable")

        return wrapped

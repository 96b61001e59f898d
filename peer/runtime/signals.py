"""What stops a peer's process from outside, and when it may go.

Imported before torch, which takes seconds to load: so this file imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

STOPPED = 130
"""The exit code of whoever was stopped before the end."""

IMPATIENT = 1.0
"""Seconds after which another SIGINT or SIGTERM means: at once. A terminal, or whatever stands
between it and us, may send one twice."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Asks this process to stop, for the reason that came first.

    Until :meth:`begun`, a signal ends the process at once: there is nothing to be saved. From then
    on it sets a flag; another SIGINT or SIGTERM ends the process all the same.

    Attributes:
        asked: is set once.
        why: in words for the user.
        at_once: says what is lost where the process ends at once; called by a signal handler.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.why = ""
        self.tell: Callable[[str], None] = _nobody
        self.at_once: Callable[[], str] = str
        self._has_begun = False
        self._asked_at = 0.0
        self._before: dict[signal.Signals, Any] = {}
        self._reload: Callable[[], None] | None = None
        self._has_terminal = has_terminal()

    def obey_signals(self) -> None:
        """From now on, by the main thread. Where SIGHUP is ignored (nohup), it stays so.

        SIGHUP stops a peer that was started in a terminal: it says that the terminal is gone, and
        with it whoever looked on. Without one nothing of the kind can have happened, and it means
        what it means to daemons: read again what may have changed.
        """
        for number in SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                # as process 1, which has no default handlers, there is no other way to be stopped
                before = signal.signal(number, self._signalled)
                self._before.setdefault(number, before)

    def let_go(self) -> None:
        """Signals mean again what they meant before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def begun(
        self,
        tell: Callable[[str], None],
        at_once: Callable[[], str],
        reload: Callable[[], None] | None = None,
    ) -> None:
        """There is something to be saved from now on; ``tell`` gets a line for the user.

        Without a terminal, SIGHUP lets ``reload`` be called from now on, by a thread of its own;
        it stops whoever has nothing to read again.
        """
        self.tell, self.at_once = tell, at_once
        self._reload = reload
        self._has_begun = True

    def ask(self, why: str) -> None:
        """Let the peer stop at the end of its round."""
        if not self.asked.is_set():
            self.why, self._asked_at = why, time.monotonic()
            self.asked.set()
            self.tell(f"{why}: stopping at the end of this round")

    def _signalled(self, number: int, frame: object) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP and not self._has_terminal:
            if not self._has_begun:
                return  # all is about to be read
            if self._reload is not None:
                threading.Thread(target=self._reload, name="reload", daemon=True).start()
                return
        if not self._has_begun:
            _end(f"{name}: stopped before anything was trained")
        if not self.asked.is_set():
            # by a thread: the one that is interrupted may hold a lock that telling needs
            threading.Thread(target=self.ask, args=(name,), daemon=True).start()
        elif number != signal.SIGHUP and time.monotonic() - self._asked_at > IMPATIENT:
            _end(f"{name} again: ended at once; {self.at_once()}")


def has_terminal() -> bool:
    """Whether this process was started in a terminal, which may be closed."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _end(line: str) -> None:
    """Say ``line`` past all buffers and locks, and be gone."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())
    os._exit(STOPPED)


def _nobody(line: str) -> None:
    """Nobody is to be told yet."""

"""A thread that runs only while the scheduler waits for it: a coroutine for code that blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Killed(BaseException):
    """The process is gone: its compute thread unwinds, and nothing that it does counts."""


class ComputeThread:
    """Runs ``body`` in turns: exactly one thread of the chamber runs at any time.

    Args:
        body: what the thread does; it calls :meth:`pause` where the real one would block.
        ended: is called with what ``body`` raised, if anything, unless it was killed.

    Attributes:
        problem: what ``body`` raised, if anything.
        is_over: ``body`` has returned, or raised.
    """

    def __init__(
        self, body: Callable[[], None], ended: Callable[[BaseException | None], None]
    ) -> None:
        self.problem: BaseException | None = None
        self.is_over = False
        self.is_killed = False
        self._ended = ended
        self._turn = threading.Lock()
        self._back = threading.Lock()
        self._turn.acquire()
        self._back.acquire()
        self._thread = threading.Thread(target=self._run, args=(body,), daemon=True)
        self._thread.start()

    def _run(self, body: Callable[[], None]) -> None:
        self._turn.acquire()
        try:
            if not self.is_killed:
                body()
        except Killed:
            pass
        except BaseException as problem:
            self.problem = problem
        finally:
            self.is_over = True
            if not self.is_killed:
                self._ended(self.problem)
            self._back.release()

    def resume(self) -> None:
        """Let it run until it pauses, or is over. For the scheduler."""
        if not self.is_over:
            self._turn.release()
            self._back.acquire()

    def pause(self) -> None:
        """Hand control back to the scheduler. For ``body``.

        Raises:
            Killed: the process was killed meanwhile.
        """
        if not self.is_killed:
            self._back.release()
            self._turn.acquire()
        if self.is_killed:
            raise Killed

    def kill(self) -> None:
        """End it where it stands. For the scheduler."""
        self.is_killed = True
        while not self.is_over:
            self.resume()
        self._thread.join()

"""What a peer says: lines with time and name, a live line on a terminal. Nothing here ever raises.

A log line is said by whichever thread has something to say; a full disk or a reader that has gone
must not end that thread.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, TextIO, cast


def speak_any_encoding() -> None:
    """Letters that the terminal's or the file's encoding does not know are escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Tolerant(io.TextIOBase):
    """A text stream that never raises: what cannot be written is lost.

    Args:
        stream: that is written to.
        gone: is called, once, when the reader at the other end of a pipe has gone.
    """

    def __init__(self, stream: TextIO, gone: Callable[[], None]) -> None:
        self._stream = stream
        self._gone: Callable[[], None] | None = gone

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the stream's."""
        return self._stream.encoding

    def isatty(self) -> bool:
        """As the stream."""
        with contextlib.suppress(ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """As the stream's."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            self._stream.write(text)
        except (BrokenPipeError, ConnectionError):
            self._broken()
        except (OSError, ValueError):  # no space for it, a closed stream, an encoding
            pass
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:
            self._stream.flush()
        except (BrokenPipeError, ConnectionError):
            self._broken()
        except (OSError, ValueError):
            pass

    def _broken(self) -> None:
        """Nobody reads: what is buffered goes nowhere, or it would be tried again at the exit."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()


def tolerant(gone: Callable[[], None]) -> IO[str]:
    """Standard output, as a :class:`Tolerant` one."""
    return cast(IO[str], Tolerant(sys.stdout, gone))


class Output:
    """What one peer says on standard output.

    Args:
        name: stands before every line, after the time; both are left out if it is empty.
        gone: is called, once, when nobody reads any more.
    """

    def __init__(self, name: str, gone: Callable[[], None]) -> None:
        self.name = name
        self.stream = Tolerant(sys.stdout, gone)
        self.is_live = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._shown = ""

    def say(self, line: str) -> None:
        """A line to be kept."""
        if self.name:
            line = f"{stamp(not self.is_live)} {self.name}: {line}"
        self.put(line)

    def put(self, line: str) -> None:
        """A line as it is."""
        with self._lock:
            cleared = "\r\x1b[K" if self._shown else ""
            # in one piece: other threads, other processes may write to the same place
            self.stream.write(f"{cleared}{line}\n{self._shown}")
            self.stream.flush()

    def show(self, line: str) -> None:
        """The live line, below all others; only where :attr:`is_live`."""
        with self._lock:
            width = _width(self.stream)
            self._shown = line if len(line) < width else line[: width - 2] + "…"
            self.stream.write(f"\r\x1b[K{self._shown}")
            self.stream.flush()

    def end(self) -> None:
        """Take the live line away."""
        with self._lock:
            if self._shown:
                self._shown = ""
                self.stream.write("\r\x1b[K")
                self.stream.flush()


def stamp(with_date: bool) -> str:
    """The time of day; with the date where lines are kept in a file."""
    return time.strftime("%Y-%m-%d %H:%M:%S" if with_date else "%H:%M:%S")


def _width(stream: Tolerant) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80

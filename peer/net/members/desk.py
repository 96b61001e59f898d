"""Where those ask who are to be let in, and the I/O thread meets the thread that answers them.

A request is one header frame, and so is the answer, by the same connection; see :data:`KINDS`. The
I/O thread waits for nothing: what finds no room in the queue is thrown away, and asked for again.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from peer.net.header.seal import WireError, opened, sealed

MAGIC = "hearsay-join"
VERSION = 1

KINDS = {
    "file": (int, str),  # from which byte on; our public key
    "contact": (int,),  # of which peer
    "claim": (str, str),  # our public key and address
    "introduce": (int, str, str),  # a peer that we invited, its public key and address
    "part": (int, bytes),  # bytes in all, and some of them
    "at": (str, str),  # an address and a public key
    "in": (list,),  # the peers that let us in
    "yes": (),
    "no": (str,),  # why not
}
"""What is asked and answered, and the types of its words."""

PART = 1500
"""Bytes of a file in one answer."""

LONGEST = 256
"""Characters of a word, at most."""

ROOM = 16
"""Requests that wait, at most."""

NOBODY = -1
"""Who asks that is neither a neighbour (from 0) nor invited (below)."""

_BEGINNING = msgpack.packb(MAGIC)


@dataclass(frozen=True)
class Request:
    """What somebody asks.

    Attributes:
        connection: by which it came.
        who: the neighbour that CURVE says it is, or the number of a guest.
        number: the request's own, which its answer has, too.
        kind: one of :data:`KINDS`.
        words: of that kind.
    """

    connection: bytes
    who: int
    number: int
    kind: str
    words: tuple[Any, ...]


class Desk:
    """Requests for one thread, and its answers for the other."""

    def __init__(self) -> None:
        self._requests: queue.Queue[Request | None] = queue.Queue(ROOM)
        self._answers: queue.SimpleQueue[tuple[bytes, bytes]] = queue.SimpleQueue()

    def takes(self, connection: bytes, who: int | None, header: bytes) -> bool:
        """Whether a message is none of a neighbour's to its link; called by the I/O thread."""
        if who is None or who == NOBODY:
            return False
        if not header.startswith(_BEGINNING, 1):
            return who < NOBODY  # who was invited says nothing else
        try:
            number, kind, words = decoded(header)
            self._requests.put_nowait(Request(connection, who, number, kind, words))
        except (WireError, queue.Full):
            pass  # it is asked again, or is none
        return True

    def answers(self) -> Iterator[tuple[bytes, bytes]]:
        """Answers to be sent, each with its connection; called by the I/O thread."""
        while not self._answers.empty():
            yield self._answers.get()

    def next(self, seconds: float | None) -> Request | None:
        """The next request; None where there is none for so long, or :meth:`nudge` was called."""
        try:
            return self._requests.get(timeout=seconds)
        except queue.Empty:
            return None

    def nudge(self) -> None:
        """There is something to be looked at; who is at work looks anyway."""
        try:
            self._requests.put_nowait(None)
        except queue.Full:
            return

    def answer(self, request: Request, kind: str, *words: Any) -> None:
        """Answer a request, once the I/O thread wakes."""
        self._answers.put((request.connection, encoded(request.number, kind, *words)))


def encoded(number: int, kind: str, *words: Any) -> bytes:
    """The header of a request or an answer."""
    return sealed([MAGIC, VERSION, number, kind, *words])


def decoded(header: bytes) -> tuple[int, str, tuple[Any, ...]]:
    """The number, kind and words of a request or an answer.

    Raises:
        WireError: it is none.
    """
    parts = opened(header, MAGIC, VERSION)
    if len(parts) < 5 or type(parts[2]) is not int or not 0 <= parts[2] < 2**32:
        raise WireError("not a request")
    number, kind, *words = parts[2:-1]
    types = KINDS.get(kind) if isinstance(kind, str) else None
    if types is None or len(words) != len(types):
        raise WireError("an unknown request")
    for word, of in zip(words, types, strict=True):
        _check(word, of)
    return number, kind, tuple(words)


def _check(word: Any, of: type) -> None:
    if type(word) is not of:
        raise WireError("a word of another type")
    if isinstance(word, int) and not 0 <= word < 2**32:
        raise WireError("a number out of its range")
    if isinstance(word, str) and (len(word) > LONGEST or not word.isprintable()):
        raise WireError("not a short word")  # words end up in log lines
    if isinstance(word, list):
        for each in word:
            _check(each, int)

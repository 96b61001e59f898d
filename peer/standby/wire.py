"""What an election says, as bytes and back: pure, and believing nothing.

A message is ``[header]``, or ``[header][piece]`` where it carries a piece of a state. The header is
sealed as that of :mod:`peer.net.wire` is, and names the run and the sender; over CURVE, the
sender's key has to agree. Whatever does not fit exactly is a
:class:`~peer.net.header.seal.WireError`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from peer.net.header.seal import WireError, opened, sealed
from peer.net.wire import CHUNK_LARGEST
from peer.standby.election.messages import (
    Ask,
    Beat,
    Copy,
    Heard,
    Holds,
    Message,
    Position,
    Vote,
)

MAGIC = "hearsay-election"
VERSION = 1
TYPES: tuple[type[Message], ...] = (Ask, Vote, Beat, Heard, Copy, Holds)
LARGEST = 2**36
"""Bytes of a state, at most."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message, and which process of which run says that it sent it."""

    run: str
    sender: int
    message: Message


def encode(run: str, sender: int, message: Message) -> tuple[bytes, memoryview | None]:
    """The header of a message, and its piece of a state if it has one."""
    piece = message.piece if isinstance(message, Copy) else b""
    values = [getattr(message, name) for name in _FIELDS[type(message)]]
    number = TYPES.index(type(message))
    header = sealed([MAGIC, VERSION, run, sender, number, *values, zlib.crc32(piece)])
    return header, memoryview(piece) if isinstance(message, Copy) else None


def decode(header: bytes, body: memoryview | None) -> Envelope:
    """The message in these frames.

    Raises:
        WireError: it is none, or not of this version.
    """
    parts = opened(header, MAGIC, VERSION)
    if len(parts) < 7:
        raise WireError("a message with too few fields")
    run, sender, number = parts[2], _integer(parts[3]), _integer(parts[4])
    if type(run) is not str or not run.isalnum() or number >= len(TYPES):
        raise WireError("an unknown run or type of message")
    kind = TYPES[number]
    names = _FIELDS[kind]
    if len(parts) != 7 + len(names) or (kind is Copy) != (body is not None):
        raise WireError("a message with too few or too many parts")
    values = {name: _CHECKS[name](v) for name, v in zip(names, parts[5:-2], strict=True)}
    if body is not None:
        if len(body) > CHUNK_LARGEST or zlib.crc32(body) != parts[-2]:
            raise WireError("a piece that is too large or damaged")
        values["piece"] = bytes(body)
    return Envelope(run, sender, kind(**values))


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 2**64 - 1:
        raise WireError("a number out of its range")
    return value


def _size(value: Any) -> int:
    if _integer(value) > LARGEST:
        raise WireError("a state too large")
    return int(value)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise WireError("neither true nor false")
    return value


def _position(value: Any) -> Position:
    if type(value) is not list or len(value) != 2:
        raise WireError("not a position")
    return Position(_integer(value[0]), _integer(value[1]))


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "term": _integer,
    "asked": _integer,
    "session": _integer,
    "size": _size,
    "offset": _size,
    "received": _size,
    "is_trial": _truth,
    "is_granted": _truth,
    "held": _position,
    "known": _position,
    "position": _position,
    "of": _position,
}
_FIELDS = {
    kind: tuple(each.name for each in fields(kind) if each.name != "piece") for kind in TYPES
}

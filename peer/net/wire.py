"""Bytes to messages and back: pure, and believing nothing.

A message is ``[header]`` or ``[header][body]``; the header is a msgpack list of at most 2 KiB,
``[magic, version, type, session, seq, *fields, crc32]``, and a body is raw arena bytes. Whatever
does not fit exactly is a :class:`WireError`; nothing else is ever raised for bytes from outside.

The CRC-32 is of all header bytes before its own four: one flipped bit in a HELLO would make a
neighbour one of another experiment, and one in an ACK would say what nobody said. TCP's own
checksum, of 16 bits, lets some damage through, and does not see what a middlebox did.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import msgpack

from peer.effects import Moment

MAGIC = "hearsay"
VERSION = 7
HEADER_LIMIT = 2048
"""Bytes of a header, at most."""

CHUNK_SMALLEST = 256 * 1024
CHUNK_LARGEST = 4 * 1024 * 1024
MESSAGE_LIMIT = CHUNK_LARGEST + 4096
"""Bytes of any one frame, at most (ZeroMQ's MAXMSGSIZE)."""


class WireError(ValueError):
    """Bytes that are not a message of this protocol."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who I am and what I run; the first message on every connection."""

    peer: int
    fingerprint: dict[str, str]  # the experiment's parts that all must agree on
    signature: dict[str, str]  # nets and their layouts
    round: int
    data: dict[str, Any] = field(default_factory=dict)  # of private images: Statement.to_words
    checksums: list[str] = field(default_factory=list)  # that I can check a value's pieces by


@dataclass(frozen=True, slots=True)
class Welcome:
    """Your HELLO (of the session named) is accepted."""

    session: int
    round: int
    # what it told of private data: peer.data.agreement.mark_of; to a PROBE, what our machine is:
    # peer.machine.likeness
    heard: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """Your HELLO (of the session named) is refused, and why."""

    session: int
    code: str
    parts: list[str]


@dataclass(frozen=True, slots=True)
class Offer:
    """My value for exchange t: so many bytes, in chunks of this size."""

    t: Moment
    net: str
    nbytes: int
    chunk: int
    codec: str
    epoch: int = 0  # of who takes part in that round, as I know it: Membership.epoch


@dataclass(frozen=True, slots=True)
class Chunk:
    """Piece ``index`` of the value offered for t; the body holds it."""

    t: Moment
    index: int
    checksum: int  # by that agreed on in HELLO; 0 where CURVE authenticates, or they are off


@dataclass(frozen=True, slots=True)
class Ack:
    """What I have of your value for t: chunks below ``received`` are here, and what comes of it."""

    t: Moment
    received: int
    verdict: str  # one of VERDICTS


@dataclass(frozen=True, slots=True)
class Nack:
    """Send your value for t again from chunk ``index``."""

    t: Moment
    index: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? I am at t."""

    t: Moment
    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """I am, at t."""

    t: Moment
    number: int


@dataclass(frozen=True, slots=True)
class Leave:
    """I go, after so many rounds, and everything I owed you is sent; and why I go."""

    round: int
    reason: str  # one of REASONS


@dataclass(frozen=True, slots=True)
class Probe:
    """Would my HELLO be accepted? Answered by the connection that it came by; nothing else."""

    peer: int
    fingerprint: dict[str, str]
    signature: dict[str, str]
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejoin:
    """I was left behind, and go on in this round: I take values in it, and send no net's."""

    round: int


@dataclass(frozen=True, slots=True)
class Vote:
    """I hold your value for t, and will use it if you use mine: do we?

    The value is of the ``session`` named; to another one this is but a question.
    """

    t: Moment
    session: int


@dataclass(frozen=True, slots=True)
class Members:
    """All that I know of who takes part; the body says it, and ``mark`` is a digest of that."""

    mark: str
    crc32: int


@dataclass(frozen=True, slots=True)
class Join:
    """Let me take part, with links to these; to those that the file gives me, if to none."""

    links: list[int]


@dataclass(frozen=True, slots=True)
class Heard:
    """I know all that the MEMBERS of that mark told."""

    mark: str


@dataclass(frozen=True, slots=True)
class Status:
    """What ``peer`` tells everybody of itself, passed on; made ``age`` ms ago, told in the body."""

    peer: int
    topic: str  # one of TOPICS
    number: int  # the higher, the newer
    age: int
    crc32: int


Message = (
    Hello
    | Welcome
    | Reject
    | Offer
    | Chunk
    | Ack
    | Nack
    | Ping
    | Pong
    | Leave
    | Probe
    | Rejoin
    | Vote
    | Members
    | Heard
    | Join
    | Status
)

TYPES: tuple[type[Message], ...] = (
    Hello, Welcome, Reject, Offer, Chunk, Ack, Nack, Ping, Pong, Leave, Probe, Rejoin, Vote,
    Members, Heard, Join, Status,
)  # fmt: skip
VERDICTS = ("more", "whole", "late", "wait", "abort", "commit")
"""more: go on; whole: it is here and sound; late: I am past t; wait: I have no room yet; abort: I
do without your value for t, and you are not to use mine; commit: I use it, and so do you."""

REASONS = ("finished", "stopped", "crashed")
"""Why a peer leaves: its program has ended, somebody stopped it, or it cannot go on."""

TOPICS = ("account", "picture")
"""Of a STATUS: numbers and links; what the peer draws."""

_U64 = 2**64 - 1
_U32 = 2**32 - 1


def _integer(low: int, high: int) -> Callable[[Any], Any]:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise WireError("a number out of its range")
        return value

    return check


def _word(longest: int) -> Callable[[Any], Any]:
    def check(value: Any) -> str:
        if type(value) is not str or len(value) > longest or not value.isprintable():
            raise WireError("not a short word")  # words end up in log lines
        return value

    return check


def _words(value: Any) -> list[str]:
    if type(value) is not list or len(value) > 32:
        raise WireError("not a short list of words")
    return [_word(64)(word) for word in value]


def _table(value: Any) -> dict[str, str]:
    if type(value) is not dict or len(value) > 32:
        raise WireError("not a short table of words")
    return {_word(64)(key): _word(64)(word) for key, word in value.items()}


def _description(value: Any) -> dict[str, Any]:
    """Numbers, text and short lists of numbers; what they mean, the session looks at."""
    if type(value) is not dict or len(value) > 8:
        raise WireError("not a description of data")
    for key, each in value.items():
        _word(16)(key)
        if type(each) is str:
            _word(HEADER_LIMIT)(each)
        elif type(each) is list and len(each) <= 3:
            for number in each:
                _integer(0, _U32)(number)
        else:
            _integer(-(2**31), _U32)(each)
    return value


_place = _integer(-1, _U32)  # made once: each message has several numbers
_number = _integer(0, _U64)


def _moment(value: Any) -> Moment:
    if type(value) is not list or len(value) != 2:
        raise WireError("not a moment")
    return Moment(_place(value[0]), _place(value[1]))


def _ids(value: Any) -> list[int]:
    if type(value) is not list or len(value) > 256:
        raise WireError("not a short list of ids")
    return [_integer(0, _U32)(each) for each in value]


def _one_of(words: tuple[str, ...], what: str) -> Callable[[Any], Any]:
    def check(value: Any) -> str:
        if type(value) is not str or value not in words:
            raise WireError(f"not a {what}")
        return value

    return check


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "peer": _integer(0, _U32),
    "round": _integer(0, _U32),
    "session": _integer(0, _U64),
    "nbytes": _integer(0, 2**40),
    "chunk": _integer(4096, CHUNK_LARGEST),
    "index": _integer(0, _U32),
    "received": _integer(0, _U32),
    "number": _integer(0, _U64),
    "crc32": _integer(0, _U32),
    "checksum": _integer(0, _U64),
    "checksums": _words,
    "epoch": _integer(0, _U32),
    "net": _word(64),
    "codec": _word(16),
    "code": _word(64),
    "heard": _word(64),
    "mark": _word(64),
    "parts": _words,
    "links": _ids,
    "fingerprint": _table,
    "signature": _table,
    "data": _description,
    "verdict": _one_of(VERDICTS, "verdict"),
    "reason": _one_of(REASONS, "reason to leave"),
    "topic": _one_of(TOPICS, "topic"),
    "age": _integer(0, _U32),
    "t": _moment,
}
_FIELDS = {kind: tuple(each.name for each in fields(kind)) for kind in TYPES}
_NUMBERS = {kind: number for number, kind in enumerate(TYPES)}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with its sender's session and its place in that sender's sequence."""

    session: int
    seq: int
    message: Message


def encode(session: int, seq: int, message: Message) -> bytes:
    """The header frame of a message.

    Raises:
        WireError: it is longer than the other end would read.
    """
    values = [getattr(message, name) for name in _FIELDS[type(message)]]
    header = sealed([MAGIC, VERSION, _NUMBERS[type(message)], session, seq, *values])
    if len(header) > HEADER_LIMIT:
        raise WireError(f"a {type(message).__name__} longer than 2 KiB")
    return header


def sealed(parts: list[Any]) -> bytes:
    """The bytes of a header with these parts, its CRC-32 behind them."""
    packed: bytes = msgpack.packb([*parts, _U32])  # which takes five bytes, the number last
    begun = packed[:-4]
    return begun + zlib.crc32(begun).to_bytes(4, "big")


def opened(header: bytes | memoryview, magic: str, version: int) -> list[Any]:
    """The parts of a header that :func:`sealed` made; its magic word and version come first.

    Raises:
        WireError: it is none, or not of this version.
    """
    if len(header) > HEADER_LIMIT:
        raise WireError("a header longer than 2 KiB")
    try:
        parts = msgpack.unpackb(header)
    except Exception:  # msgpack raises a dozen kinds for hostile bytes; all mean the same
        raise WireError("not msgpack") from None
    if type(parts) is not list or len(parts) < 2 or parts[0] != magic:
        raise WireError(f"not a header of {magic}")
    if type(parts[1]) is not int or parts[1] != version:
        found = parts[1] if type(parts[1]) is int else "that is no number"
        raise WireError(f"protocol version {found}, not {version}")
    if zlib.crc32(header[:-4]) != int.from_bytes(header[-4:], "big"):
        raise WireError("a header that was damaged on its way")
    return parts


def decode(header: bytes | memoryview) -> Envelope:
    """The message in a header frame.

    Raises:
        WireError: it is none, or not of this version.
    """
    parts = opened(header, MAGIC, VERSION)
    if len(parts) < 6:
        raise WireError("a message with too few or too many fields")
    if type(parts[2]) is not int or not 0 <= parts[2] < len(TYPES):
        raise WireError("an unknown type of message")
    kind = TYPES[parts[2]]
    names = _FIELDS[kind]
    if len(parts) != 6 + len(names):
        raise WireError("a message with too few or too many fields")
    session, seq = _number(parts[3]), _number(parts[4])
    values = [_CHECKS[name](value) for name, value in zip(names, parts[5:-1], strict=True)]
    return Envelope(session, seq, kind(*values))

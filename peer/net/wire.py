"""Bytes to messages and back: pure, and believing nothing.

A message is ``[header]`` or ``[header][body]``; the header is a msgpack list of at most 2 KiB,
``[magic, version, type, session, seq, *fields, crc32]``, and a body is raw arena bytes. Whatever
does not fit exactly is a :class:`WireError`; nothing else is ever raised for bytes from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from peer.effects import Moment
from peer.net.header import checks
from peer.net.header.seal import HEADER_LIMIT, WireError, opened, sealed

MAGIC = "hearsay"
VERSION = 7
CHUNK_SMALLEST = 256 * 1024
CHUNK_LARGEST = 4 * 1024 * 1024
MESSAGE_LIMIT = CHUNK_LARGEST + 4096
"""Bytes of any one frame, at most (ZeroMQ's MAXMSGSIZE)."""


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

_CHECKS: dict[str, Callable[[Any], Any]] = {
    "peer": checks.integer(0, checks.U32),
    "round": checks.integer(0, checks.U32),
    "session": checks.integer(0, checks.U64),
    "nbytes": checks.integer(0, 2**40),
    "chunk": checks.integer(4096, CHUNK_LARGEST),
    "index": checks.integer(0, checks.U32),
    "received": checks.integer(0, checks.U32),
    "number": checks.integer(0, checks.U64),
    "crc32": checks.integer(0, checks.U32),
    "checksum": checks.integer(0, checks.U64),
    "checksums": checks.words,
    "epoch": checks.integer(0, checks.U32),
    "net": checks.short_word(64),
    "codec": checks.short_word(16),
    "code": checks.short_word(64),
    "heard": checks.short_word(64),
    "mark": checks.short_word(64),
    "parts": checks.words,
    "links": checks.ids,
    "fingerprint": checks.table,
    "signature": checks.table,
    "data": checks.description,
    "verdict": checks.one_of(VERDICTS, "verdict"),
    "reason": checks.one_of(REASONS, "reason to leave"),
    "topic": checks.one_of(TOPICS, "topic"),
    "age": checks.integer(0, checks.U32),
    "t": checks.moment,
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
    session, seq = checks.number(parts[3]), checks.number(parts[4])
    values = [_CHECKS[name](value) for name, value in zip(names, parts[5:-1], strict=True)]
    return Envelope(session, seq, kind(*values))

"""Reads a peer's flight: see :mod:`peer.state.flight`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import msgpack

from peer.effects import Moment
from peer.state.flight.frames import read_frames
from topology.errors import UserError
from topology.membership import Membership

VERSION = 1
"""Of the records. Each process writes its own."""


class Kind(Enum):
    """What a record tells; its fields follow it."""

    STARTED = "start"  # a mapping: see FlightRecorder.started
    CLASSES = "classes"  # names
    SENDERS = "from"  # round, exchange, {neighbour: session}: from that exchange on
    WITHOUT = "without"  # round, exchange, [neighbours]
    HELD = "held"  # round, exchange, [neighbours]: of those, whose values are here, in doubt
    LATE = "late"  # effects, neighbour, its moment: what was held of that is used
    COMPLETED = "round"  # rounds completed, checksum of all nets
    SKIPPED = "skip"  # the round gone on in, after the one just completed
    MEMBERS = "members"  # changes of who takes part: from the round to come on, these count
    TIME = "time"  # seconds
    RECALLED = "recall"  # session, round: of a checkpoint
    ENDED = "end"  # rounds completed, reason


Place = tuple[int, int]
"""A round, from 0, and which of its process's exchanges in that round, from 0."""


@dataclass(frozen=True)
class Late:
    """What was held apart of a neighbour, in doubt, is used: it is added to its net.

    Attributes:
        effects: that the program had asked for by then, with the one that is carried out next.
        neighbour: whose value it is.
        t: the exchange that it was of.
    """

    effects: int
    neighbour: int
    t: Moment


@dataclass
class Incarnation:
    """One process of a peer, as its flight tells.

    Attributes:
        number: from 0, among the peer's.
        session: by which its neighbours know it.
        begins: rounds that it had completed when it began.
        source: the session of the process whose checkpoint it went on from, if any.
        experiment: that it ran, resolved.
        classes: of the peers' images.
        made_with: the build of torch, and the processor's instruction set.
        without: the neighbours that it did without.
        held: those of them whose values had come, and were held apart, in doubt.
        late: what was held apart and used later, in order.
        senders: whose value it used, by neighbour, from that exchange on.
        seconds: what its algorithm was told of the time, in order.
        skips: by rounds completed, the round that it went on in.
        members: by rounds completed, the changes of who takes part that count from then on.
        recalls: the checkpoints that its nets could go back to, by session and round, in order.
        checksums: by rounds completed, of all its nets.
        ending: rounds completed and the reason; None where it was killed, or runs.
    """

    number: int
    session: int
    begins: int
    source: int | None
    experiment: dict[str, Any]
    classes: tuple[str, ...]
    made_with: tuple[str, str]
    without: dict[Place, frozenset[int]] = field(default_factory=dict)
    held: dict[Place, frozenset[int]] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)
    senders: dict[Place, dict[int, int]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    skips: dict[int, int] = field(default_factory=dict)
    members: dict[int, Membership] = field(default_factory=dict)
    recalls: list[tuple[int | None, int]] = field(default_factory=list)
    checksums: dict[int, int] = field(default_factory=dict)
    ending: tuple[int, str] | None = None

    @property
    def completed(self) -> int:
        """Rounds that it had completed when the flight tells of it last."""
        last = max(self.checksums, default=self.begins)
        return max(last, self.skips.get(last, 0))

    def note(self, kind: Kind, fields: list[Any]) -> None:
        """Take in a record that followed this process's start.

        Raises:
            ValueError: it has other fields than its kind.
        """
        match kind, fields:
            case Kind.CLASSES, [list(names)]:
                self.classes = tuple(str(name) for name in names)
            case Kind.SENDERS, [int(round), int(exchange), dict(senders)]:
                self.senders[round, exchange] = {int(k): int(of) for k, of in senders.items()}
            case Kind.WITHOUT, [int(round), int(exchange), list(neighbours)]:
                self.without[round, exchange] = frozenset(int(k) for k in neighbours)
            case Kind.HELD, [int(round), int(exchange), list(neighbours)]:
                self.held[round, exchange] = frozenset(int(k) for k in neighbours)
            case Kind.LATE, [int(effects), int(k), int(round), int(exchange)]:
                self.late.append(Late(effects, k, Moment(round, exchange)))
            case Kind.COMPLETED, [int(round), int(checksum)]:
                self.checksums[round] = checksum
            case Kind.SKIPPED, [int(round)]:
                self.skips[self.completed] = round
            case Kind.MEMBERS, [list(words)]:
                self.members[self.completed + 1] = Membership.from_words(words)
            case Kind.TIME, [float(seconds)]:
                self.seconds.append(seconds)
            case Kind.RECALLED, [int() | None as session, int(round)]:
                self.recalls.append((session, round))
            case Kind.ENDED, [int(round), str(reason)]:
                self.ending = (round, reason)
            case _:
                raise ValueError(f"a record '{kind.value}' of other fields")


def read_records(records: Iterable[bytes]) -> Iterator[tuple[Kind, Any, list[Any]]]:
    """The kind of each record, its first field, and all of them.

    Raises:
        ValueError: one is no record of a flight.
    """
    for number, record in enumerate(records, start=1):
        try:
            name, *fields = msgpack.unpackb(record, strict_map_key=False)
        except Exception:  # msgpack raises a dozen kinds; all mean the same
            raise ValueError(f"record {number} is none") from None
        try:
            kind = Kind(name)
        except ValueError:
            raise ValueError(f"record {number} is of an unknown kind: {name!r}") from None
        if not fields:
            raise ValueError(f"record {number} has no fields")
        yield kind, fields[0], fields


def read_flight(path: Path) -> tuple[list[Incarnation], int]:
    """The processes of a peer, in the order of their starts, and the damaged bytes at the end.

    Raises:
        UserError: there is none, or another version of hearsay wrote it.
    """
    try:
        records, lost = read_frames(path)
    except OSError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror}") from None
    found: list[Incarnation] = []
    experiment: dict[str, Any] = {}
    try:
        for kind, first, fields in read_records(records):
            if kind is Kind.STARTED:
                experiment = first["experiment"] or experiment
                found.append(_started(len(found), first, experiment))
            elif not found:
                raise ValueError("it does not begin with a start")
            else:
                found[-1].note(kind, fields)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        why = f"{problem}" if isinstance(problem, ValueError) else f"a start lacks {problem}"
        raise UserError(f"{path}: is no flight that this hearsay can read: {why}") from None
    return found, lost


def _started(number: int, start: dict[str, Any], experiment: dict[str, Any]) -> Incarnation:
    if start["version"] != VERSION:
        raise ValueError(f"it is of version {start['version']}, and this one reads {VERSION}")
    source = start["source"]
    return Incarnation(
        number,
        int(start["session"]),
        int(start["round"]),
        None if source is None else int(source),
        experiment,
        tuple(str(name) for name in start["classes"]),
        (str(start["torch"]), str(start["cpu"])),
    )

"""A peer's journal: see :mod:`peer.state.journal`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from peer.effects import BEFORE_ALL, Moment
from peer.state.disk import REAL, Disk
from peer.state.journal.file import (
    JournalFile,
    Record,
    journal_path,
    journal_rounds,
    read_records,
)
from topology.errors import UserError


@dataclass(frozen=True)
class Value:
    """A neighbour's value, as it came.

    Attributes:
        name: of the net, or under which a letter was offered.
        session: of the process that sent it.
        content: its bytes.
        is_letter: it is no net's.
    """

    name: str
    session: int
    content: memoryview
    is_letter: bool


@dataclass(frozen=True)
class Exchanged:
    """What became of an exchange: whose values are used, whose are missing, whose are in doubt.

    ``used``, ``in_doubt`` and ``unsure`` are moments by neighbour; of those who are unsure, it is
    not known whether they take our letter.
    """

    used: Mapping[int, Moment]
    missing: frozenset[int]
    in_doubt: Mapping[int, Moment]
    unsure: Mapping[int, Moment] = field(default_factory=dict)


@dataclass(frozen=True)
class Decided:
    """What was in doubt with a neighbour is known."""

    neighbour: int
    t: Moment
    is_used: bool


@dataclass(frozen=True)
class Number:
    """A number that was told, and what it is of.

    ``time``, in seconds; ``skip``: the round gone on in, with all before it left out.
    """

    name: str
    value: float


Event = Exchanged | Decided | Number
E = TypeVar("E", Exchanged, Decided, Number)


class Journal:
    """What one peer was told since the checkpoint that it goes on from, and is told now.

    A value, and what else is told, is added when it comes; nothing that depends on it may leave
    the peer before :meth:`sync`. The file that is written begins at a checkpoint; those before it
    are kept with theirs, because the newest checkpoint may be found damaged.

    Args:
        folder: the peer's own.
        round: of the checkpoint.
        disk: on which it is.

    Attributes:
        events: those to be told again, in order.
        sessions: of the peer's processes whose journals these are, with this one's.

    Raises:
        UserError: it cannot be read.
    """

    def __init__(self, folder: Path, round: int, disk: Disk = REAL) -> None:
        self.folder = folder
        self.events: deque[Event] = deque()
        self.sessions: set[int] = set()
        self._disk = disk
        self._values: dict[tuple[int, Moment], Value] = {}  # that no exchange has used yet
        self._round = round
        self._last: dict[tuple[int, bool], Moment] = {}
        self._file: JournalFile | None = None  # as long as nothing is written
        try:
            for self._round in [r for r in journal_rounds(folder, disk) if r >= round]:
                for record in read_records(journal_path(folder, self._round), disk):
                    self._take_in(record)
        except (OSError, ValueError, TypeError) as problem:
            raise self._trouble(problem) from None

    @property
    def nbytes(self) -> int:
        """How long the file is that is written."""
        return 0 if self._file is None else self._file.nbytes

    def _take_in(self, record: Record) -> None:
        """One record of a process before this one.

        Raises:
            ValueError: it is none.
        """
        match record:
            case ["session", int(number)], _:
                self.sessions.add(number)
            case ["value", int(k), [r, e], str(name), int(session), bool(is_letter)], content:
                self._keep(k, Moment(r, e), Value(name, session, content, is_letter))
            case ["exchanged", dict(used), list(missing), dict(in_doubt), dict(unsure)], _:
                of, doubt, letters = (
                    {k: Moment(*t) for k, t in each.items()} for each in (used, in_doubt, unsure)
                )
                self.events.append(Exchanged(of, frozenset(missing), doubt, letters))
            case ["decided", int(k), [r, e], bool(is_used)], _:
                self.events.append(Decided(k, Moment(r, e), is_used))
            case ["number", str(name), float(value)], _:
                self.events.append(Number(name, value))
            case _:
                raise ValueError("it has a record of an unknown kind")

    # --- what it says of the past -----------------------------------------------------------------

    def last(self, neighbour: int, is_letter: bool) -> Moment:
        """For which exchange a value of the neighbour's was written last."""
        return self._last.get((neighbour, is_letter), BEFORE_ALL)

    def doubts(self, before: Mapping[int, Moment]) -> dict[int, Moment]:
        """What is in doubt once all events are told again, by neighbour; ``before`` is so now."""
        found = dict(before)
        for event in self.events:
            match event:
                case Exchanged(in_doubt=in_doubt, unsure=unsure):
                    found |= {**in_doubt, **unsure}
                case Decided(neighbour):
                    found.pop(neighbour, None)
        return found

    def held(self, neighbour: int, t: Moment) -> Value | None:
        """The value for ``t`` that is written, if one is, and not used yet."""
        return self._values.get((neighbour, t))

    def tell_again(self, kind: type[E]) -> E:
        """The next event, which is to be of that kind.

        Raises:
            UserError: it is of another, or there is none.
        """
        event = self.events.popleft() if self.events else None
        if not isinstance(event, kind):
            raise UserError(
                f"{journal_path(self.folder, self._round)}: does not fit this run; if the program "
                "was changed, start from the checkpoint alone, by --resume-at ROUND"
            )
        return event

    def skip_again(self) -> int | None:
        """The round gone on in from here, if rounds were left out."""
        if self.events and isinstance(self.events[0], Number) and self.events[0].name == "skip":
            return int(self.tell_again(Number).value)
        return None

    def values_of(self, moments: Mapping[int, Moment]) -> dict[int, Value]:
        """The values of an exchange, which are used now, and no more.

        Raises:
            UserError: one of them is not there.
        """
        found = {}
        for k, t in moments.items():
            value = self._values.get((k, t))
            if value is None:
                raise UserError(
                    f"{journal_path(self.folder, self._round)}: lacks what peer {k} sent in round "
                    f"{t.round + 1}; start from the checkpoint alone, by --resume-at ROUND"
                )
            found[k] = value
        self.forget(moments)
        return found

    # --- what is told now -------------------------------------------------------------------------

    def begin(self, session: int) -> None:
        """A process begins, or goes on, in this file.

        Raises:
            OSError: it cannot be opened.
        """
        self._file = JournalFile(journal_path(self.folder, self._round), self._disk)
        self.sessions.add(session)
        self._append(["session", session])

    def add_value(self, neighbour: int, t: Moment, value: Value) -> None:
        """A neighbour's value for ``t`` has come."""
        self._keep(neighbour, t, value)
        self._append_value(neighbour, t, value)

    def add(self, event: Event) -> None:
        """Something was told."""
        match event:
            case Exchanged(used, missing, in_doubt, unsure):
                of, doubt, letters = (
                    {k: list(t) for k, t in each.items()} for each in (used, in_doubt, unsure)
                )
                self._append(["exchanged", of, sorted(missing), doubt, letters])
                self.forget({**used, **in_doubt})
            case Decided(neighbour, t, is_used):
                self._append(["decided", neighbour, list(t), is_used])
            case Number(name, value):
                self._append(["number", name, float(value)])

    def forget(self, moments: Mapping[int, Moment]) -> None:
        """These exchanges are over: what came for them, or for earlier ones, is used no more."""
        over = [(k, t) for k, t in self._values if k in moments and t <= moments[k]]
        for each in over:
            del self._values[each]

    def sync(self) -> None:
        """Wait until all of it is on the disk.

        Raises:
            UserError: the disk does not say so.
        """
        assert self._file is not None
        try:
            self._file.sync()
        except OSError as problem:
            raise self._trouble(problem) from None

    # --- with checkpoints -------------------------------------------------------------------------

    def go_on_in(self, round: int) -> None:
        """What is told from here on comes after the checkpoint of that round, about to be written.

        The file begins with what has come early; until the checkpoint is there, it follows the
        file before.
        """
        self.sync()
        if round != self._round:
            self.close()
            self._round = round
            try:
                self._file = JournalFile(journal_path(self.folder, round), self._disk)
            except OSError as problem:
                raise self._trouble(problem) from None
        # Also where a process before this one was cut off when it had begun that file.
        for session in sorted(self.sessions):
            self._append(["session", session])
        for (k, t), value in sorted(self._values.items(), key=lambda each: each[0]):
            self._append_value(k, t, value)
        self.sync()

    def tidy(self, oldest: int | None) -> None:
        """Take journals away that come before the oldest checkpoint that is kept."""
        for round in journal_rounds(self.folder, self._disk):
            if oldest is not None and round < min(oldest, self._round):
                remove_journal(self.folder, round, self._disk)

    def close(self) -> None:
        """No more is to come."""
        if self._file is not None:
            self._file.close()

    # --- the file ---------------------------------------------------------------------------------

    def _keep(self, neighbour: int, t: Moment, value: Value) -> None:
        self._values[neighbour, t] = value
        key = neighbour, value.is_letter
        self._last[key] = max(t, self._last.get(key, BEFORE_ALL))

    def _append_value(self, neighbour: int, t: Moment, value: Value) -> None:
        header = ["value", neighbour, list(t), value.name, value.session, value.is_letter]
        self._append(header, value.content)

    def _append(self, header: list[Any], body: memoryview | bytes = b"") -> None:
        assert self._file is not None
        try:
            self._file.append(header, body)
        except OSError as problem:
            raise self._trouble(problem) from None

    def _trouble(self, problem: Exception) -> UserError:
        why = problem.strerror if isinstance(problem, OSError) else problem
        return UserError(
            f"{journal_path(self.folder, self._round)}: {why}; with durability: exact nothing is "
            "used that a restart would not know of, so this peer stops; it goes on when started "
            "again on a disk that can be written"
        )


def remove_journal(folder: Path, round: int, disk: Disk = REAL) -> None:
    """Take the journal after the checkpoint of that round away."""
    try:
        disk.remove(journal_path(folder, round))
    except OSError:  # it takes room, and is read by nobody
        return


def open_journal(
    folder: Path, round: int, is_exact: bool, is_anew: bool = False, disk: Disk = REAL
) -> Journal | None:
    """The journal of a peer that goes on from the checkpoint of that round.

    Args:
        folder: the peer's own.
        round: of the checkpoint.
        is_exact: it has one; otherwise what was written before is of no use any more.
        is_anew: what was told after the checkpoint is not to be told again.
        disk: on which the folder is.

    Raises:
        UserError: it cannot be opened.
    """
    if is_anew or not is_exact:
        _give_up(folder, round, disk)
    return Journal(folder, round, disk) if is_exact else None


def _give_up(folder: Path, round: int, disk: Disk) -> None:
    later = [each for each in journal_rounds(folder, disk) if each >= round]
    try:
        for each in later:
            disk.remove(journal_path(folder, each))
        if later:
            disk.sync_folder(folder)
    except OSError as problem:
        raise UserError(f"{folder}: cannot be written: {problem.strerror}") from None

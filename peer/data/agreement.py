"""How peers that see only their neighbours agree on one list of classes, before they train.

Each peer tells what it knows: the classes of a set of peers, at first its own. What it hears is
joined to that, and told on. Both sets only grow, so it does not matter in which order, by which way
or how often something is heard (a state-based replicated set: Shapiro et al. 2011,
doi:10.1007/978-3-642-24550-3_29). Once the classes of everybody are known, or there was time
enough, the list is fixed: numbers first, then text. Who comes later takes it over, or is refused.

Pure, as the protocol whose part it is: statements and the time go in, lines for the user and one
event come out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from peer.data.classes import by_number_then_text, clean_name, shown
from peer.data.description import (
    MOST_BYTES,
    Description,
    check_alike,
    listed,
    named,
    refuse_mixture,
)
from topology.errors import UserError

MOST_PEERS = 1024
"""Of a network whose peers agree by themselves: more do not fit into a message."""

LONG = 5.0
"""Seconds after which a user is told whose classes have not been heard of."""

_IDS = re.compile(f"[0-9a-f]{{1,{MOST_PEERS // 4}}}")


@dataclass(frozen=True)
class Statement:
    """What a peer tells its neighbours of private images, in every HELLO.

    Attributes:
        data: its images' shape and range; as classes, those of all peers in ``of``.
        of: the peers whose classes these are.
        is_agreed: the list is fixed, and classes have its numbers.
    """

    data: Description
    of: frozenset[int]
    is_agreed: bool

    def to_words(self) -> dict[str, Any]:
        """Numbers and text for msgpack, at most about 1.75 KiB."""
        ids = f"{sum(1 << k for k in self.of):x}"
        return {**self.data.to_words(), "of": ids, "agreed": int(self.is_agreed)}

    @classmethod
    def from_words(cls, words: object) -> Statement:
        """What :meth:`to_words` wrote.

        Raises:
            ValueError: it is anything else; it may come from a stranger.
        """
        if not isinstance(words, Mapping):
            raise ValueError("a statement is a mapping")
        rest = dict(words)
        ids, agreed = rest.pop("of", None), rest.pop("agreed", None)
        if not isinstance(ids, str) or not _IDS.fullmatch(ids) or agreed not in (0, 1):
            raise ValueError("a statement says of whom it is, and whether they have agreed")
        data = Description.from_words(rest)
        names = data.names or ()
        if len(set(names)) < len(names) or any(clean_name(name) != name for name in names):
            raise ValueError("names of classes can be printed, and each is there once")
        known = int(ids, 16)
        of = frozenset(k for k in range(known.bit_length()) if known >> k & 1)
        return cls(data, of, bool(agreed))

    @cached_property
    def mark(self) -> str:
        """A digest of :meth:`to_words`."""
        return mark_of(self.to_words())


def mark_of(words: Mapping[str, Any]) -> str:
    """A digest of what a HELLO told of data; empty where that was nothing."""
    if not words:
        return ""
    return hashlib.blake2b(json.dumps(words, sort_keys=True).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Waiting:
    """The classes of some peers have not been heard of for long.

    Attributes:
        absent: those peers.
        seconds: that they will be waited for at most.
    """

    absent: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Agreed:
    """The list of classes is fixed.

    Attributes:
        classes: their names, in the order of their numbers.
        absent: peers that did not come in time; their classes may not be among these.
    """

    classes: tuple[str, ...]
    absent: tuple[int, ...] = ()


News = Waiting | Agreed


class Agreement:
    """What one peer knows of everybody's classes.

    Args:
        me: this peer.
        own: its own images.
        workers: all peers that hold data. A peer that is none of them (a server) takes part, and
            has no classes of its own.
        classes: the list, where it is known from the beginning: from the experiment file or a
            checkpoint, or since the images have no labels.
        now: the time.
        seconds: after which to agree with those that are there.
    """

    def __init__(
        self,
        me: int,
        own: Description,
        workers: Iterable[int] = (),
        classes: tuple[str, ...] | None = None,
        now: float = 0.0,
        seconds: float = float("inf"),
    ) -> None:
        self.me = me
        self.own = own
        self.workers = frozenset(workers)
        self._until = now + seconds
        self._warn_at = now + LONG
        self._begin(classes)
        self._was_open = self.classes is None
        self._is_told = not self._was_open

    def _begin(self, classes: tuple[str, ...] | None) -> None:
        has_data = self.me in self.workers
        own = tuple(sorted(self.own.names or (), key=by_number_then_text))
        self._own = own if has_data else ()
        self.classes: tuple[str, ...] | None = None
        self._know(self._own, frozenset({self.me} if has_data else ()))
        if classes is not None:
            self._fix(classes, self.statement.of)

    # --- what is known ----------------------------------------------------------------------------

    def _know(self, names: tuple[str, ...], of: frozenset[int]) -> None:
        self.statement = Statement(self.own.with_classes(names), of, False)
        if of >= self.workers and self.workers:
            self._fix(names, of)

    def _fix(self, classes: tuple[str, ...], of: frozenset[int]) -> None:
        self.classes = classes
        self.statement = Statement(self.own.with_classes(classes), of, True)

    def learn(self, said: Statement) -> None:
        """A neighbour to which there is no :meth:`objection` has said what it knows."""
        if self.classes is not None:
            return
        if said.is_agreed:
            self._fix(self._names_of(said) or (), said.of & self.workers)
        elif (joined := self._joined(said)) is not None:
            self._know(joined, self.statement.of | (said.of & self.workers))

    def look(self, now: float) -> News | None:
        """What is to be told, each once: who is waited for, and that the list is fixed at last."""
        if self._is_told:
            return None
        absent: tuple[int, ...] = ()
        if self.classes is None:
            absent = tuple(sorted(self.workers - self.statement.of))
            if self._warn_at <= now < self._until:
                self._warn_at = self._until
                return Waiting(absent, self._until - now)
            if now < self._until or not self.statement.of:  # a server alone has nothing to agree on
                return None
            self._fix(self.statement.data.names or (), self.statement.of)
        self._is_told = True
        return Agreed(self.classes or (), absent)

    def skip_time(self, seconds: float) -> None:
        """Our own loop stood still for so long: that time is not taken from those that come."""
        self._until += seconds
        self._warn_at += seconds

    def withdraw(self, said: Statement) -> None:
        """We do not fit what others have agreed on: from now on, tell our own classes alone."""
        if self.classes is None and said.is_agreed:
            self._begin(None)

    def is_late(self, said: Statement) -> bool:
        """Whether who says so comes after peers have agreed: then it is not for us to give in."""
        return self._was_open and self.classes is not None and not said.is_agreed

    # --- whom to do without -----------------------------------------------------------------------

    def objection(self, peer: int, said: Statement) -> str:
        """Why nothing can be learned with that peer, as a user gets it; empty where it can."""
        try:
            self._compare(peer, said)
        except UserError as problem:
            return str(problem)
        return ""

    def _compare(self, peer: int, said: Statement) -> None:
        """Refuse a peer whose images, or classes, do not fit ours.

        Raises:
            UserError: naming both peers, and in what they differ.
        """
        if peer == self.me:
            return
        mine, has_labels = self.statement, not said.is_agreed or said.data.classes > 0
        check_alike({self.me: self.own, peer: said.data}, classes=False)
        refuse_mixture({self.me: not mine.is_agreed or mine.data.classes > 0, peer: has_labels})
        theirs = self._names_of(said)
        too_many = theirs is None or not mine.data.is_small
        if mine.data.digest == said.data.digest:
            return
        if mine.is_agreed and said.is_agreed:
            fits = too_many = False
        elif said.is_agreed:
            fits = theirs is not None and set(self._own) <= set(theirs)
            mine = Statement(self.own.with_classes(self._own), frozenset({self.me}), False)
        elif mine.is_agreed:
            # of the names that it tells, some may be those of peers that come as late as it does
            is_subset = theirs is not None and set(theirs) <= set(self.classes or ())
            fits = not said.of <= {peer} or (is_subset and not too_many)
        else:
            fits = self._joined(said) is not None
            too_many = True
        if fits:
            return
        why = f"their names fill more than {MOST_BYTES} bytes, too many to tell: "
        here, there = _what(self.me, mine), _what(peer, said)
        raise UserError(
            f"data.path: peer {self.me} {here}, and peer {peer} {there}; "
            f"{why if too_many else ''}list all classes in one order at every peer, "
            f"{listed([mine.data, said.data])}"
        )

    def _names_of(self, said: Statement) -> tuple[str, ...] | None:
        """The names that a statement is about; None where it has a digest that we do not know."""
        if said.data.names is not None:
            return said.data.names
        ours = sorted(self.own.names or (), key=by_number_then_text)
        for known in (self.statement.data, self.own.with_classes(tuple(ours))):
            if known.digest == said.data.digest:
                return known.names
        return None

    def _joined(self, said: Statement) -> tuple[str, ...] | None:
        """Our names and those; None where they are too many to be told, and not the same."""
        theirs = self._names_of(said)
        ours = self.statement.data
        if theirs is None or ours.digest == said.data.digest:
            return theirs
        names = tuple(sorted({*(ours.names or ()), *theirs}, key=by_number_then_text))
        if not self.statement.of:  # a server has nothing to add
            names = theirs
        elif not said.of:
            names = ours.names or ()
        elif not self.own.with_classes(names).is_small:
            return None
        return names


def tell_agreed(
    agreed: Agreed, own: tuple[str, ...] | None, start_timeout: float, tell: Callable[[str], None]
) -> None:
    """Tell the user of classes agreed on, unless all are our own.

    Args:
        agreed: what all, or those that are there, have agreed on.
        own: our classes; None of a peer without data.
        start_timeout: seconds that were waited for those that are absent.
        tell: gets the line.
    """
    count = len(agreed.classes)
    if agreed.absent:
        tell(
            f"classes: {count} ({shown(agreed.classes)}) without {in_words(agreed.absent)}, of "
            f"which nothing was heard in {start_timeout:g} s; who comes with another class is "
            "refused"
        )
    elif own is None:
        tell(f"classes: {count} agreed on ({shown(agreed.classes)})")
    elif agreed.classes != own:
        tell(
            f"classes: {count} agreed on ({shown(agreed.classes)}), {len(own)} of them here "
            f"({shown(own)})"
        )


def in_words(peers: tuple[int, ...]) -> str:
    """Peers in a sentence: the first few of their ids, and how many more there are."""
    ids = ", ".join(map(str, peers[:8])) + (f" and {len(peers) - 8} more" if peers[8:] else "")
    return f"peer{'s' * (len(peers) != 1)} {ids}"


def _what(peer: int, said: Statement) -> str:
    verb = "has" if said.of <= {peer} else "has agreed on" if said.is_agreed else "knows"
    return f"{verb} {named(said.data)}"

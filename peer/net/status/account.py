"""What a peer tells everybody of itself, as bytes; and bytes from outside, believed in nothing.

An *account* is numbers: rounds, losses, links, and a sketch of each net. A *picture* is what the
peer draws. Each fits :data:`LIMIT` bytes; what does not fit exactly is a :class:`WireError`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from peer.net.header.seal import WireError
from peer.net.session import Phase
from peer.net.wire import REASONS
from peer.state.count_sketch import BUCKETS

LIMIT = 8192
"""Bytes of an account, and of a picture with its round, at most."""

STRIP = (512, 128)
"""Width and height of a picture in pixels, at most: a few kilobytes can unpack to gigabytes."""

MOST_LINKS = 256
"""Links that an account tells of, at most; those of the lowest ids."""

MOST_CLASSES = 64
"""Classes that a peer's data are said to be of, at most; those of the lowest numbers."""

SKETCHED = ("generator", "discriminator")
"""Nets of which sketches are told."""

RUNNING = "running"
STATES = (RUNNING, *REASONS)
"""What a peer is at: it runs, or why it has left."""

Sketch = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Account:
    """What a peer tells of itself, as it was when it told.

    Attributes:
        round: rounds completed.
        state: one of :data:`STATES`.
        seconds: for which it has trained, all its processes together.
        pace: seconds a round, lately; None before the second.
        losses: of its last round, by net.
        measure: of its newest score, such as ``rfd``; empty where there is none.
        score: its distance to the network's images.
        own: that to its own.
        covered: classes that its samples cover; None where nobody can tell.
        scored: the round of that score.
        bytes_in: received by this process.
        bytes_out: sent.
        phases: of its links, by neighbour.
        missing: neighbours that its last round went on without.
        missed: rounds that went on without some neighbour, all neighbours together.
        pending: transfers in doubt.
        saved: the round of its newest checkpoint; None where there is none.
        saved_ago: seconds since then; None where another process wrote it.
        memory: resident, in bytes; 0 where the system does not tell.
        draws: whether it tells pictures, too.
        holds: the classes of its own data, by their numbers; None where it does not tell.
        sketched: the round of its sketches.
        sketches: (256,) by net; see :mod:`peer.state.count_sketch`.
    """

    round: int = 0
    state: str = RUNNING
    seconds: float = 0.0
    pace: float | None = None
    losses: Mapping[str, float | None] = field(default_factory=dict)
    measure: str = ""
    score: float | None = None
    own: float | None = None
    covered: int | None = None
    scored: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    phases: Mapping[int, str] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    missed: int = 0
    pending: int = 0
    saved: int | None = None
    saved_ago: float | None = None
    memory: int = 0
    draws: bool = False
    holds: tuple[int, ...] | None = None
    sketched: int = 0
    sketches: Mapping[str, Sketch] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """For a STATUS; numbers that are not finite are left out."""
        words = {name: getattr(self, name) for name in _CHECKS}
        words["losses"] = {net: _finite(x) for net, x in list(self.losses.items())[:MOST_NETS]}
        words["score"], words["own"] = _finite(self.score), _finite(self.own)
        words["phases"] = dict(sorted(self.phases.items())[:MOST_LINKS])
        words["missing"] = list(self.missing)[:MOST_LINKS]
        words["holds"] = None if self.holds is None else list(self.holds)[:MOST_CLASSES]
        words["sketches"] = {
            net: np.asarray(self.sketches[net], "<f4").tobytes()
            for net in SKETCHED
            if net in self.sketches and np.isfinite(self.sketches[net]).all()
        }
        words["phases"] = {k: _PHASES.index(phase) for k, phase in words["phases"].items()}
        return _within_limit(list(words.values()))

    @classmethod
    def from_bytes(cls, body: bytes) -> Account:
        """What :meth:`to_bytes` made.

        Raises:
            WireError: it is something else.
        """
        parts = _list(body, len(_CHECKS))
        return cls(**{n: check(x) for (n, check), x in zip(_CHECKS.items(), parts, strict=True)})


@dataclass(frozen=True)
class Picture:
    """What a peer drew after a round: images side by side, as a PNG file's bytes."""

    round: int
    png: bytes

    def to_bytes(self) -> bytes:
        """For a STATUS.

        Raises:
            WireError: it is longer than others would read.
        """
        return _within_limit([self.round, self.png])

    @classmethod
    def from_bytes(cls, body: bytes) -> Picture:
        """What :meth:`to_bytes` made.

        Raises:
            WireError: it is something else.
        """
        round, png = _list(body, 2)
        if type(png) is not bytes or not png.startswith(_PNG) or len(png) < 24:
            raise WireError("not a PNG file")
        width, height = struct.unpack(">II", png[16:24])
        if not (0 < width <= STRIP[0] and 0 < height <= STRIP[1]):
            raise WireError("a picture that is too large")
        return cls(_count(round), png)


MOST_NETS = 16
"""Nets of which losses are told, at most."""

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_PHASES = [phase.value for phase in Phase]


def _within_limit(parts: list[Any]) -> bytes:
    body: bytes = msgpack.packb(parts)
    if len(body) > LIMIT:
        raise WireError(f"{len(body)} bytes of status, beyond {LIMIT}")
    return body


def _list(body: bytes, length: int) -> list[Any]:
    if len(body) > LIMIT:
        raise WireError("a status beyond its limit")
    try:
        parts = msgpack.unpackb(body, strict_map_key=False)
    except Exception:  # msgpack raises a dozen kinds for hostile bytes; all mean the same
        raise WireError("not msgpack") from None
    if type(parts) is not list or len(parts) != length:
        raise WireError("a status with too few or too many parts")
    return parts


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


# --- checks ---------------------------------------------------------------------------------------


def _count(value: Any, most: int = 2**53) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise WireError("a number out of its range")
    return value


def _id(value: Any) -> int:
    return _count(value, 2**32 - 1)


def _real(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise WireError("not a number")
    return float(value)


def _seconds(value: Any) -> float:
    if _real(value) < 0:
        raise WireError("a time below zero")
    return float(value)


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _name(value: Any) -> str:
    if type(value) is not str or len(value) > 64 or not value.isprintable():
        raise WireError("not a short word")
    return value


def _state(value: Any) -> str:
    if type(value) is not str or value not in STATES:
        raise WireError("not a state")
    return value


def _is(value: Any) -> bool:
    if type(value) is not bool:
        raise WireError("neither true nor false")
    return value


def _table(
    most: int, key: Callable[[Any], Any], check: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    def checked(value: Any) -> dict[Any, Any]:
        if type(value) is not dict or len(value) > most:
            raise WireError("not a short table")
        return {key(name): check(each) for name, each in value.items()}

    return checked


def _ids(value: Any) -> tuple[int, ...]:
    if type(value) is not list or len(value) > MOST_LINKS:
        raise WireError("not a short list of ids")
    return tuple(map(_id, value))


def _classes(value: Any) -> tuple[int, ...]:
    if type(value) is not list or len(value) > MOST_CLASSES:
        raise WireError("not a short list of classes")
    return tuple(map(_id, value))


def _sketched_net(value: Any) -> str:
    if type(value) is not str or value not in SKETCHED:
        raise WireError("a sketch of another net")
    return value


def _sketch(value: Any) -> Sketch:
    if type(value) is not bytes or len(value) != 4 * BUCKETS:
        raise WireError("a sketch of another size")
    found = np.frombuffer(value, "<f4").astype(np.float32)
    if not np.isfinite(found).all():
        raise WireError("a sketch that is not finite")
    return found


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "round": _count,
    "state": _state,
    "seconds": _seconds,
    "pace": _or_none(_seconds),
    "losses": _table(MOST_NETS, _name, _or_none(_real)),
    "measure": _name,
    "score": _or_none(_real),
    "own": _or_none(_real),
    "covered": _or_none(_count),
    "scored": _count,
    "bytes_in": _count,
    "bytes_out": _count,
    "phases": _table(MOST_LINKS, _id, lambda code: _PHASES[_count(code, len(_PHASES) - 1)]),
    "missing": _ids,
    "missed": _count,
    "pending": _count,
    "saved": _or_none(_count),
    "saved_ago": _or_none(_seconds),
    "memory": _count,
    "draws": _is,
    "holds": _or_none(_classes),
    "sketched": _count,
    "sketches": _table(len(SKETCHED), _sketched_net, _sketch),
}
assert tuple(_CHECKS) == tuple(each.name for each in fields(Account))

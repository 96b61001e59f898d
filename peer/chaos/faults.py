"""What a bad connection does to the bytes that cross it, and when. Pure: it is told the time.

Each connection draws from a generator of its own, by (seed, proxy, connection): what happens at
which second of it is known from the seed. Where its bytes are then, is up to the two ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Faults:
    """How bad every connection is. What comes every so often comes at random (a Poisson process).

    Attributes:
        delay: seconds that every piece of bytes takes longer.
        jitter: seconds, at most, that it takes longer than that; uniform. Order is kept.
        throttle: bytes a second, in each direction; None for no limit.
        reset_every: seconds, on average, until the connection is reset; None for never.
        stall_every: seconds, on average, between two stalls; None for none.
        stall: seconds for which nothing moves, in either direction.
        corrupt_every: seconds, on average, between two flipped bits, in each direction.
        cut_every: seconds, on average, until one direction loses all that it is given.
    """

    delay: float = 0.0
    jitter: float = 0.0
    throttle: float | None = None
    reset_every: float | None = None
    stall_every: float | None = None
    stall: float = 5.0
    corrupt_every: float | None = None
    cut_every: float | None = None


class Direction(Enum):
    """Which way bytes go: ``TO`` the peer that is dialled, or ``FROM`` it."""

    TO = "to the peer"
    FROM = "from the peer"


class Fault(NamedTuple):
    """What was done to a piece of bytes, in words for the log."""

    kind: Literal["stall", "flip", "cut"]
    words: str


class Passage(NamedTuple):
    """What becomes of a piece of bytes.

    Attributes:
        at: when it goes on, on the clock that the connection was told.
        piece: as it goes on; empty where it is lost.
        faults: what was done to it.
    """

    at: float
    piece: bytes
    faults: tuple[Fault, ...]


class Connection:
    """The fate of one connection.

    Args:
        faults: how bad it is.
        seed: of all connections; with the numbers of the proxy and of the connection it makes
            this one's generator.
        proxy: the proxy's number.
        connection: its number at that proxy.
        began: when it was made.

    Attributes:
        reset_at: when it is reset; infinity for never.
    """

    def __init__(
        self, faults: Faults, seed: int, proxy: int, connection: int, began: float
    ) -> None:
        streams = np.random.SeedSequence([seed, proxy, connection]).spawn(4)
        once, stalls, to, back = map(np.random.default_rng, streams)
        self.reset_at = began + _wait(once, faults.reset_every)
        cut_at = began + _wait(once, faults.cut_every)
        cut = Direction.TO if once.random() < 0.5 else Direction.FROM
        in_turn = _Stalls(faults, stalls, began)
        self._directions = {
            each: _Line(faults, each, random, in_turn, cut_at if each is cut else math.inf, began)
            for each, random in ((Direction.TO, to), (Direction.FROM, back))
        }

    def passes(self, direction: Direction, now: float, piece: bytes) -> Passage:
        """What becomes of ``piece``, which arrived at ``now``; an empty one is the stream's end.

        Times of one connection never go back.
        """
        return self._directions[direction].passes(now, piece)


class _Line:
    """One direction of a connection."""

    def __init__(
        self,
        faults: Faults,
        direction: Direction,
        random: np.random.Generator,
        stalls: _Stalls,
        cut_at: float,
        began: float,
    ) -> None:
        self._faults = faults
        self._direction = direction
        self._random = random
        self._stalls = stalls
        self._cut_at = cut_at
        self._is_cut = False
        self._flip_at = began + _wait(random, faults.corrupt_every)
        self._free = began  # when the piece before has gone

    def passes(self, now: float, piece: bytes) -> Passage:
        late = self._faults.delay + self._faults.jitter * self._random.random()
        at = max(now + late, self._free)
        if self._faults.throttle is not None:
            at += len(piece) / self._faults.throttle
        done = []
        end, is_new = self._stalls.end(now, at)
        if is_new:
            done.append(Fault("stall", f"nothing moves for {end - at:.3g} s"))
        self._free = at = end
        if piece and at >= self._cut_at:
            if not self._is_cut:
                self._is_cut = True
                done.append(Fault("cut", f"what goes {self._direction.value} is lost from now on"))
            piece = b""
        elif piece and at >= self._flip_at:
            self._flip_at = at + _wait(self._random, self._faults.corrupt_every)
            bit = int(self._random.integers(8 * len(piece)))
            piece = flipped(piece, bit)
            words = f"a bit flipped {self._direction.value} (byte {bit // 8} of {len(piece)})"
            done.append(Fault("flip", words))
        return Passage(at, piece, tuple(done))


class _Stalls:
    """When nothing moves, in either direction: intervals, drawn as far as they are asked for."""

    def __init__(self, faults: Faults, random: np.random.Generator, began: float) -> None:
        self._faults = faults
        self._random = random
        self._drawn = [began + _wait(random, faults.stall_every)]  # when they begin, in order
        self._felt = -math.inf  # when the newest began that held something up

    def end(self, now: float, at: float) -> tuple[float, bool]:
        """When what is due at ``at`` goes, and whether this stall holds up something for the first
        time; nothing will be asked of times before ``now``."""
        length = self._faults.stall
        while self._drawn[-1] <= at:
            # between two stalls is stall_every, on average: from one's end to the next's begin
            begin = self._drawn[-1] + length + _wait(self._random, self._faults.stall_every)
            self._drawn.append(begin)
        while len(self._drawn) > 1 and self._drawn[0] + length <= now:
            del self._drawn[0]
        for begin in self._drawn:
            if begin <= at < begin + length:
                is_new = begin > self._felt
                self._felt = max(self._felt, begin)
                return begin + length, is_new
        return at, False


def flipped(piece: bytes, bit: int) -> bytes:
    """``piece`` with one bit turned over; bit 0 is the lowest of the first byte."""
    changed = bytearray(piece)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _wait(random: np.random.Generator, mean: float | None) -> float:
    """Seconds until something that happens every ``mean`` seconds on average."""
    drawn = float(random.exponential())  # drawn in any case: faults do not shift one another
    return math.inf if mean is None else mean * drawn

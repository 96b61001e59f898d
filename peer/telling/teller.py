"""What this peer tells of itself: noted at the end of each round, told by the I/O thread.

=====================  ===================================================
thread                 calls
=====================  ===================================================
compute                :meth:`Teller.completed`, :meth:`Teller.saved`
I/O                    :meth:`Teller.tell`
=====================  ===================================================

Nothing here changes what is computed: sketches and pictures read the nets between two rounds, and
a picture's z is from a stream that nothing else draws from.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from peer.compute.held_transfers import HeldTransfers
from peer.loggers.pictures import draw_for
from peer.machine.memory import resident_bytes
from peer.net.io_thread import IoThread
from peer.net.status.account import SKETCHED, Account, Picture, Sketch
from peer.net.status.flood import PICTURES
from peer.quality.mixture import final_generator
from peer.state import PeerState
from peer.state.count_sketch import CountSketch
from peer.telling.strip import strip

SHARE = 200
"""Of a peer's time one part in so many goes into sketches and pictures, at most."""

REMEMBERED = 12
"""Accounts over which the pace is taken: a minute, as a rule."""


class Teller:
    """One peer's account of itself.

    Args:
        state: of the peer.
        seed: the experiment's.
        io: its I/O thread, which is given what there is to tell.
        clock: the time.
        shows: whether what it draws is told, and the classes of its data.
        saved: the round of the newest checkpoint, if there is one.

    Attributes:
        missed: rounds that went on without each neighbour, since this process began.
    """

    def __init__(
        self,
        state: PeerState,
        seed: int,
        io: IoThread,
        clock: Callable[[], float],
        shows: bool,
        saved: int | None,
    ) -> None:
        self.state = state
        self.clock = clock
        self.draws = shows and "generator" in state.nets
        self._shows = shows
        self._holds: tuple[int, ...] | None = None
        self.missed: Counter[int] = Counter()
        self._seed = seed
        self._io = io
        self._every = io.flood.every
        self._saved: tuple[int | None, float | None] = saved, None  # its round, and when
        self._facts: dict[str, Any] = {"round": state.round}
        self._step = 1  # rounds between two sketches; a power of two, so that peers have the same
        self._sketched: tuple[int, dict[str, Sketch]] = (0, {})
        self._sketch_at = self._draw_at = float("-inf")
        self._picture: Picture | None = None
        self._scored: tuple[int, Mapping[str, Any]] = 0, {}  # the round of the newest score, and it
        self._paces: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        io.flood.source = self.tell

    # --- the compute thread -----------------------------------------------------------------------

    def completed(
        self,
        round: int,
        measures: Mapping[str, Any],
        seconds: float,
        sketches: Mapping[str, CountSketch],
    ) -> None:
        """After so many rounds, so many seconds of training have passed.

        Args:
            round: completed now.
            measures: of that round, as they are recorded.
            seconds: in all.
            sketches: of nets, by name.
        """
        self.missed.update(measures["missing"])
        if self._shows and self._holds is None:
            self._holds = _classes(self.state)
        held = HeldTransfers(self.state)
        self._facts = {
            "round": round,
            "seconds": seconds,
            "losses": dict(measures["losses"]),
            "missing": tuple(measures["missing"]),
            "missed": self.missed.total(),
            "pending": len(held.held()) + len(held.unsure()),
        }
        if self._io.status.score is not self._scored[1]:
            self._scored = round, self._io.status.score
        now = self.clock()
        if round % self._step == 0:
            self._sketch(round, sketches, now)
        if self.draws and now >= self._draw_at:
            generator, z_dim = final_generator(self.state), self.state.gan.z_dim
            images = draw_for(self.state.peer, generator, z_dim, self._seed)
            self._picture = Picture(round, strip(images))
            took = self.clock() - now
            self._draw_at = now + max(PICTURES * self._every, SHARE * took)

    def _sketch(self, round: int, sketches: Mapping[str, CountSketch], now: float) -> None:
        """Sketch the nets, in rounds that all peers have in common, and not too often.

        Each sketch is told twice, as a rule: so the others have those of one and the same round.
        """
        if now < self._sketch_at:
            self._step *= 2
            return
        if self._step > 1 and now > self._sketch_at + 6 * self._every:
            self._step //= 2  # rounds take longer by now
        self._sketched = (
            round,
            {
                net: np.asarray(sketches[net](self.state.nets[net].arena.parameters), np.float32)
                for net in SKETCHED
                if net in sketches and net in self.state.nets
            },
        )
        took = self.clock() - now
        self._sketch_at = now + max(2 * self._every, SHARE * took)

    def saved(self, newest: int | None) -> None:
        """It was tried to save the state; the newest on the disk is that of so many rounds."""
        if newest == self.state.round:
            self._saved = newest, self.clock()

    # --- the I/O thread ---------------------------------------------------------------------------

    def tell(self, now: float, state: str) -> Iterator[tuple[str, bytes]]:
        """What there is to tell, by topic."""
        yield "account", self.account(now, state).to_bytes()
        picture, self._picture = self._picture, None
        if picture is not None:
            yield "picture", picture.to_bytes()

    def account(self, now: float, state: str) -> Account:
        """How this peer is getting on."""
        facts, status = self._facts, self._io.status
        self._paces.append((now, facts["round"]))
        began, first = self._paces[0]
        rounds = facts["round"] - first
        saved, saved_at = self._saved
        sketched, sketches = self._sketched
        return Account(
            **facts,
            **_score(*self._scored),
            state=state,
            pace=(now - began) / rounds if rounds > 0 else None,
            bytes_in=status.bytes_in,
            bytes_out=status.bytes_out,
            phases=dict(status.phases),
            saved=saved,
            saved_ago=None if saved_at is None else max(0.0, now - saved_at),
            memory=resident_bytes(),
            draws=self.draws,
            holds=self._holds,
            sketched=sketched,
            sketches=sketches,
        )


def _classes(state: PeerState) -> tuple[int, ...] | None:
    """The classes of a peer's own data; None where they have none."""
    if state.shard is None:
        return ()
    labels = state.shard.labels
    return None if labels is None else tuple(np.unique(labels).tolist())


def _score(round: int, score: Mapping[str, Any]) -> dict[str, Any]:
    """The score of that round, in an account's words; nothing where there is none."""
    if not score:
        return {}
    measure = str(score["measure"])
    return {
        "measure": measure,
        "score": score.get(measure),
        "own": score.get("own"),
        "covered": score.get("covered"),
        "scored": round,
    }

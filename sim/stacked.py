"""The stacked engine: when many peers wait on the same local step, they take it together.

Together means one batched step over the rows of their arenas, block by block; or, where that is
slower (convolutions on a processor) or cannot be, side by side, a peer a thread.
"""

from __future__ import annotations

import statistics
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch.nn.modules.conv import _ConvNd

from peer.effects import Combine, Effect
from peer.local import carry_out, prepare_compute_thread
from peer.state import PeerState
from sim.batched import Task, carry_out_all, kind_of
from sim.event import Process
from sim.memory import keep_freed_memory
from sim.mixing import Mix, Mixer
from sim.replay import Recordings
from sim.snapshots import Snapshot
from sim.trial import refusal
from sim.workbench import Workbench

BLOCK_BYTES = 25 * 2**20
"""Memory that a block of rows works in."""

RECORD_AFTER = 1
"""Steps of a kind, on blocks of certain sizes, after which another of the same is recorded."""

TRIALS = 3
"""How often ``auto`` times each way of carrying out a kind of local step, after a first time."""


@dataclass
class Ticket:
    """A local effect that was taken on, and its result once it is there."""

    process: Process
    effect: Effect
    result: Any = None
    is_done: bool = False


@dataclass
class Way:
    """How a kind of local effect is carried out, and what ``auto`` has measured of it.

    Attributes:
        stacked: as one batched step, or side by side; None while ``auto`` has not decided.
        seconds: a task, by whether it was stacked.
    """

    stacked: bool | None
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    def next(self) -> bool:
        """Whether to stack the next time."""
        if self.stacked is not None:
            return self.stacked
        return len(self.seconds[True]) <= len(self.seconds[False])

    def words(self) -> str:
        """What was chosen, and why."""
        if self.stacked is None:
            return "not decided: too few steps"
        name = "together" if self.stacked else "side by side"
        timed = [self.seconds[way][1:] for way in (self.stacked, not self.stacked)]
        if not all(timed):
            return name
        chosen, other = map(statistics.median, timed)
        return f"{name}, {other / chosen:.2f} times as fast"

    def measured(self, stacked: bool, seconds: float) -> None:
        """Take note, and decide once each way was timed often enough (first times apart)."""
        if self.stacked is not None:
            return
        self.seconds[stacked].append(seconds)
        if min(map(len, self.seconds.values())) > TRIALS:
            together, alone = (statistics.median(self.seconds[way][1:]) for way in (True, False))
            self.stacked = together < alone


class Stacked:
    """Carries out local effects and combines of many peers at once.

    Args:
        threads: that compute, each a block of rows at a time.
        convolutions: whether nets that have some are batched; by default only on a GPU.
        auto: time both ways of carrying out each kind of step, and go on with the faster.
    """

    def __init__(
        self, threads: int = 1, auto: bool = False, convolutions: bool | None = None
    ) -> None:
        self.threads = threads
        self.convolutions = convolutions
        self.auto = auto
        self.ways: dict[Hashable, Way] = {}
        if threads > 1:
            keep_freed_memory()
        recordings = Recordings()
        self._workbench = Workbench(recordings)
        self._pool = (
            ThreadPoolExecutor(threads, "stacked", _prepare, (recordings,)) if threads > 1 else None
        )
        self._mixer = Mixer(threads, self._pool)
        self._met: Counter[Hashable] = Counter()  # kinds of steps, with the sizes of their blocks
        self._waiting: list[Ticket] = []
        self._mixes: dict[int, Mix] = {}  # by peer

    def submit(self, process: Process, effect: Effect) -> Callable[[], Any]:
        """The effect waits for others like it until its result is asked for."""
        ticket = Ticket(process, effect)
        self._waiting.append(ticket)

        def result() -> Any:
            if not ticket.is_done:
                self._carry_out()
            return ticket.result

        return result

    def combine(
        self,
        process: Process,
        effect: Combine,
        own: Snapshot,
        received: Mapping[int, Snapshot],
    ) -> None:
        """It waits for others until the peer goes on."""
        self._mixes[process.id] = Mix(process, effect.net, effect.weights, own, dict(received))

    def settle(self, process: Process) -> None:
        """Carry out all combines that wait, if the peer's own is among them."""
        if process.id in self._mixes:
            mixes, self._mixes = list(self._mixes.values()), {}
            self._mixer.mix(mixes)

    def chosen(self) -> dict[str, str]:
        """How every kind of local effect is carried out, in words; for the run's folder."""
        found: dict[str, str] = {}
        met: Counter[str] = Counter()
        for kind, way in self.ways.items():
            if isinstance(kind, tuple):
                name = " ".join(str(getattr(part, "__name__", part)) for part in kind[:2])
                met[name] += 1  # kinds may differ in nothing but the shapes of what they take
                found[name if met[name] == 1 else f"{name} ({met[name]})"] = way.words()
        return found

    def _carry_out(self) -> None:
        """Everything that waits, kind by kind."""
        waiting, self._waiting = self._waiting, []
        kinds: dict[Hashable, list[Ticket]] = {}
        for ticket in waiting:
            ticket.process.snapshots.keep()
            kind = kind_of(Task(ticket.process.peer.state, ticket.effect))
            kinds.setdefault(kind, []).append(ticket)
        for kind, tickets in kinds.items():
            tickets.sort(key=lambda ticket: ticket.process.id)
            self._carry_out_kind(kind, tickets)

    def _carry_out_kind(self, kind: Hashable, tickets: list[Ticket]) -> None:
        tasks = [Task(ticket.process.peer.state, ticket.effect) for ticket in tickets]
        if kind is None or len(tasks) == 1:
            results = self._side_by_side(tasks)
        else:
            way = self.ways.get(kind) or self.ways.setdefault(kind, self._way(tasks))
            stacked = way.next()
            began = time.perf_counter()
            recorded = False
            if stacked:
                results, recorded = self._together(kind, tasks)
            else:
                results = self._side_by_side(tasks)
            if not recorded:  # that takes longer, and happens once
                way.measured(stacked, (time.perf_counter() - began) / len(tasks))
        for ticket, result in zip(tickets, results, strict=True):
            ticket.result, ticket.is_done = result, True

    def _together(self, kind: Hashable, tasks: Sequence[Task]) -> tuple[list[Any], bool]:
        """Block by block of rows, such that what one works on stays in a core's caches.

        Returns the results, and whether steps were recorded.
        """
        parts = blocks(tasks, self.threads)
        met = kind, tuple(map(len, parts))
        self._met[met] += 1
        records = self._met[met] == RECORD_AFTER + 1 and not self._workbench.recordings.are_full
        if self._pool is None or len(parts) == 1 or records:
            self._workbench.records = records
            found = [carry_out_all(part, self._workbench) for part in parts]
        else:
            found = list(self._pool.map(_carry_out_block, parts))
        return [result for of in found for result in of], records

    def _side_by_side(self, tasks: Sequence[Task]) -> list[Any]:
        """Each task as the event engine would, a thread a task."""
        draws = tasks[0].state.gan.draws  # from torch's one generator: then one after another
        if self._pool is None or len(tasks) == 1 or draws:
            return [_alone(task) for task in tasks]
        return list(self._pool.map(_alone, tasks))

    def _way(self, tasks: list[Task]) -> Way:
        """How to begin with a kind that was not met before."""
        state, effect = tasks[0]
        why = refusal(tasks[:2])
        if why is not None:
            name = type(effect).__name__
            warnings.warn(f"{name} is carried out one peer at a time: {why}", stacklevel=2)
            return Way(False)
        if self.auto:
            return Way(None)
        batched = state.device.type != "cpu" if self.convolutions is None else self.convolutions
        return Way(batched or not _convolves(state))


def _convolves(state: PeerState) -> bool:
    """Whether a net has convolutions, of which a processor does many small ones slowly."""
    nets = (state.gan.generator, state.gan.discriminator)
    return any(isinstance(part, _ConvNd) for net in nets for part in net.modules())


def blocks(tasks: Sequence[Task], threads: int) -> list[Sequence[Task]]:
    """``tasks`` in parts of nearly equal size, a multiple of ``threads`` of them if possible."""
    state = tasks[0].state
    if state.device.type != "cpu":
        return [tasks]
    floats = sum(net.arena.layout.length for net in state.nets.values())
    activations = 512 * state.batch  # a guess: floats of all layers' outputs
    rows = max(4, BLOCK_BYTES // (4 * (2 * floats + activations)))
    parts = min(-(-len(tasks) // (rows * threads)) * threads, max(1, len(tasks) // 2))
    ends = [len(tasks) * i // parts for i in range(parts + 1)]
    return [tasks[a:b] for a, b in pairwise(ends) if b > a]


_own = threading.local()
"""Each computing thread's. Threads hold no engine, so that they end when it is forgotten."""


def _prepare(recordings: Recordings) -> None:
    prepare_compute_thread(1)
    _own.workbench = Workbench(recordings)


def _carry_out_block(tasks: Sequence[Task]) -> list[Any]:
    return carry_out_all(tasks, _own.workbench)


def _alone(task: Task) -> Any:
    return carry_out(task.effect, task.state)

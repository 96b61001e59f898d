"""The stacked engine: peers that wait on the same local step take it together.

Their step is one batched step over the rows of their arenas, block by block. Where that is slower
(convolutions on a CPU) or impossible, each peer takes its step alone, a peer a thread.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from torch.nn.modules.conv import _ConvNd

from peer.compute.execute import carry_out, images_of
from peer.effects import Combine, Effect
from peer.state import PeerState
from sim.engines.autotune import Autotuner
from sim.engines.sparse_combine import DeferredCombine, SparseCombiner
from sim.engines.thread_pool import ThreadPool
from sim.engines.vmap_check import refusal
from sim.engines.vmapped import Task, carry_out_all, kind_of, trace_all
from sim.engines.workspace import Workspace
from sim.simulated_peer.simulated_peer import SimulatedPeer
from sim.simulated_peer.snapshots import Snapshot

BLOCK_BYTES = 25 * 2**20
"""Memory that a block of rows works in."""

TRACE_AFTER = 1
"""Runs of a kind of step, with equal block sizes, before the run that is traced: the second."""


class Block(NamedTuple):
    """Tasks that are carried out in one go: how many, and their results."""

    size: int
    results: Future[list[Any]]


@dataclass
class QueuedEffect:
    """A local effect that waits to be carried out, then where its result will be.

    Attributes:
        peer: whose effect it is.
        effect: what is to be done.
        result: the results of its block, and its index among them.
    """

    peer: SimulatedPeer
    effect: Effect
    result: tuple[Future[list[Any]], int] | None = None

    @property
    def task(self) -> Task:
        """What is to be done, and to whom."""
        return Task(self.peer.state, self.effect)


class Stacked:
    """Carries out local effects and combines of many peers at once.

    Args:
        threads: that compute, each a block of rows at a time.
        convolutions: whether nets with convolutions are stacked; by default only on a GPU.
        auto: time both variants of each kind of step, stacked and not, and keep the faster.
    """

    def __init__(
        self, threads: int = 1, auto: bool = False, convolutions: bool | None = None
    ) -> None:
        self.threads = threads
        self.convolutions = convolutions
        self.auto = auto
        self.tuners: dict[Hashable, Autotuner] = {}
        self._pool = ThreadPool(threads)
        self._combiner = SparseCombiner(threads)
        self._runs: Counter[Hashable] = Counter()  # of kinds of steps with the sizes of blocks
        self._queued: list[QueuedEffect] = []
        self._combines: dict[int, DeferredCombine] = {}  # by peer

    def submit(self, peer: SimulatedPeer, effect: Effect) -> Callable[[], Any]:
        """Queue the effect with others, until the first of their results is asked for."""
        queued = QueuedEffect(peer, effect)
        self._queued.append(queued)

        def result() -> Any:
            if queued.result is None:
                self._carry_out()
            assert queued.result is not None
            results, index = queued.result
            return results.result()[index]  # other blocks may still be computed

        return result

    def combine(
        self,
        peer: SimulatedPeer,
        effect: Combine,
        own: Snapshot,
        received: Mapping[int, Snapshot],
    ) -> None:
        """Defer the combine until its peer goes on."""
        self._combines[peer.id] = DeferredCombine(
            peer, effect.net, effect.weights, own, dict(received)
        )

    def flush(self, peer: SimulatedPeer) -> None:
        """Carry out all deferred combines, if the peer's own is among them."""
        if peer.id in self._combines:
            combines, self._combines = list(self._combines.values()), {}
            self._combiner.combine(combines)

    def finish(self) -> None:
        """Wait for blocks that are computed; drop what has not begun."""
        self._pool.wait()
        self._queued.clear()
        self._combines.clear()

    def chosen(self) -> dict[str, str]:
        """How every kind of local effect is carried out, in words; for the run's folder."""
        found: dict[str, str] = {}
        count: Counter[str] = Counter()
        for kind, tuner in self.tuners.items():
            if isinstance(kind, tuple):
                name = " ".join(str(getattr(part, "__name__", part)) for part in kind[:2])
                count[name] += 1  # kinds may differ in the shapes of their inputs alone
                found[name if count[name] == 1 else f"{name} ({count[name]})"] = tuner.describe()
        return found

    def _carry_out(self) -> None:
        """Begin all queued effects, kind by kind."""
        waiting, self._queued = self._queued, []
        kinds: dict[Hashable, list[QueuedEffect]] = {}
        for queued in waiting:
            queued.peer.snapshots.before_write()
            kinds.setdefault(kind_of(queued.task), []).append(queued)
        for kind, of_kind in kinds.items():
            of_kind.sort(key=lambda queued: queued.peer.id)
            begun = self._carry_out_kind(kind, [queued.task for queued in of_kind])
            results = ((block.results, i) for block in begun for i in range(block.size))
            for queued, result in zip(of_kind, results, strict=True):
                queued.result = result

    def _carry_out_kind(self, kind: Hashable, tasks: list[Task]) -> list[Block]:
        """Begin ``tasks``, all of one kind."""
        if kind is None or len(tasks) == 1:
            return self._each_alone(tasks)
        tuner = self.tuners.get(kind) or self.tuners.setdefault(kind, self._new_tuner(tasks))
        stacked, parts = tuner.choose(), blocks(tasks, self.threads)
        traces = stacked and self._is_to_be_traced(kind, parts)
        is_timed = tuner.stacked is None and not traces  # tracing takes longer, and happens once
        if traces or is_timed:
            self._pool.wait()  # nothing else may compute meanwhile
        began = time.perf_counter()
        begun = self._stacked(parts, traces) if stacked else self._each_alone(tasks)
        if is_timed:
            self._pool.wait()
            tuner.record(stacked, (time.perf_counter() - began) / len(tasks))
        return begun

    def _is_to_be_traced(self, kind: Hashable, parts: Sequence[Sequence[Task]]) -> bool:
        """Whether this run is the one to trace: the second of its kind with these block sizes."""
        run = kind, tuple(map(len, parts))
        self._runs[run] += 1
        return self._runs[run] == TRACE_AFTER + 1 and not self._pool.traces.is_full

    def _stacked(self, parts: Sequence[Sequence[Task]], traces: bool) -> list[Block]:
        """A batched step a block of rows, so that what a block works on stays in the caches."""
        work = trace_all if traces else carry_out_all
        here = traces or len(parts) == 1
        return [
            Block(len(part), self._pool.submit(partial(work, part), here=here)) for part in parts
        ]

    def _each_alone(self, tasks: Sequence[Task]) -> list[Block]:
        """Each task as the event engine would carry it out, a thread a task."""
        # Modules that draw use torch's one generator, so they must run one after another.
        here = len(tasks) == 1 or tasks[0].state.gan.draws
        return [Block(1, self._pool.submit(partial(_alone, task), here=here)) for task in tasks]

    def _new_tuner(self, tasks: list[Task]) -> Autotuner:
        """How to carry out a kind of effect that has not run before."""
        state, effect = tasks[0]
        why = refusal(tasks[:2])
        if why is not None:
            name = type(effect).__name__
            warnings.warn(f"{name} is carried out one peer at a time: {why}", stacklevel=2)
            return Autotuner(False)
        if self.auto:
            return Autotuner(None)
        batched = state.device.type != "cpu" if self.convolutions is None else self.convolutions
        return Autotuner(batched or not _has_convolutions(state))


def _has_convolutions(state: PeerState) -> bool:
    """Whether a net has convolutions: on a CPU, many small ones at once are slow."""
    nets = (state.gan.generator, state.gan.discriminator)
    return any(isinstance(part, _ConvNd) for net in nets for part in net.modules())


def blocks(tasks: Sequence[Task], threads: int) -> list[Sequence[Task]]:
    """``tasks`` in parts of nearly equal size, a multiple of ``threads`` of them if possible."""
    state, effect = tasks[0]
    if state.device.type != "cpu":
        return [tasks]
    floats = sum(net.arena.layout.length for net in state.nets.values())
    activations = 512 * images_of(effect, state)  # a guess: floats of all layers' outputs
    rows = max(4, BLOCK_BYTES // (4 * (2 * floats + activations)))
    parts = min(-(-len(tasks) // (rows * threads)) * threads, max(1, len(tasks) // 2))
    ends = [len(tasks) * i // parts for i in range(parts + 1)]
    return [tasks[a:b] for a, b in pairwise(ends) if b > a]


def _alone(task: Task, _workspace: Workspace) -> Any:
    return [carry_out(task.effect, task.state)]

"""The stacked engine: when many peers wait on the same local step, they take it together.

Together means one batched step over the rows of their arenas, block by block; or, where that is
slower (convolutions on a processor) or cannot be, side by side, a peer a thread.
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
from sim.engines.autotune import Way
from sim.engines.sparse_combine import Mix, Mixer
from sim.engines.thread_pool import Crew
from sim.engines.vmap_check import refusal
from sim.engines.vmapped import Task, carry_out_all, kind_of, record_all
from sim.engines.workspace import Workbench
from sim.simulated_peer.simulated_peer import Process
from sim.simulated_peer.snapshots import Snapshot

BLOCK_BYTES = 25 * 2**20
"""Memory that a block of rows works in."""

RECORD_AFTER = 1
"""Steps of a kind, on blocks of certain sizes, after which another of the same is recorded."""


class Block(NamedTuple):
    """Tasks that are carried out in one go: how many, and their results."""

    size: int
    results: Future[list[Any]]


@dataclass
class Ticket:
    """A local effect that was taken on, and where its result will be."""

    process: Process
    effect: Effect
    place: tuple[Future[list[Any]], int] | None = None

    @property
    def task(self) -> Task:
        """What is to be done, and to whom."""
        return Task(self.process.peer.state, self.effect)


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
        self._crew = Crew(threads)
        self._mixer = Mixer(threads)
        self._met: Counter[Hashable] = Counter()  # kinds of steps, with the sizes of their blocks
        self._waiting: list[Ticket] = []
        self._mixes: dict[int, Mix] = {}  # by peer

    def submit(self, process: Process, effect: Effect) -> Callable[[], Any]:
        """The effect waits for others like it until its result is asked for."""
        ticket = Ticket(process, effect)
        self._waiting.append(ticket)

        def result() -> Any:
            if ticket.place is None:
                self._carry_out()
            assert ticket.place is not None
            results, place = ticket.place
            return results.result()[place]  # other blocks may still be under way

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

    def finish(self) -> None:
        """Wait for blocks that are under way; forget what was not begun."""
        self._crew.wait()
        self._waiting.clear()
        self._mixes.clear()

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
        """Begin with everything that waits, kind by kind."""
        waiting, self._waiting = self._waiting, []
        kinds: dict[Hashable, list[Ticket]] = {}
        for ticket in waiting:
            ticket.process.snapshots.keep()
            kinds.setdefault(kind_of(ticket.task), []).append(ticket)
        for kind, tickets in kinds.items():
            tickets.sort(key=lambda ticket: ticket.process.id)
            begun = self._carry_out_kind(kind, [ticket.task for ticket in tickets])
            places = ((block.results, i) for block in begun for i in range(block.size))
            for ticket, place in zip(tickets, places, strict=True):
                ticket.place = place

    def _carry_out_kind(self, kind: Hashable, tasks: list[Task]) -> list[Block]:
        """Begin with ``tasks``, all of one kind."""
        if kind is None or len(tasks) == 1:
            return self._side_by_side(tasks)
        way = self.ways.get(kind) or self.ways.setdefault(kind, self._way(tasks))
        stacked, parts = way.next(), blocks(tasks, self.threads)
        records = stacked and self._is_to_be_recorded(kind, parts)
        is_timed = way.stacked is None and not records  # to record takes longer, and happens once
        if records or is_timed:
            self._crew.wait()  # nothing else is to compute meanwhile
        began = time.perf_counter()
        begun = self._together(parts, records) if stacked else self._side_by_side(tasks)
        if is_timed:
            self._crew.wait()
            way.measured(stacked, (time.perf_counter() - began) / len(tasks))
        return begun

    def _is_to_be_recorded(self, kind: Hashable, parts: Sequence[Sequence[Task]]) -> bool:
        met = kind, tuple(map(len, parts))
        self._met[met] += 1
        return self._met[met] == RECORD_AFTER + 1 and not self._crew.recordings.are_full

    def _together(self, parts: Sequence[Sequence[Task]], records: bool) -> list[Block]:
        """Block by block of rows, such that what one works on stays in a core's caches."""
        work = record_all if records else carry_out_all
        here = records or len(parts) == 1
        return [
            Block(len(part), self._crew.begin(partial(work, part), here=here)) for part in parts
        ]

    def _side_by_side(self, tasks: Sequence[Task]) -> list[Block]:
        """Each task as the event engine would, a thread a task."""
        draws = tasks[0].state.gan.draws  # from torch's one generator: then one after another
        here = len(tasks) == 1 or draws
        return [Block(1, self._crew.begin(partial(_alone, task), here=here)) for task in tasks]

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
    state, effect = tasks[0]
    if state.device.type != "cpu":
        return [tasks]
    floats = sum(net.arena.layout.length for net in state.nets.values())
    activations = 512 * images_of(effect, state)  # a guess: floats of all layers' outputs
    rows = max(4, BLOCK_BYTES // (4 * (2 * floats + activations)))
    parts = min(-(-len(tasks) // (rows * threads)) * threads, max(1, len(tasks) // 2))
    ends = [len(tasks) * i // parts for i in range(parts + 1)]
    return [tasks[a:b] for a, b in pairwise(ends) if b > a]


def _alone(task: Task, _workbench: Workbench) -> Any:
    return [carry_out(task.effect, task.state)]

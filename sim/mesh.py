"""Processes that share one simulation: what torch.distributed's gloo does for them.

Whatever crosses is bytes of our own making (msgpack, the wire's letters, float32 rows): nothing is
pickled. Started by ``torchrun``, or by :func:`launch` on this machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from topology.errors import UserError

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others; one that dies ends them all much sooner."""


class Mesh:
    """This process among all.

    Attributes:
        rank: which one it is, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def least(self, *values: float) -> list[float]:
        """The smallest of all ranks' values, each by itself."""
        found = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return found.tolist()

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of all ranks' arrays of float64, element by element."""
        found = torch.from_numpy(values.astype(np.float64))
        dist.all_reduce(found)
        return np.asarray(found.numpy())

    def wait(self) -> None:
        """For all ranks to come here."""
        dist.barrier()

    def gather(self, text: str) -> list[str]:
        """What every rank says, by rank, at every rank."""
        said = self.exchange({r: text.encode() for r in range(self.size) if r != self.rank})
        said[self.rank] = text.encode()
        return [said.get(r, b"").decode() for r in range(self.size)]

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """A user's error of one rank inside the block is every rank's at its end.

        So none waits for one that has gone, and all end alike.
        """
        problem = ""
        try:
            yield
        except UserError as caught:
            problem = str(caught)
        problems = [said for said in self.gather(problem) if said]
        if problems:
            raise UserError(problems[0])

    def exchange(self, outgoing: Mapping[int, bytes]) -> dict[int, bytes]:
        """Hand bytes to other ranks; take what they have for this one, by rank."""
        sizes = torch.tensor([len(outgoing.get(r, b"")) for r in range(self.size)])
        table = [torch.empty_like(sizes) for _ in range(self.size)]
        dist.all_gather(table, sizes)
        waiting, received = [], {}
        for r in range(self.size):
            if r == self.rank:
                continue
            if int(table[r][self.rank]):
                received[r] = torch.empty(int(table[r][self.rank]), dtype=torch.uint8)
                waiting.append(dist.irecv(received[r], r))
            if outgoing.get(r):
                sent = torch.from_numpy(np.frombuffer(bytearray(outgoing[r]), dtype=np.uint8))
                waiting.append(dist.isend(sent, r))
        for each in waiting:
            if each is not None:
                each.wait()
        return {r: value.numpy().tobytes() for r, value in sorted(received.items())}


def ranks_here() -> int:
    """How many processes ``torchrun`` has started this one among; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def join() -> Mesh:
    """Meet the processes that ``torchrun`` started."""
    dist.init_process_group("gloo", timeout=PATIENCE)
    return Mesh()


def leave() -> None:
    """Part from the others."""
    dist.destroy_process_group()


def launch(task: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Run ``task(mesh, *arguments)`` in new processes of this machine; if one fails, none goes on.

    Raises:
        RuntimeError: one failed; the message holds what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "ranks")
        try:
            spawn(_begin, (processes, meeting, task, arguments), processes)  # type: ignore[no-untyped-call]
        except ProcessRaisedException as problem:
            raise RuntimeError(str(problem)) from None


def _begin(
    rank: int, processes: int, meeting: str, task: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes, timeout=PATIENCE
    )
    try:
        task(Mesh(), *arguments)
    finally:
        leave()

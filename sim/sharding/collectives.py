"""Processes that share one simulation: what torch.distributed's gloo and NCCL do for them.

Whatever crosses is bytes of our own making (msgpack, the wire's letters) and float32 rows: nothing
is pickled. Started by ``torchrun``, or by :func:`launch` on this machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from sim.machine.cpu_affinity import let_others_first, share
from topology.errors import UserError

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others; one that dies ends them all much sooner."""


class Parcel(NamedTuple):
    """What one rank hands to another when they meet."""

    content: bytes = b""
    rows: torch.Tensor = torch.empty(0)  # (n,), parameters one behind the other


class Mesh:
    """This process among all.

    Args:
        device: where the peers of this rank live.
        threads: that it may compute with.

    Attributes:
        rank: which one it is, from 0.
        size: how many there are.
    """

    def __init__(self, device: torch.device, threads: int = 1) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.device = device
        self.threads = threads
        # Parameters go from GPU to GPU where every rank has one of its own, else through the host.
        self._by_nccl: dist.ProcessGroup | None = None
        crosses = device.type == "cuda" and dist.is_nccl_available()
        can = self.gather(_gpu_of(device) if crosses else "")
        if all(can) and len(set(can)) == self.size:
            torch.cuda.set_device(device)
            self._by_nccl = dist.new_group(backend="nccl")
            # NCCL's first exchange needs everybody.
            dist.all_reduce(torch.zeros(1, device=device), group=self._by_nccl)

    def meet(
        self, said: Sequence[float], outgoing: Mapping[int, Parcel]
    ) -> tuple[list[list[float]], dict[int, Parcel]]:
        """Hand parcels to other ranks and take theirs; what every rank has ``said`` comes along.

        Returns that, by rank, and the parcels of those who had one, in the order of ranks.
        """
        sizes = [[0.0] * self.size, [0.0] * self.size]  # bytes and floats, by rank
        for other, parcel in outgoing.items():
            sizes[0][other], sizes[1][other] = len(parcel.content), len(parcel.rows)
        mine = torch.tensor([*said, *sizes[0], *sizes[1]], dtype=torch.float64)
        table = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(table, mine)
        came = [row.tolist() for row in table]
        contents, rows = {}, {}
        for other, row in enumerate(came):
            nbytes, floats = (int(row[len(said) + self.rank + at]) for at in (0, self.size))
            if nbytes:
                contents[other] = torch.empty(nbytes, dtype=torch.uint8)
            if floats:
                rows[other] = torch.empty(floats, device=self._crossing)
        self._swap({to: _as_tensor(p.content) for to, p in outgoing.items()}, contents)
        self._swap({to: p.rows.to(self._crossing) for to, p in outgoing.items()}, rows)
        parcels = {
            other: Parcel(
                contents[other].numpy().tobytes(),
                rows.get(other, torch.empty(0)).to(self.device),
            )
            for other in contents
        }
        return [row[: len(said)] for row in came], parcels

    @property
    def _crossing(self) -> torch.device:
        return torch.device("cpu") if self._by_nccl is None else self.device

    def _swap(
        self, outgoing: Mapping[int, torch.Tensor], incoming: Mapping[int, torch.Tensor]
    ) -> None:
        """Send tensors to other ranks, and fill those that come from them."""
        operations = []
        for to, tensor in outgoing.items():
            group = self._by_nccl if tensor.device.type == "cuda" else None
            if len(tensor):
                operations.append(dist.P2POp(dist.isend, tensor, to, group))
        for sender, tensor in incoming.items():
            group = self._by_nccl if tensor.device.type == "cuda" else None
            operations.append(dist.P2POp(dist.irecv, tensor, sender, group))
        if operations:
            for work in dist.batch_isend_irecv(operations):
                work.wait()

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
        others = (r for r in range(self.size) if r != self.rank)
        _, parcels = self.meet((), {r: Parcel(text.encode()) for r in others})
        said = {r: parcel.content.decode() for r, parcel in parcels.items()} | {self.rank: text}
        return [said.get(r, "") for r in range(self.size)]

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


def _as_tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content) or bytearray(1), dtype=torch.uint8)[: len(content)]


def _gpu_of(device: torch.device) -> str:
    """Which GPU it is, of all machines'."""
    return str(torch.cuda.get_device_properties(device).uuid)


def place(device: str, rank: int) -> str:
    """Where the peers of a machine's ``rank`` live: ``cuda`` stands for all the GPUs it has."""
    gpus = torch.cuda.device_count()
    return f"cuda:{rank % gpus}" if device == "cuda" and gpus else device


def ranks_here() -> int:
    """How many processes ``torchrun`` has started this one among; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


@contextmanager
def join(device: str = "cpu") -> Iterator[Mesh]:
    """Meet the processes that ``torchrun`` started; each has its part of ``device``."""
    here = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with _joined(*here, device) as mesh:
        yield mesh


@contextmanager
def _joined(number: int, of: int, device: str, **settings: Any) -> Iterator[Mesh]:
    """Be a rank, the one of that ``number`` of this machine's; ``settings`` are torch's."""
    with share(number, of) as threads:
        dist.init_process_group("gloo", timeout=PATIENCE, **settings)
        # While another thread holds its lock, gloo's receiving thread spins: were it to take the
        # core from just that one, both would stand still until the kernel's next tick.
        let_others_first("gloo_tcp_loop")
        try:
            yield Mesh(torch.device(place(device, number)), threads)
        finally:
            dist.destroy_process_group()


def launch(
    task: Callable[..., None],
    processes: int,
    *arguments: Any,
    device: str = "cpu",
    stop: Callable[[], bool] = bool,
) -> None:
    """Run ``task(mesh, *arguments)`` in new processes of this machine; if one fails, none goes on.

    Each has its part of ``device``, and of the processors. Once ``stop`` says so, all get SIGTERM.

    Raises:
        RuntimeError: one failed; the message holds what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "ranks")
        try:
            every = (processes, meeting, device, task, arguments)
            context = spawn(_begin, every, processes, join=False)  # type: ignore[no-untyped-call]
            told = False
            while not context.join(timeout=0.2):
                if stop() and not told:
                    told = True
                    for process in context.processes:
                        process.terminate()
        except ProcessRaisedException as problem:
            raise RuntimeError(str(problem)) from None


def _begin(
    rank: int,
    processes: int,
    meeting: str,
    device: str,
    task: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    where = {"init_method": f"file://{meeting}", "rank": rank, "world_size": processes}
    with _joined(rank, processes, device, **where) as mesh:
        task(mesh, *arguments)

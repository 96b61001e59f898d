"""Collective operations of the processes that share one simulation, by torch.distributed.

Ranks are started by ``torchrun``, or by :func:`launch` on this machine. What they send each other
is msgpack, letters in the wire's format, and float32 rows: nothing is pickled.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.multiprocessing.spawn import ProcessException, spawn

from sim.machine.cpu_affinity import schedule_as_batch, share_of_cores
from topology.errors import UserError

TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others; one that dies ends them all much sooner."""


class SharedNumber:
    """A whole number that processes of this machine share, in a file that is mapped by each.

    Args:
        path: of the file; where there is none yet, the number is 0.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = torch.from_file(path, shared=True, size=1, dtype=torch.int64)

    def __reduce__(self) -> tuple[type[SharedNumber], tuple[str]]:
        """It is sent to another process as its path."""
        return SharedNumber, (self._path,)

    @property
    def value(self) -> int:
        """The number that was set last."""
        return int(self._number)

    @value.setter
    def value(self, value: int) -> None:
        self._number.fill_(value)


class RankMessage(NamedTuple):
    """What one rank sends to another in one collective step."""

    content: bytes = b""
    rows: torch.Tensor = torch.empty(0)  # (n,), parameters one behind the other


class Communicator:
    """This process among the ranks of one simulation, and what they do together.

    Every method is collective: it returns when all ranks have called it.

    Args:
        device: where the peers of this rank live.
        threads: that it may compute with.

    Attributes:
        rank: the number of this process, from 0.
        size: how many ranks there are.
    """

    def __init__(self, device: torch.device, threads: int = 1) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.device = device
        self.threads = threads
        # Parameters go from GPU to GPU where every rank has one of its own, else through the host.
        self._nccl: dist.ProcessGroup | None = None
        has_nccl = device.type == "cuda" and dist.is_nccl_available()
        gpus = self.all_gather(_gpu_id(device) if has_nccl else "")
        if all(gpus) and len(set(gpus)) == self.size:
            torch.cuda.set_device(device)
            self._nccl = dist.new_group(backend="nccl")
            # NCCL sets up its connections in the first operation, which needs all ranks.
            dist.all_reduce(torch.zeros(1, device=device), group=self._nccl)

    def all_to_all(
        self, numbers: Sequence[float], outgoing: Mapping[int, RankMessage]
    ) -> tuple[list[list[float]], dict[int, RankMessage]]:
        """Send messages to other ranks and receive theirs; every rank's ``numbers`` go to all.

        Returns:
            The numbers, by rank, and the messages that came, by sender in the order of ranks.
        """
        sizes = [[0.0] * self.size, [0.0] * self.size]  # bytes and floats, by receiver
        for other, message in outgoing.items():
            sizes[0][other], sizes[1][other] = len(message.content), len(message.rows)
        mine = torch.tensor([*numbers, *sizes[0], *sizes[1]], dtype=torch.float64)
        gathered = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(gathered, mine)
        table = [row.tolist() for row in gathered]
        contents, rows = {}, {}
        for other, row in enumerate(table):
            nbytes, floats = (int(row[len(numbers) + self.rank + at]) for at in (0, self.size))
            if nbytes:
                contents[other] = torch.empty(nbytes, dtype=torch.uint8)
            if floats:
                rows[other] = torch.empty(floats, device=self._transfer_device)
        self._send_and_receive({to: _as_tensor(m.content) for to, m in outgoing.items()}, contents)
        self._send_and_receive(
            {to: m.rows.to(self._transfer_device) for to, m in outgoing.items()}, rows
        )
        messages = {
            other: RankMessage(
                contents[other].numpy().tobytes(),
                rows.get(other, torch.empty(0)).to(self.device),
            )
            for other in contents
        }
        return [row[: len(numbers)] for row in table], messages

    @property
    def _transfer_device(self) -> torch.device:
        """Where tensors lie when they are sent: gloo takes those of the host alone."""
        return torch.device("cpu") if self._nccl is None else self.device

    def _send_and_receive(
        self, outgoing: Mapping[int, torch.Tensor], incoming: Mapping[int, torch.Tensor]
    ) -> None:
        """Send tensors to other ranks, and fill those that come from them."""
        operations = []
        for to, tensor in outgoing.items():
            group = self._nccl if tensor.device.type == "cuda" else None
            if len(tensor):
                operations.append(dist.P2POp(dist.isend, tensor, to, group))
        for sender, tensor in incoming.items():
            group = self._nccl if tensor.device.type == "cuda" else None
            operations.append(dist.P2POp(dist.irecv, tensor, sender, group))
        if operations:
            for work in dist.batch_isend_irecv(operations):
                work.wait()

    def all_reduce(self, values: np.ndarray) -> np.ndarray:
        """The sum of all ranks' arrays of float64, element by element."""
        total = torch.from_numpy(values.astype(np.float64))
        dist.all_reduce(total)
        return np.asarray(total.numpy())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        dist.barrier()

    def all_gather(self, text: str) -> list[str]:
        """Every rank's text, by rank."""
        others = (r for r in range(self.size) if r != self.rank)
        _, messages = self.all_to_all((), {r: RankMessage(text.encode()) for r in others})
        texts = {r: each.content.decode() for r, each in messages.items()} | {self.rank: text}
        return [texts.get(r, "") for r in range(self.size)]

    @contextmanager
    def raising_together(self) -> Iterator[None]:
        """If the block raises a user's error on one rank, every rank raises it at the block's end.

        So no rank waits for one that has gone, and all end with the same words.
        """
        problem = ""
        try:
            yield
        except UserError as caught:
            problem = str(caught)
        problems = [text for text in self.all_gather(problem) if text]
        if problems:
            raise UserError(problems[0])


def _as_tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content) or bytearray(1), dtype=torch.uint8)[: len(content)]


def _gpu_id(device: torch.device) -> str:
    """What tells a GPU from all others, of this and other machines."""
    return str(torch.cuda.get_device_properties(device).uuid)


def device_of_rank(device: str, local_rank: int) -> str:
    """The device of one of a machine's ranks: they share the GPUs that ``cuda`` stands for."""
    gpus = torch.cuda.device_count()
    return f"cuda:{local_rank % gpus}" if device == "cuda" and gpus else device


def world_size() -> int:
    """How many ranks ``torchrun`` has started this process among; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def own_rank() -> int:
    """This process's rank among those that ``torchrun`` has started; 0 without it."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def torchrun_words() -> list[str]:
    """The command line that starts ranks such as this one, up to the program; none without it.

    Of several machines it tells how many; where they meet, the user knows.
    """
    size = world_size()
    if size == 1:
        return []
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    machines = ["--nnodes", str(size // here)] if size > here else []
    return ["torchrun", *machines, "--nproc-per-node", str(here), "-m"]


@contextmanager
def join(device: str = "cpu") -> Iterator[Communicator]:
    """Be one of the ranks that ``torchrun`` started; each has its part of ``device``."""
    local = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with _joined(*local, device) as communicator:
        yield communicator


@contextmanager
def _joined(
    local_rank: int, local_size: int, device: str, url: str = "env://", **which: int
) -> Iterator[Communicator]:
    """Be one of this machine's ``local_size`` ranks, which find each other at ``url``."""
    with share_of_cores(local_rank, local_size) as threads:
        store, rank, size = next(rendezvous(url, timeout=TIMEOUT, **which))
        dist.init_process_group("gloo", timeout=TIMEOUT, store=store, rank=rank, world_size=size)
        # While another thread holds its lock, gloo's receiving thread spins. If it preempted just
        # that thread, both would stand still until the kernel's next tick.
        schedule_as_batch("gloo_tcp_loop")
        try:
            yield Communicator(torch.device(device_of_rank(device, local_rank)), threads)
            # Whoever closed its connections now could break those over which another rank still
            # receives the last collective's result; the store has none between ranks.
            store.set(f"done {rank}", "")
            store.wait([f"done {other}" for other in range(size)])
        finally:
            dist.destroy_process_group()


def launch(
    task: Callable[..., None],
    ranks: int,
    *arguments: Any,
    device: str = "cpu",
    stop: Callable[[], bool] = bool,
) -> None:
    """Run ``task(communicator, *arguments)`` in new processes; if one fails, all are ended.

    Each has its part of ``device``, and of this machine's processors. Once ``stop`` says so, each
    gets SIGTERM.

    Raises:
        RuntimeError: one failed; the message holds its traceback, or the signal that ended it.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting_point = str(Path(folder) / "ranks")
        try:
            all_arguments = (ranks, meeting_point, device, task, arguments)
            context = spawn(_run_task, all_arguments, ranks, join=False)  # type: ignore[no-untyped-call]
            is_told = False
            while not context.join(timeout=0.2):
                if stop() and not is_told:
                    is_told = True
                    for process in context.processes:
                        process.terminate()
        except ProcessException as problem:
            raise RuntimeError(str(problem)) from None


def _run_task(
    rank: int,
    ranks: int,
    meeting_point: str,
    device: str,
    task: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    url = f"file://{meeting_point}"
    _stay_on_loopback()
    with _joined(rank, ranks, device, url, rank=rank, world_size=ranks) as communicator:
        task(communicator, *arguments)


def _stay_on_loopback() -> None:
    """Let gloo connect this machine's ranks by loopback, whatever the host's name resolves to."""
    names = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if names:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", names[0])

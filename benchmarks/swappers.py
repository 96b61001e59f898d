"""Two ends that swap one vector and average it, over whatever joins them: what is compared.

Each system is a function ``serve(end)`` that runs in a process of its own: it readies one end,
and then swaps whenever :meth:`End.begins` says so.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import zmq
from torch import nn

from peer.experiment import from_mapping
from peer.net.wire import CHUNK_LARGEST
from peer.peer import Peer
from peer.program import Program
from peer.runtime.options import Options
from peer.runtime.process import PeerProcess

VALUES = (1.0, 4.0)
"""What each end's vector is full of before a swap."""
MEAN = 2.5


@dataclass
class End:
    """One of the two processes.

    Args:
        rank: 0 or 1.
        parameters: how many float32 values are swapped.
        port: a loopback port that is free, and the one after it.
        folder: for sockets that are files, and for what a run leaves.
        boss: where the times of the swaps come from, and what they took goes.
    """

    rank: int
    parameters: int
    port: int
    folder: Path
    boss: Connection
    _computed: float = 0.0

    def begins(self, w: torch.Tensor) -> bool:
        """Wait for the next swap, ``w`` filled; False where there is none."""
        try:
            start = self.boss.recv()
        except EOFError:
            return False
        if start is None:
            return False
        w.fill_(VALUES[self.rank])
        while time.monotonic() < start:  # both ends begin at one moment, wide awake
            pass
        self._computed = time.process_time()
        return True

    def ends(self, w: torch.Tensor) -> None:
        """The swap is over, and ``w`` holds the mean."""
        ended, computed = time.monotonic(), time.process_time() - self._computed
        if not bool((w == MEAN).all()):
            raise AssertionError(f"end {self.rank}: the mean is not there")
        self.boss.send((ended, computed))


def vector(parameters: int) -> torch.Tensor:
    """Room for the values, written to once: no page of it is new in a swap."""
    return torch.ones(parameters)


# --- gloo -----------------------------------------------------------------------------------------


def gloo(end: End) -> None:
    """torch.distributed: isend and irecv, wait for both, average in one pass."""
    import torch.distributed as distributed

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    where = f"tcp://127.0.0.1:{end.port}"
    distributed.init_process_group("gloo", init_method=where, rank=end.rank, world_size=2)
    w, received = vector(end.parameters), vector(end.parameters)
    end.boss.send("ready")
    while end.begins(w):
        requests = [distributed.isend(w, 1 - end.rank), distributed.irecv(received, 1 - end.rank)]
        for request in requests:
            assert request is not None
            request.wait()
        w.lerp_(received, 0.5)
        end.ends(w)
    distributed.destroy_process_group()


# --- a raw socket ---------------------------------------------------------------------------------


def raw(end: End) -> None:
    """Python's own socket: sendall on one thread, recv_into on another, average in one pass."""
    with _connected(end) as link, ThreadPoolExecutor(1) as sender:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        w, received = vector(end.parameters), vector(end.parameters)
        sent_from = w.numpy().data.cast("B")
        into = received.numpy().data.cast("B")
        end.boss.send("ready")
        while end.begins(w):
            sending = sender.submit(link.sendall, sent_from)
            filled = 0
            while filled < len(into):
                filled += link.recv_into(into[filled:])
            sending.result()
            w.lerp_(received, 0.5)
            end.ends(w)


def _connected(end: End) -> socket.socket:
    address = ("127.0.0.1", end.port)
    if end.rank == 0:
        with socket.create_server(address) as server:
            return server.accept()[0]
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            time.sleep(0.05)


# --- bare ZeroMQ ----------------------------------------------------------------------------------


def bare_zmq(end: End) -> None:
    """A pyzmq PAIR and hearsay's largest chunks, each averaged out of the frame that it came in.

    What ZeroMQ leaves to a peer: no snapshot, no acknowledgements, nothing is looked at.
    """
    with zmq.Context() as context, context.socket(zmq.PAIR) as link:
        link.linger = 0
        address = f"tcp://127.0.0.1:{end.port}"
        if end.rank == 0:
            link.bind(address)
        else:
            link.connect(address)
        w, mean = vector(end.parameters), vector(end.parameters)
        sent, averaged = (torch.split(v, CHUNK_LARGEST // 4) for v in (w, mean))
        link.send(b"ready")
        link.recv()
        end.boss.send("ready")
        while end.begins(w):
            for piece in sent:
                link.send(piece.numpy().data, copy=False)
            for own, place in zip(sent, averaged, strict=True):
                received = torch.frombuffer(link.recv(copy=False).buffer, dtype=torch.float32)
                torch.lerp(own, received, 0.5, out=place)
            end.ends(mean)


# --- hearsay --------------------------------------------------------------------------------------


class Flat(nn.Module):
    """A generator that has as many parameters as are asked for, and uses few of them."""

    def __init__(self, shape: tuple[int, int, int], parameters: int) -> None:
        super().__init__()
        self.shape = shape
        self.w = nn.Parameter(torch.zeros(parameters))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        pixels = self.shape[0] * self.shape[1] * self.shape[2]
        return (z[:, :1] * self.w[:pixels]).view(-1, *self.shape)


def flat(shape: tuple[int, int, int], parameters: int = 1) -> tuple[nn.Module, nn.Module]:
    """The experiment's ``gan:``."""
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 1))
    return Flat(shape, parameters), discriminator


def hearsay(end: End, **keys: Any) -> None:
    """What ``peer --id`` runs: a peer's process with its network thread, combining every round."""
    experiment = from_mapping(
        {
            "peers": 2,
            "graph": "path",
            "algorithm": {"name": "swap"},
            "gan": {"name": "benchmarks.swappers:flat", "parameters": end.parameters},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "metrics": {"every": 10**9, "sketch": False},
            "checkpoint": 0,
            "port": end.port,
            **keys,
        }
    )

    async def swap(peer: Peer) -> None:
        w = peer.state.nets["generator"].arena.vector
        end.boss.send("ready")
        async for _ in peer.rounds(10**9):
            if not end.begins(w):
                return
            await peer.combine("generator")
            end.ends(w)

    program = Program("swap", swap, 10**9)
    process = PeerProcess(experiment, end.rank, program, end.folder, lambda line: None, Options())
    process.run()


def over_tcp(end: End) -> None:
    hearsay(end, checksum=False)


def over_tcp_with_checksums(end: End) -> None:
    hearsay(end, checksum=True)


def over_ipc(end: End) -> None:
    hearsay(end, checksum=False, addresses=f"ipc://{end.folder}/peer-{{id}}.socket")


SYSTEMS: dict[str, Callable[[End], None]] = {
    "hearsay": over_tcp,
    "hearsay, checked": over_tcp_with_checksums,
    "hearsay, ipc": over_ipc,
    "gloo": gloo,
    "raw socket": raw,
    "bare ZeroMQ": bare_zmq,
}


def serve(
    system: str, rank: int, parameters: int, port: int, folder: str, boss: Connection
) -> None:
    """What a process does: one end of one system, until its boss is gone or says so."""
    torch.set_num_threads(1)
    SYSTEMS[system](End(rank, parameters, port, Path(folder), boss))

"""Combining for many peers at once: one sparse product on the matrix of their arenas."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from peer.compute.combine import combine
from sim.engines.stacked_arenas import matrix_of
from sim.simulated_peer.simulated_peer import Process
from sim.simulated_peer.snapshots import Snapshot

COLUMNS = 8192
"""Floats of a row that are mixed at a time, at most.

Of a few rows, so much stays in the caches until it is copied back; of less, the calls cost more.
"""

LEAST_BYTES = 2**22
"""Of a matrix that several threads mix: to wake one takes as long as to mix a small one."""


@dataclass
class Mix:
    """One peer's combine, put off."""

    process: Process
    net: str
    weights: Mapping[int, float]  # a_lk by neighbour
    own: Snapshot
    received: dict[int, Snapshot]


class Mixer:
    """Carries out combines, in memory that it keeps.

    Args:
        threads: that share a product.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._scratch = torch.empty(0)
        self._known: tuple[tuple[Any, ...], torch.Tensor, torch.Tensor] | None = None

    def mix(self, mixes: Sequence[Mix]) -> None:
        """Carry out combines of different peers, as if at one moment."""
        by_net: dict[str, list[Mix]] = {}
        for mix in mixes:
            by_net.setdefault(mix.net, []).append(mix)
        for _, of_net in sorted(by_net.items()):
            of_net.sort(key=lambda mix: mix.process.id)
            live: list[Mix] = []
            others: list[Mix] = []
            for mix in of_net:
                (live if mix.own.is_live else others).append(mix)
            if len(live) > 1:
                self._product(live)  # what others still need of these rows is copied first
            else:
                others = of_net
            _one_by_one(others)

    def _product(self, mixes: Sequence[Mix]) -> None:
        """By one matrix A: ``w_k = (1 - sum over l of a_lk) w_k + sum over l of a_lk w_l``.

        It takes what lies in arenas; values that lie elsewhere are added one by one.
        """
        sources = {mix.process.id: mix.own.tensor for mix in mixes}
        targets = list(sources)
        starts, who, values = [0], [], []  # A's rows, in the form of compressed sparse rows
        apart: list[tuple[torch.Tensor, torch.Tensor, float]] = []
        for mix in mixes:
            received, weights = mix.received, mix.weights
            who.append(mix.process.id)
            values.append(1 - sum([weights[k] for k in received]))
            for k, value in received.items():
                if value.is_live:
                    who.append(k)
                    values.append(weights[k])
                    sources[k] = value.tensor
                else:
                    apart.append((mix.own.tensor, value.tensor, weights[k]))
            starts.append(len(who))
        for mix in mixes:  # who else needs a value that is about to change, gets a copy
            del mix.own
            mix.received.clear()
        for mix in mixes:
            mix.process.snapshots.keep()
        ids = sorted(sources)
        W, is_view = matrix_of([sources[k] for k in ids])  # (n, P)
        A, rows = self._matrix((W.device, ids, targets, starts, who, values))
        if not is_view:
            for k, mixed in zip(targets, A @ W, strict=True):
                sources[k].copy_(mixed)
        elif W.device.type == "cpu":
            self._in_place(A, W, rows)
        else:
            W[rows] = A @ W
        for w, q, share in apart:
            w.add_(q, alpha=share)

    def _matrix(self, plan: tuple[Any, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """A (m, n), and which of the n rows it gives (m,); on a fixed graph, the last ones again.

        Args:
            plan: the device; whose rows there are; whose A gives; A's starts, sources and values.
        """
        if self._known is None or plan != self._known[0]:
            device, ids, targets, starts, who, values = plan
            shape = len(targets), len(ids)
            A = _csr(starts, np.searchsorted(ids, who), values, shape).to(device)
            rows = torch.from_numpy(np.searchsorted(ids, targets)).to(device)
            self._known = plan, A, rows
        return self._known[1:]

    def _in_place(self, A: torch.Tensor, W: torch.Tensor, targets: torch.Tensor) -> None:
        """``W[targets] = A W``, some columns at a time."""
        length = W.shape[1]
        blocks = -(-length // COLUMNS)
        ends = [length * i // blocks for i in range(blocks + 1)]
        is_all = len(targets) == len(W)  # then they are in order
        with _threads(self.threads if W.nbytes >= LEAST_BYTES else 1):
            for start, end in pairwise(ends):
                block = W[:, start:end]
                mixed = self._memory(len(targets) * (end - start), W).view(len(targets), -1)
                torch.addmm(mixed, A, block, beta=0, out=mixed)
                if is_all:
                    block.copy_(mixed)
                else:
                    block.index_copy_(0, targets, mixed)

    def _memory(self, size: int, like: torch.Tensor) -> torch.Tensor:
        """Floats that may be written to: new memory costs more than what it is for."""
        if len(self._scratch) < size:
            self._scratch = like.new_empty(size)
        return self._scratch[:size]


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many of torch's own share each operation; they are quicker to wake than ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_by_one(mixes: Sequence[Mix]) -> None:
    for mix in mixes:
        mix.process.snapshots.keep()
        w = mix.process.peer.state.nets[mix.net].arena.vector
        values = {k: value.tensor for k, value in mix.received.items()}
        combine(w, mix.own.tensor, values, mix.weights)


def _csr(
    starts: Sequence[int], columns: np.ndarray, values: Sequence[float], shape: tuple[int, int]
) -> torch.Tensor:
    """A sparse matrix, by compressed rows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            torch.from_numpy(np.array(starts, dtype=np.int32)),
            torch.from_numpy(columns.astype(np.int32)),
            torch.from_numpy(np.array(values, dtype=np.float32)),
            shape,
            check_invariants=False,
        )

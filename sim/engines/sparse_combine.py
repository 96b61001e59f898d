"""Combining for many peers at once: one sparse product with the matrix of their arenas."""

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
from sim.simulated_peer.simulated_peer import SimulatedPeer
from sim.simulated_peer.snapshots import Snapshot

COLUMN_BLOCK = 8192
"""Columns (floats of every arena) that are combined at a time, at most.

Of a few rows, such a block stays in the caches until it is copied back. With narrower blocks, the
calls cost more than the caches save.
"""

THREADING_BYTES = 2**22
"""Size of a matrix from which several threads share the product (4 MiB).

Below it, waking a thread takes as long as the product itself.
"""


@dataclass
class DeferredCombine:
    """One peer's combine, to be carried out with those of other peers."""

    peer: SimulatedPeer
    net: str
    weights: Mapping[int, float]  # a_lk by neighbour
    own: Snapshot
    received: dict[int, Snapshot]


class SparseCombiner:
    """Carries out combines, in memory that it keeps from one to the next.

    Args:
        threads: that share a product.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._scratch = torch.empty(0)
        self._cached: tuple[tuple[Any, ...], torch.Tensor, torch.Tensor] | None = None

    def combine(self, combines: Sequence[DeferredCombine]) -> None:
        """Carry out combines of different peers, as if at one moment."""
        by_net: dict[str, list[DeferredCombine]] = {}
        for each in combines:
            by_net.setdefault(each.net, []).append(each)
        for _, of_net in sorted(by_net.items()):
            of_net.sort(key=lambda each: each.peer.id)
            live: list[DeferredCombine] = []
            others: list[DeferredCombine] = []
            for each in of_net:
                (live if each.own.is_live else others).append(each)
            if len(live) > 1:
                self._product(live)  # copies first what the others still need of these rows
            else:
                others = of_net
            _one_by_one(others)

    def _product(self, combines: Sequence[DeferredCombine]) -> None:
        """By one matrix A: ``w_k = (1 - sum over l of a_lk) w_k + sum over l of a_lk w_l``.

        The product covers values that lie in arenas; values that lie elsewhere are added one by
        one.
        """
        sources = {each.peer.id: each.own.tensor for each in combines}
        targets = list(sources)
        starts, columns, values = [0], [], []  # A in compressed sparse rows; columns are peers
        elsewhere: list[tuple[torch.Tensor, torch.Tensor, float]] = []
        for each in combines:
            received, weights = each.received, each.weights
            columns.append(each.peer.id)
            values.append(1 - sum([weights[k] for k in received]))
            for k, value in received.items():
                if value.is_live:
                    columns.append(k)
                    values.append(weights[k])
                    sources[k] = value.tensor
                else:
                    elsewhere.append((each.own.tensor, value.tensor, weights[k]))
            starts.append(len(columns))
        for each in combines:  # drop our references, so that only what others need is copied
            del each.own
            each.received.clear()
        for each in combines:
            each.peer.snapshots.before_write()
        ids = sorted(sources)
        W, is_view = matrix_of([sources[k] for k in ids])  # (n, P)
        A, rows = self._matrix((W.device, ids, targets, starts, columns, values))
        if not is_view:
            for k, combined in zip(targets, A @ W, strict=True):
                sources[k].copy_(combined)
        elif W.device.type == "cpu":
            self._in_place(A, W, rows)
        else:
            W[rows] = A @ W
        for w, q, weight in elsewhere:
            w.add_(q, alpha=weight)

    def _matrix(self, plan: tuple[Any, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """A (m, n), and the rows of W that it gives (m,); cached, as a fixed graph repeats them.

        Args:
            plan: the device; the peers whose arenas are W's rows; the peers whose arenas A gives;
                A's row starts, its columns as peers, and its values.
        """
        if self._cached is None or plan != self._cached[0]:
            device, ids, targets, starts, columns, values = plan
            shape = len(targets), len(ids)
            A = _csr(starts, np.searchsorted(ids, columns), values, shape).to(device)
            rows = torch.from_numpy(np.searchsorted(ids, targets)).to(device)
            self._cached = plan, A, rows
        return self._cached[1:]

    def _in_place(self, A: torch.Tensor, W: torch.Tensor, targets: torch.Tensor) -> None:
        """``W[targets] = A W``, a block of columns at a time."""
        length = W.shape[1]
        blocks = -(-length // COLUMN_BLOCK)
        ends = [length * i // blocks for i in range(blocks + 1)]
        is_all = len(targets) == len(W)  # then targets are in order
        with _torch_threads(self.threads if W.nbytes >= THREADING_BYTES else 1):
            for start, end in pairwise(ends):
                block = W[:, start:end]
                combined = self._memory(len(targets) * (end - start), W).view(len(targets), -1)
                torch.addmm(combined, A, block, beta=0, out=combined)
                if is_all:
                    block.copy_(combined)
                else:
                    block.index_copy_(0, targets, combined)

    def _memory(self, size: int, like: torch.Tensor) -> torch.Tensor:
        """Uninitialised floats, the same memory every time: new memory costs more than the copy."""
        if len(self._scratch) < size:
            self._scratch = like.new_empty(size)
        return self._scratch[:size]


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    """Let torch's own threads share each operation; they wake faster than the engine's pool."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_by_one(combines: Sequence[DeferredCombine]) -> None:
    for each in combines:
        each.peer.snapshots.before_write()
        w = each.peer.state.nets[each.net].arena.vector
        values = {k: value.tensor for k, value in each.received.items()}
        combine(w, each.own.tensor, values, each.weights)


def _csr(
    starts: Sequence[int], columns: np.ndarray, values: Sequence[float], shape: tuple[int, int]
) -> torch.Tensor:
    """A sparse matrix in compressed rows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            torch.from_numpy(np.array(starts, dtype=np.int32)),
            torch.from_numpy(columns.astype(np.int32)),
            torch.from_numpy(np.array(values, dtype=np.float32)),
            shape,
            check_invariants=False,
        )

"""Combining for many peers at once: one sparse product on the matrix of their arenas."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from peer.combine import combine
from sim.event import Process
from sim.rows import matrix_of
from sim.snapshots import Snapshot

COLUMNS_BYTES = 2**21
"""A block of columns, of all rows, is to stay in a cache while it is mixed."""

STRIP = 4
"""Blocks that a thread mixes one after another, in the same scratch memory."""

Parallel = Callable[[Callable[[int], None], range], Iterable[None]]


@dataclass
class Mix:
    """One peer's combine, put off."""

    process: Process
    net: str
    weights: Mapping[int, float]  # a_lk by neighbour
    own: Snapshot
    received: dict[int, Snapshot]

    @property
    def is_live(self) -> bool:
        """Whether all its values still lie in the arenas."""
        return self.own.is_live and all(value.is_live for value in self.received.values())


def mix_all(mixes: Sequence[Mix], parallel: Parallel = map) -> None:
    """Carry out combines of different peers, as if at one moment; ``parallel`` is a ``map``."""
    for net in sorted({mix.net for mix in mixes}):
        of_net = sorted((mix for mix in mixes if mix.net == net), key=lambda mix: mix.process.id)
        live = [mix for mix in of_net if mix.is_live]
        others = [mix for mix in of_net if not mix.is_live]
        if len(live) > 1:
            _product(live, parallel)  # what others still need of these rows is copied first
        else:
            others = of_net
        _one_by_one(others)


def _one_by_one(mixes: Sequence[Mix]) -> None:
    for mix in mixes:
        mix.process.snapshots.keep()
        w = mix.process.peer.state.nets[mix.net].arena.vector
        values = {k: value.tensor for k, value in mix.received.items()}
        combine(w, mix.own.tensor, values, mix.weights)


def _product(mixes: Sequence[Mix], parallel: Parallel) -> None:
    """All of them by one matrix A: ``w_k = (1 - sum over l of a_lk) w_k + sum over l a_lk w_l``."""
    sources: dict[int, torch.Tensor] = {}
    starts, who, values = [0], [], []  # A's rows, in the form of compressed sparse rows
    for mix in mixes:
        sources[mix.process.id] = mix.own.tensor
        taken = [mix.weights[k] for k in mix.received]
        who += [mix.process.id, *mix.received]
        values += [1 - sum(taken), *taken]
        starts.append(len(who))
        for k, value in mix.received.items():
            sources[k] = value.tensor
    for mix in mixes:  # who else needs a value that is about to change, gets a copy
        del mix.own
        mix.received.clear()
    for mix in mixes:
        mix.process.snapshots.keep()
    ids = sorted(sources)
    columns = np.searchsorted(ids, who)
    W, is_view = matrix_of([sources[k] for k in ids])  # (n, P)
    A = _csr(starts, columns, values, (len(mixes), len(ids))).to(W.device)
    if not is_view:
        for mix, value in zip(mixes, A @ W, strict=True):
            sources[mix.process.id].copy_(value)
        return
    targets = torch.from_numpy(np.searchsorted(ids, [mix.process.id for mix in mixes]))
    _mix_in_place(A, W, targets.to(W.device), parallel)


def _mix_in_place(
    A: torch.Tensor, W: torch.Tensor, targets: torch.Tensor, parallel: Parallel
) -> None:
    """``W[targets] = A W``, a block of columns at a time: it stays in a cache meanwhile."""
    length = W.shape[1]
    width = length if W.is_cuda else min(length, max(1024, COLUMNS_BYTES // (4 * len(W))))
    is_all = len(targets) == len(W)  # then they are in order

    def mix(strip: int) -> None:
        end = min(length, strip + STRIP * width)
        mixed = W.new_empty(len(targets), width)
        for start in range(strip, end, width):
            block = W[:, start : start + width]
            part = mixed[:, : block.shape[1]]
            torch.addmm(part, A, block, beta=0, out=part)
            if is_all:
                block.copy_(part)
            else:
                block.index_copy_(0, targets, part)

    list(parallel(mix, range(0, length, STRIP * width)))


def _csr(
    starts: Sequence[int], columns: np.ndarray, values: Sequence[float], shape: tuple[int, int]
) -> torch.Tensor:
    """A sparse matrix, by compressed rows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            torch.tensor(starts, dtype=torch.int32),
            torch.from_numpy(columns.astype(np.int32)),
            torch.tensor(values, dtype=torch.float32),
            shape,
            check_invariants=False,
        )

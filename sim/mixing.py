"""Combining for many peers at once: one sparse product on the matrix of their arenas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch

from peer.combine import combine
from sim.event import Process
from sim.rows import matrix_of
from sim.snapshots import Snapshot

COLUMNS_BYTES = 2**19
"""A block of columns, of all rows, is to stay in a core's own cache while it is mixed."""


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
    ids = np.array(sorted(sources))
    columns = np.searchsorted(ids, who)
    shape = (len(mixes), len(ids))
    A = scipy.sparse.csr_array((np.array(values, np.float32), columns, starts), shape)
    W, is_view = matrix_of([sources[k] for k in ids.tolist()])  # (n, P)
    targets = np.searchsorted(ids, [mix.process.id for mix in mixes])
    if is_view and W.device.type == "cpu":
        _mix_in_place(A, W.numpy(), targets, parallel)
        return
    mixed = _to_torch(A, W.device) @ W
    if is_view:
        W[torch.from_numpy(targets).to(W.device)] = mixed
    else:
        for mix, value in zip(mixes, mixed, strict=True):
            sources[mix.process.id].copy_(value)


def _mix_in_place(
    A: scipy.sparse.csr_array, W: np.ndarray, targets: np.ndarray, parallel: Parallel
) -> None:
    """``W[targets] = A W``, a block of columns at a time: it stays in a cache meanwhile."""
    rows: Any = slice(None) if len(targets) == len(W) else targets  # all of them are in order
    width = max(256, COLUMNS_BYTES // (4 * len(W)))

    def mix(start: int) -> None:
        block = W[:, start : start + width]
        block[rows] = A @ np.ascontiguousarray(block)

    list(parallel(mix, range(0, W.shape[1], width)))


def _to_torch(A: scipy.sparse.csr_array, device: torch.device) -> torch.Tensor:
    parts = A.tocoo()
    places = torch.from_numpy(np.stack(parts.coords).astype(np.int64))
    return torch.sparse_coo_tensor(
        places, torch.from_numpy(parts.data), A.shape, check_invariants=False
    ).to(device)

"""Combining for many peers at once: one sparse product on the matrix of their arenas."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from peer.combine import combine
from sim.crew import Crew
from sim.process import Process
from sim.rows import matrix_of
from sim.snapshots import Snapshot

COLUMNS = 4096
"""Floats of a row that are mixed at a time.

The sums stay in a core's first cache, the rows near them in its second.
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

    @property
    def is_live(self) -> bool:
        """Whether its own value, and one that it received, still lie in arenas."""
        return self.own.is_live and True in [value.is_live for value in self.received.values()]


class Mixer:
    """Carries out combines, in memory that it keeps.

    Args:
        crew: whose threads mix strips of columns.
    """

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._scratch: dict[int, torch.Tensor] = {}  # by strip

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
                (live if mix.is_live else others).append(mix)
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
        starts, who, values = [0], [], []  # A's rows, in the form of compressed sparse rows
        apart: list[tuple[torch.Tensor, torch.Tensor, float]] = []
        for mix in mixes:
            who.append(mix.process.id)
            values.append(1 - sum([mix.weights[k] for k in mix.received]))
            for k, value in mix.received.items():
                if value.is_live:
                    who.append(k)
                    values.append(mix.weights[k])
                    sources[k] = value.tensor
                else:
                    apart.append((mix.own.tensor, value.tensor, mix.weights[k]))
            starts.append(len(who))
        for mix in mixes:  # who else needs a value that is about to change, gets a copy
            del mix.own
            mix.received.clear()
        for mix in mixes:
            mix.process.snapshots.keep()
        ids = sorted(sources)
        columns = np.searchsorted(ids, who)
        W, is_view = matrix_of([sources[k] for k in ids])  # (n, P)
        A = _csr(starts, columns, values, (len(mixes), len(ids))).to(W.device)
        targets = torch.from_numpy(np.searchsorted(ids, [mix.process.id for mix in mixes]))
        if not is_view:
            for mix, mixed in zip(mixes, A @ W, strict=True):
                sources[mix.process.id].copy_(mixed)
        elif W.device.type == "cpu":
            self._in_place(A, W, targets)
        else:
            W[targets.to(W.device)] = A @ W
        for w, q, share in apart:
            w.add_(q, alpha=share)

    def _in_place(self, A: torch.Tensor, W: torch.Tensor, targets: torch.Tensor) -> None:
        """``W[targets] = A W``, a strip of columns a thread, each block by block."""
        length = W.shape[1]
        strips = self.crew.threads if W.nbytes >= LEAST_BYTES else 1
        ends = [length * i // strips for i in range(strips + 1)]
        is_all = len(targets) == len(W)  # then they are in order

        def mix(strip: int) -> None:
            most = min(COLUMNS, ends[strip + 1] - ends[strip])
            mixed = self._memory(strip, len(targets) * most, W)
            for start in range(ends[strip], ends[strip + 1], COLUMNS):
                block = W[:, start : min(start + COLUMNS, ends[strip + 1])]
                part = mixed[: len(targets) * block.shape[1]].view(len(targets), -1)
                torch.addmm(part, A, block, beta=0, out=part)
                if is_all:
                    block.copy_(part)
                else:
                    block.index_copy_(0, targets, part)

        self.crew.each(mix, strips)

    def _memory(self, strip: int, size: int, W: torch.Tensor) -> torch.Tensor:
        """Floats that a strip's thread may write to: new memory costs more than what it is for."""
        memory = self._scratch.get(strip)
        if memory is None or len(memory) < size:
            self._scratch[strip] = memory = W.new_empty(size)
        return memory


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
            torch.tensor(starts, dtype=torch.int32),
            torch.from_numpy(columns.astype(np.int32)),
            torch.tensor(values, dtype=torch.float32),
            shape,
            check_invariants=False,
        )

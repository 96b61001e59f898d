"""What one thread needs to compute on rows: modules to apply, and memory that it uses again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from peer.gan import Arena, Layout
from peer.state import Net
from sim.engines.stacked_arenas import Rows
from sim.engines.stacked_optimizer import Stepper
from sim.engines.trace_cache import Recordings

MOST = 64
"""Of anything that is kept: where peers have nets of their own, or a server samples others every
time, there is no end of them."""

K = TypeVar("K")
V = TypeVar("V")


class Workbench:
    """One thread's: applying a module functionally swaps its tensors, so threads share none.

    Args:
        recordings: of steps, that all threads share.

    Attributes:
        records: whether steps are recorded that are not yet.
    """

    def __init__(self, recordings: Recordings | None = None) -> None:
        self.recordings = recordings or Recordings()
        self.records = False
        self._templates: dict[int, tuple[nn.Module, nn.Module]] = {}
        self._gradients: dict[Layout, torch.Tensor] = {}
        self._rows: dict[tuple[Arena, ...], Rows] = {}
        self._steppers: dict[tuple[Net, ...], Stepper] = {}

    def template(self, module: nn.Module) -> nn.Module:
        """A copy of ``module``, in training mode, the same one every time."""
        copied = _kept(self._templates, id(module), lambda: (module, copy.deepcopy(module).train()))
        return copied[1]

    def rows(self, arenas: Sequence[Arena]) -> Rows:
        """``arenas`` as one matrix, the same one every time where it is a view of them."""
        known = tuple(arenas)
        if known in self._rows:
            return self._rows[known]
        rows = Rows(arenas)
        return _kept(self._rows, known, lambda: rows) if rows.is_view else rows

    def gradients(self, rows: Rows) -> torch.Tensor:
        """Memory for gradients, (b, trained), zero between parameters; until asked for again."""
        memory = self._gradients.get(rows.layout)  # of its own: padding lies elsewhere in others
        if memory is None or len(memory) < len(rows.arenas):
            memory = rows.matrix.new_zeros(len(rows.arenas), rows.layout.trained)
            self._gradients[rows.layout] = memory
        return memory[: len(rows.arenas)]

    def stepper(self, nets: Sequence[Net]) -> Stepper:
        """What steps ``nets``, the same every time; what it remembers is theirs."""
        return _kept(self._steppers, tuple(nets), lambda: Stepper(nets))


def _kept(known: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """What is known under ``key``, made where it is not yet."""
    if key not in known:
        if len(known) >= MOST:
            known.clear()
        known[key] = make()
    return known[key]

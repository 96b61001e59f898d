"""What one thread needs to compute on stacked arenas: modules to apply, and memory to reuse."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from peer.gan import Arena, Layout
from peer.state import Net
from sim.engines.stacked_arenas import StackedArenas
from sim.engines.stacked_optimizer import StackedOptimizer
from sim.engines.trace_cache import TraceCache

CAPACITY = 64
"""Entries of each cache. Its keys have no end where peers have nets of their own, or where a server
samples other peers every round."""

K = TypeVar("K")
V = TypeVar("V")


class Workspace:
    """One thread's: applying a module functionally swaps its tensors, so threads share no module.

    Args:
        traces: of steps, shared by all threads.

    Attributes:
        may_trace: whether a step that is not in the trace cache is traced.
    """

    def __init__(self, traces: TraceCache | None = None) -> None:
        self.traces = traces or TraceCache()
        self.may_trace = False
        self._templates: dict[int, tuple[nn.Module, nn.Module]] = {}
        self._gradients: dict[Layout, torch.Tensor] = {}
        self._stacks: dict[tuple[Arena, ...], StackedArenas] = {}
        self._optimizers: dict[tuple[Net, ...], StackedOptimizer] = {}

    def template(self, module: nn.Module) -> nn.Module:
        """A copy of ``module`` in training mode, the same copy at every call."""
        copied = _cached(
            self._templates, id(module), lambda: (module, copy.deepcopy(module).train())
        )
        return copied[1]

    def stack(self, arenas: Sequence[Arena]) -> StackedArenas:
        """``arenas`` as one matrix; the same object at every call if it is a view of them."""
        key = tuple(arenas)
        if key in self._stacks:
            return self._stacks[key]
        stacked = StackedArenas(arenas)
        return _cached(self._stacks, key, lambda: stacked) if stacked.is_view else stacked

    def gradients(self, stacked: StackedArenas) -> torch.Tensor:
        """Memory for gradients (b, trained), zero between parameters, valid until the next call."""
        # One memory a layout, because the padding that must stay zero lies elsewhere in others.
        memory = self._gradients.get(stacked.layout)
        if memory is None or len(memory) < len(stacked.arenas):
            memory = stacked.matrix.new_zeros(len(stacked.arenas), stacked.layout.trained)
            self._gradients[stacked.layout] = memory
        return memory[: len(stacked.arenas)]

    def optimizer(self, nets: Sequence[Net]) -> StackedOptimizer:
        """An optimizer of all ``nets``, the same at every call; their moments stay their own."""
        return _cached(self._optimizers, tuple(nets), lambda: StackedOptimizer(nets))


def _cached(cache: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """The entry of ``key``, made if it is missing; a full cache is emptied first."""
    if key not in cache:
        if len(cache) >= CAPACITY:
            cache.clear()
        cache[key] = make()
    return cache[key]

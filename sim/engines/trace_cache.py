"""Functions of tensors, traced once as a list of operations and replayed.

Most of what a small net's step costs is Python: modules, vmap and autograd find out anew every time
which operations to run. These depend on shapes alone, so a step that is taken again and again is
traced once, backward pass included.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from sim.engines.batched_linear import BatchedLinear
from sim.engines.inplace_pass import reuse_memory

Function = Callable[..., Any]

CAPACITY = 64
"""Traces that are kept; further shapes are computed without one."""


class TraceCache:
    """Traces by a key and the arguments' shapes and strides; any thread may replay one."""

    def __init__(self) -> None:
        self._known: dict[Hashable, GraphModule | None] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further trace is kept."""
        return len(self._known) >= CAPACITY

    def call(self, key: Hashable, function: Function, *args: Any, trace: bool = False) -> Any:
        """``function(*args)``, by its trace where there is one.

        Args:
            key: what the function depends on, but for the tensors in ``args``.
            function: it draws nothing, reads no tensor's value, and does the same at every call: if
                a user's module counts something in plain Python, a trace does not.
            args: nested dicts of tensors.
            trace: whether to trace it if it is not yet; by one thread, while no other computes.
        """
        if not self._known and not trace:
            return function(*args)
        leaves: list[torch.Tensor] = []
        structure = tuple([_flatten(each, leaves) for each in args])
        like = tuple([(x.shape, x.stride(), x.dtype, x.device) for x in leaves])
        key = key, structure, like
        if trace and key not in self._known and not self.is_full:
            self._known[key] = _traced(function, args)
        graph = self._known.get(key)
        if graph is None:
            return function(*args)
        with torch.no_grad():
            return graph.forward(*args)  # the module's call has nothing to add but its time


def _flatten(value: Any, leaves: list[torch.Tensor]) -> Hashable:
    """Append the tensors of nested dicts to ``leaves``; returns their names, nested alike."""
    if isinstance(value, torch.Tensor):
        leaves.append(value)
        return None
    return tuple([(name, _flatten(part, leaves)) for name, part in value.items()])


def _traced(function: Function, args: tuple[Any, ...]) -> GraphModule | None:
    """The function as a graph; None where it cannot be traced, and is called as it is."""
    try:
        with torch.autograd.set_multithreading_enabled(False), BatchedLinear():
            graph = make_fx(function)(*args)
        _simplify(graph)
    except Exception:  # a user's module may do anything; only speed is lost
        return None
    return graph


def _simplify(module: GraphModule) -> None:
    """Leave out operations that return their argument unchanged; then reuse memory."""
    ops = torch.ops.aten
    idle = {
        ops.view.default,
        ops._unsafe_view.default,
        ops.expand.default,
        ops.detach.default,
        ops.permute.default,
    }
    for node in module.graph.nodes:
        permutes = node.target is ops.permute.default and list(node.args[1]) != _in_order(node)
        if node.target in idle and not permutes:
            (source, *_) = node.args
            if source.meta["val"].shape == node.meta["val"].shape:
                node.replace_all_uses_with(source)
    module.graph.eliminate_dead_code()
    reuse_memory(module.graph)
    module.recompile()


def _in_order(node: Node) -> list[int]:
    return list(range(node.meta["val"].dim()))

"""Functions of tensors, recorded as a list of operations and replayed.

Most of what a small net's step costs is finding out what is to be done: modules, vmap and autograd
do so anew every time. What they end up doing depends on shapes alone, so that a step that is taken
again and again is recorded once, backward pass and all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten

from sim.engines.batched_linear import Together
from sim.engines.inplace_pass import reuse_memory

Function = Callable[..., Any]

MOST = 64
"""Recordings that are kept; further shapes are computed without one."""


class Recordings:
    """Functions by key, shapes and strides of their arguments; any thread may replay one."""

    def __init__(self) -> None:
        self._known: dict[Hashable, GraphModule | None] = {}

    @property
    def are_full(self) -> bool:
        """Whether no further one is kept."""
        return len(self._known) >= MOST

    def call(self, key: Hashable, function: Function, *args: Any, record: bool = False) -> Any:
        """``function(*args)``, as it was recorded if it was.

        Args:
            key: what the function depends on, but for the tensors in ``args``.
            function: it draws nothing, reads no tensor's value, and does the same at every call: of
                what a module of somebody's own counts in plain Python, a recording knows nothing.
            args: nested dicts of tensors.
            record: whether to record it if it is not; by one thread, while no other computes.
        """
        if not self._known and not record:
            return function(*args)
        leaves, structure = tree_flatten(args)
        like = tuple((x.shape, x.stride(), x.dtype, x.device) for x in leaves)
        key = key, structure, like
        if record and key not in self._known and not self.are_full:
            self._known[key] = _recorded(function, args)
        recording = self._known.get(key)
        if recording is None:
            return function(*args)
        with torch.no_grad():
            return recording(*args)


def _recorded(function: Function, args: tuple[Any, ...]) -> GraphModule | None:
    """None where it cannot be: then the function is called as it is."""
    try:
        with torch.autograd.set_multithreading_enabled(False), Together():
            recording = make_fx(function)(*args)
        _simplify(recording)
    except Exception:  # a user's module may do anything; only speed is lost
        return None
    return recording


def _simplify(recording: GraphModule) -> None:
    """Leave out what gives back its own argument, and write over what is not needed any more."""
    ops = torch.ops.aten
    idle = {
        ops.view.default,
        ops._unsafe_view.default,
        ops.expand.default,
        ops.detach.default,
        ops.permute.default,
    }
    for node in recording.graph.nodes:
        turns = node.target is ops.permute.default and list(node.args[1]) != _in_order(node)
        if node.target in idle and not turns:
            (source, *_) = node.args
            if source.meta["val"].shape == node.meta["val"].shape:
                node.replace_all_uses_with(source)
    recording.graph.eliminate_dead_code()
    reuse_memory(recording.graph)
    recording.recompile()


def _in_order(node: Node) -> list[int]:
    return list(range(node.meta["val"].dim()))

"""What one thread needs to compute on rows: modules to apply, and memory that it uses again."""

from __future__ import annotations

import copy

import torch
from torch import nn

from peer.gan import Layout
from sim.rows import Rows


class Workbench:
    """One thread's: applying a module functionally swaps its tensors, so threads share none."""

    def __init__(self) -> None:
        self._templates: dict[int, tuple[nn.Module, nn.Module]] = {}
        self._gradients: dict[Layout, torch.Tensor] = {}

    def template(self, module: nn.Module) -> nn.Module:
        """A copy of ``module``, in training mode, the same one every time."""
        if id(module) not in self._templates:
            self._templates[id(module)] = module, copy.deepcopy(module).train()
        return self._templates[id(module)][1]

    def gradients(self, rows: Rows) -> torch.Tensor:
        """Memory for gradients, (b, trained), zero between parameters; until asked for again."""
        memory = self._gradients.get(rows.layout)  # of its own: padding lies elsewhere in others
        if memory is None or len(memory) < len(rows.arenas):
            memory = rows.matrix.new_zeros(len(rows.arenas), rows.layout.trained)
            self._gradients[rows.layout] = memory
        return memory[: len(rows.arenas)]

"""What one thread needs to compute on rows: modules to apply, and memory that it uses again."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sim.rows import Rows


class Workbench:
    """One thread's: applying a module functionally swaps its tensors, so threads share none."""

    def __init__(self) -> None:
        self._templates: dict[int, tuple[nn.Module, nn.Module]] = {}
        self._gradients: dict[int, torch.Tensor] = {}

    def template(self, module: nn.Module) -> nn.Module:
        """A copy of ``module``, in training mode, the same one every time."""
        if id(module) not in self._templates:
            self._templates[id(module)] = module, copy.deepcopy(module).train()
        return self._templates[id(module)][1]

    def gradients(self, rows: Rows) -> torch.Tensor:
        """Memory for gradients, (b, trained), zero between parameters; until asked for again."""
        width = rows.layout.trained
        memory = self._gradients.get(width)
        if memory is None or len(memory) < len(rows.arenas):
            memory = rows.matrix.new_zeros(len(rows.arenas), width)
            self._gradients[width] = memory
        return memory[: len(rows.arenas)]

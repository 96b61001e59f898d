"""What one thread needs to compute on rows: modules to apply, and memory that it uses again."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from peer.gan import Layout
from peer.state import Net
from sim.replay import Recordings
from sim.rows import Rows
from sim.stepping import Stepper

MOST = 64
"""Templates, and steppers, that are kept: where peers have nets of their own, or a server samples
others every time, there is no end of them."""


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
        self._steppers: dict[tuple[Net, ...], Stepper] = {}

    def template(self, module: nn.Module) -> nn.Module:
        """A copy of ``module``, in training mode, the same one every time."""
        if id(module) not in self._templates:
            if len(self._templates) >= MOST:
                self._templates.clear()
            self._templates[id(module)] = module, copy.deepcopy(module).train()
        return self._templates[id(module)][1]

    def gradients(self, rows: Rows) -> torch.Tensor:
        """Memory for gradients, (b, trained), zero between parameters; until asked for again."""
        memory = self._gradients.get(rows.layout)  # of its own: padding lies elsewhere in others
        if memory is None or len(memory) < len(rows.arenas):
            memory = rows.matrix.new_zeros(len(rows.arenas), rows.layout.trained)
            self._gradients[rows.layout] = memory
        return memory[: len(rows.arenas)]

    def stepper(self, nets: Sequence[Net]) -> Stepper:
        """What steps ``nets``, the same every time."""
        known = tuple(nets)
        if known not in self._steppers:
            if len(self._steppers) >= MOST:
                self._steppers.clear()  # what they remember is their nets'
            self._steppers[known] = Stepper(nets)
        return self._steppers[known]

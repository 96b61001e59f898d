"""One optimizer step of many nets.

Torch's optimizers take a list of vectors, and spend longer on the list than on short vectors. Where
the nets' parameters lie one behind the other, as rows of a matrix, and so does what the optimizer
remembers of them, it takes the matrix for one vector: it is element-wise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from peer.gan import make_optimizer
from peer.state import Net
from sim.engines.stacked_arenas import view_of


class Stepper:
    """Steps ``nets``; what is remembered of each, its step count too, is the net's own."""

    def __init__(self, nets: Sequence[Net]) -> None:
        self.nets = nets
        self._rows = [net.arena.parameters for net in nets]
        self._by_rows = _optimizer(nets[0], self._rows)
        self._by_rows.state.update(zip(self._rows, (net.moments for net in nets), strict=True))
        matrix = view_of([row.data for row in self._rows])  # (b, trained)
        self._whole: nn.Parameter | None = None
        if matrix is not None and matrix.is_contiguous():
            self._whole = nn.Parameter(matrix)
            self._by_matrix = _optimizer(nets[0], [self._whole])

    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """One step along everybody's gradient, (trained,) each."""
        memory = None if self._whole is None else Memory.of(self.nets)
        gradient = None if memory is None else view_of(gradients)
        if self._whole is None or memory is None or gradient is None:
            _step(self._by_rows, self._rows, gradients)
        else:
            self._by_matrix.state[self._whole] = memory.state
            _step(self._by_matrix, [self._whole], [gradient])
            memory.share_out(self.nets)


class Memory:
    """What an optimizer remembers of several nets that have taken the same steps.

    Args:
        state: as of one vector: of each moment a matrix, a row a net, and the numbers they share.
        numbers: those numbers by name, (b,): every net's own.
    """

    def __init__(self, state: dict[str, Any], numbers: dict[str, torch.Tensor]) -> None:
        self.state = state
        self._numbers = numbers
        self._known = frozenset(state)

    @classmethod
    def of(cls, nets: Sequence[Net]) -> Memory | None:
        """None where moments do not lie together, or the nets have not taken the same steps."""
        names = nets[0].moments.keys()
        state: dict[str, Any] = {}
        numbers: dict[str, torch.Tensor] = {}
        if any(net.moments.keys() != names for net in nets):
            return None
        for name in names:
            values = [net.moments[name] for net in nets]
            if not all(isinstance(value, torch.Tensor) for value in values):
                if any(value is not None for value in values):
                    return None
                state[name] = None
                continue
            together = view_of(values)
            if together is None:
                return None
            if together.dim() == 1:
                if bool((together != together[0]).any()):
                    return None
                numbers[name] = together
                together = together[0].clone()
            state[name] = together
        return cls(state, numbers)

    def share_out(self, nets: Sequence[Net]) -> None:
        """Give each net what is new, after a step: its row, its numbers."""
        for name, numbers in self._numbers.items():
            numbers.fill_(self.state[name])
        for name in self.state.keys() - self._known:
            value = self.state[name]
            if isinstance(value, torch.Tensor) and value.dim() == 0:
                value = value.repeat(len(nets))
            each = [value] * len(nets) if value is None else value.unbind()
            for net, own in zip(nets, each, strict=True):
                net.moments[name] = own


def _optimizer(like: Net, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    return make_optimizer(like.spec.name, like.spec.settings, parameters)


def _step(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    gradients: Sequence[torch.Tensor],
) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    for parameter in parameters:
        parameter.grad = None

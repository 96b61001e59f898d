"""One optimizer step of many nets.

Torch's optimizers take a list of vectors, and spend longer on the list than on short vectors. Where
the nets' parameters are rows of one matrix, and their moments rows of others, the optimizer takes
each matrix for one vector: optimizers here are element-wise, so the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from peer.gan import make_optimizer
from peer.gan.schedules import set_rate
from peer.state import Net
from sim.engines.stacked_arenas import view_of


class StackedOptimizer:
    """Steps ``nets``; the moments and the step count of each stay the net's own."""

    def __init__(self, nets: Sequence[Net]) -> None:
        self.nets = nets
        self._rows = [net.arena.parameters for net in nets]
        self._by_rows = _optimizer(nets[0], self._rows)
        self._by_rows.state.update(zip(self._rows, (net.moments for net in nets), strict=True))
        matrix = view_of([row.data for row in self._rows])  # (b, trained)
        self._matrix: nn.Parameter | None = None
        if matrix is not None and matrix.is_contiguous():
            self._matrix = nn.Parameter(matrix)
            self._by_matrix = _optimizer(nets[0], [self._matrix])

    def step(self, gradients: Sequence[torch.Tensor], rounds: Sequence[int | None] = ()) -> None:
        """One step along every net's gradient.

        Args:
            gradients: (trained,) each.
            rounds: the number of each net's round, which its learning rate depends on; 0 for all if
                empty. A net whose round is None takes no step.
        """
        rounds, schedule = rounds or [0] * len(self.nets), self.nets[0].schedule
        factors = {
            round: None if round is None else schedule.factor(round)
            for round in dict.fromkeys(rounds)
        }
        first, *others = dict.fromkeys(factors.values())
        if first is not None and not others:
            self._step_all(gradients, first)
            return
        for factor in filter(None, [first, *others]):
            chosen = [i for i, round in enumerate(rounds) if factors[round] == factor]
            set_rate(self._by_rows, factor)
            _step(self._by_rows, [self._rows[i] for i in chosen], [gradients[i] for i in chosen])

    def _step_all(self, gradients: Sequence[torch.Tensor], factor: float) -> None:
        """One step of all nets at the same rate."""
        moments = None if self._matrix is None else StackedMoments.of(self.nets)
        gradient = None if moments is None else view_of(gradients)
        if self._matrix is None or moments is None or gradient is None:
            set_rate(self._by_rows, factor)
            _step(self._by_rows, self._rows, gradients)
        else:
            self._by_matrix.state[self._matrix] = moments.state
            set_rate(self._by_matrix, factor)
            _step(self._by_matrix, [self._matrix], [gradient])
            moments.scatter(self.nets)


class StackedMoments:
    """What an optimizer keeps of several nets that have taken equally many steps.

    Args:
        state: as an optimizer keeps it of one vector: for each moment a matrix, a row a net, and
            the numbers that all nets have in common, such as the step count.
        numbers: every net's own copy of those numbers by name, (b,) each.
    """

    def __init__(self, state: dict[str, Any], numbers: dict[str, torch.Tensor]) -> None:
        self.state = state
        self._numbers = numbers
        self._known = frozenset(state)

    @classmethod
    def of(cls, nets: Sequence[Net]) -> StackedMoments | None:
        """None where moments are no view of one matrix, or nets have taken unequally many steps."""
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
            stacked = view_of(values)
            if stacked is None:
                return None
            if stacked.dim() == 1:
                if bool((stacked != stacked[0]).any()):
                    return None
                numbers[name] = stacked
                stacked = stacked[0].clone()
            state[name] = stacked
        return cls(state, numbers)

    def scatter(self, nets: Sequence[Net]) -> None:
        """After a step, give each net its numbers, and its rows of moments that are new."""
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

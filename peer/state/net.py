"""One of a peer's nets: its arena, its optimizer, and what the optimizer remembers."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import nn

from peer.experiment import NamedSpec
from peer.gan import Arena, make_optimizer
from peer.gan.schedules import CONSTANT, Schedule, set_rate


class Net:
    """One of a peer's nets: its arena, and its optimizer.

    Attributes:
        arena: its values.
        spec: the optimizer's name and settings.
        schedule: of its learning rate.
        moments: the optimizer's state of this net, by torch's names. Whatever steps the net (its
            own optimizer, or one over many peers' nets) lets torch keep its state here.
    """

    def __init__(self, arena: Arena, optimizer: NamedSpec, schedule: Schedule = CONSTANT) -> None:
        self.arena = arena
        self.spec = optimizer
        self.schedule = schedule
        self.moments: dict[str, Any] = {}

    @property
    def module(self) -> nn.Module:
        """The torch module whose parameters lie in the arena."""
        return self.arena.module

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """torch's optimizer of this net alone, with its state in ``moments``."""
        parameters = self.arena.parameters
        optimizer = make_optimizer(self.spec.name, self.spec.settings, [parameters])
        optimizer.state[parameters] = self.moments
        return optimizer

    @property
    def kind(self) -> list[str]:
        """Its arena's layout, as a digest, and its optimizer: what a saved net must agree with."""
        return [self.arena.layout.signature(), self.spec.name]

    def copy(self) -> Net:
        """The same net in an arena of its own."""
        arena = self.arena.copy(torch.empty_like(self.arena.vector))
        arena.gradient.copy_(self.arena.gradient)
        net = Net(arena, self.spec, self.schedule)
        # clone: a tensor may be a row of a matrix with many nets' moments
        net.moments = {
            name: value.clone() if isinstance(value, torch.Tensor) else value
            for name, value in self.moments.items()
        }
        return net

    def step(self, round: int = 0) -> None:
        """One optimizer step along the arena's gradient, in the round with that number."""
        set_rate(self.optimizer, self.schedule.factor(round))
        self.arena.parameters.grad = self.arena.gradient
        self.optimizer.step()

    def begin_anew(self, initial: Arena) -> None:
        """Take the values of ``initial``, of the same layout, and forget the moments."""
        self.arena.vector.copy_(initial.vector)
        for name, counter in self.arena.counters.items():
            counter.copy_(initial.counters[name])
        self.moments.clear()

    def dump(self) -> dict[str, torch.Tensor]:
        """Copies of the arena, the optimizer's moments, and integer buffers, by name."""
        tensors = {"arena": self.arena.vector.detach().cpu().clone()}
        for name, value in self.moments.items():
            tensors[f"optimizer.{name}"] = torch.as_tensor(value).detach().cpu().clone()
        for name, counter in self.arena.counters.items():
            tensors[f"buffer.{name}"] = counter.detach().cpu().clone()
        return tensors

    def check(self, tensors: dict[str, torch.Tensor]) -> None:
        """Whether :meth:`load` can take these values, to the last.

        Raises:
            ValueError: it cannot.
        """
        vector, counters = self.arena.vector, self.arena.counters
        moments = {name for name in tensors if name.startswith("optimizer.")}
        expected = {"arena": vector.shape}
        expected |= {f"buffer.{name}": counter.shape for name, counter in counters.items()}
        if tensors.keys() - moments != expected.keys():
            raise ValueError("it has other buffers")
        for name, shape in expected.items():
            if tensors[name].shape != shape:
                raise ValueError(f"its {name} has another shape")
        for name in moments:
            if tensors[name].shape not in ((), self.arena.parameters.shape):
                raise ValueError(f"its {name} has another shape")

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over the values that :meth:`dump` returned."""
        self.arena.vector.copy_(tensors["arena"])
        device = self.arena.vector.device
        self.moments.clear()
        for name, value in tensors.items():
            kind, _, of = name.partition(".")
            if kind == "optimizer":
                # torch's fused kernel needs Adam's step count on the parameters' device
                self.moments[of] = value.clone().to(device)
            elif kind == "buffer":
                self.arena.counters[of].copy_(value)

"""A net's parameters as one vector.

All floating parameters of a module, and its floating buffers (batch-norm statistics) at the tail,
lie in one contiguous float32 vector; the module's own parameters are views into it. Sending a net
is sending that memory, and an optimizer step over it is one fused step.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import nn

ALIGNMENT = 16
"""Floats in 64 bytes, on which everything is aligned: BLAS may round otherwise by alignment."""


class Slot(NamedTuple):
    """One parameter or buffer: its place in the arena."""

    name: str
    shape: tuple[int, ...]
    offset: int  # floats from the arena's start, a multiple of ALIGNMENT
    trained: bool  # a parameter; otherwise a buffer, which no optimizer touches

    @property
    def size(self) -> int:
        """How many floats it holds."""
        return int(torch.Size(self.shape).numel())


@dataclass(frozen=True)
class Layout:
    """Where everything of a module lies: parameters first, floating buffers after them."""

    slots: tuple[Slot, ...]
    trained: int  # floats of the parameter part, padding included
    length: int  # floats in all, padding included

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """The layout of ``module``, in its own order of parameters and buffers."""
        slots: list[Slot] = []
        offset = 0

        def place(name: str, tensor: torch.Tensor, trained: bool) -> None:
            nonlocal offset
            slots.append(Slot(name, tuple(tensor.shape), offset, trained))
            offset = _padded(offset + tensor.numel())

        for name, parameter in module.named_parameters():
            place(name, parameter, trained=True)
        trained = offset
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                place(name, buffer, trained=False)
        return cls(tuple(slots), trained, offset)

    @staticmethod
    def view(rows: torch.Tensor, slot: Slot) -> torch.Tensor:
        """``slot`` in one arena (P,), or in the arenas of several peers (..., P)."""
        return rows[..., slot.offset : slot.offset + slot.size].view(rows.shape[:-1] + slot.shape)

    @property
    def parameter_count(self) -> int:
        """Trained parameters, without padding."""
        return sum(slot.size for slot in self.slots if slot.trained)

    def signature(self) -> str:
        """A digest of names, shapes and order: two peers can combine only where it is equal."""
        text = ";".join(f"{s.name}:{s.shape}:{s.offset}:float32" for s in self.slots)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Arena:
    """A module whose parameters live in ``vector``.

    Args:
        template: the net; its values are copied in, and it is left as it is.
        vector: float32 (layout.length,), 64-byte aligned; a row of the network's matrix, or new.
        layout: of ``template``, where it is known already.
        like: an arena of the same net, whose values are copied instead of the template's.

    Attributes:
        vector: everything that is sent, (layout.length,).
        parameters: the trained part as one leaf for the optimizer, (layout.trained,).
        counters: integer buffers by name (how many batches a batch-norm has seen).
    """

    def __init__(
        self,
        template: nn.Module,
        vector: torch.Tensor,
        layout: Layout | None = None,
        like: Arena | None = None,
    ) -> None:
        self.layout = layout or Layout.of(template)
        if vector.shape != (self.layout.length,) or vector.dtype != torch.float32:
            raise ValueError(f"arena of {tuple(vector.shape)} for a net of {self.layout.length}")
        self.template = template
        self.vector = vector
        self.parameters = nn.Parameter(vector[: self.layout.trained])
        if like is None:
            values = dict(template.named_parameters()) | dict(template.named_buffers())
            for slot in self.layout.slots:
                self.layout.view(vector, slot).copy_(values[slot.name].detach())
            counters = {
                name: buffer
                for name, buffer in template.named_buffers()
                if not buffer.is_floating_point()
            }
        else:
            vector.copy_(like.vector)
            counters = like.counters
        self.counters: dict[str, torch.Tensor] = {
            name: counter.to(vector.device, copy=True) for name, counter in counters.items()
        }

    def copy(self, vector: torch.Tensor) -> Arena:
        """The same net, with the same values, in another ``vector``."""
        return Arena(self.template, vector, self.layout, self)

    # The following are made when first used: an engine that computes on the rows of all peers at
    # once needs none of them.

    @cached_property
    def gradient(self) -> torch.Tensor:
        """What autograd writes into, (layout.trained,)."""
        return torch.zeros(self.layout.trained, device=self.vector.device)

    @cached_property
    def module(self) -> nn.Module:
        """A copy of the template whose parameters and buffers are views of the arena."""
        module = copy.deepcopy(self.template).to(self.vector.device).train()
        parameters = dict(module.named_parameters())
        for slot in self.layout.slots:
            view = self.layout.view(self.vector, slot)
            if slot.trained:
                parameters[slot.name].data = view
                parameters[slot.name].grad = self.layout.view(self.gradient, slot)
            else:
                _register(module, slot.name, view)
        for name, counter in self.counters.items():
            _register(module, name, counter)
        return module

    @cached_property
    def leaves(self) -> list[nn.Parameter]:
        """The module's parameters, in its own order."""
        return list(self.module.parameters())

    def tensors(self) -> dict[str, torch.Tensor]:
        """The module's state dict by torch's names, as views of the arena."""
        values = {slot.name: self.layout.view(self.vector, slot) for slot in self.layout.slots}
        values |= self.counters
        return {name: values[name] for name in self.template.state_dict() if name in values}

    def digest(self) -> str:
        """BLAKE2b of the arena's bytes: equal digests are equal parameters, bit for bit."""
        return digest(self.vector)


def _register(module: nn.Module, path: str, buffer: torch.Tensor) -> None:
    owner, _, name = path.rpartition(".")
    module.get_submodule(owner).register_buffer(name, buffer)


def module_with(module: nn.Module, vector: torch.Tensor) -> nn.Module:
    """A copy of ``module`` whose parameters are those of ``vector``, (layout.length,)."""
    arena = Arena(module, torch.empty_like(vector))
    arena.vector.copy_(vector)
    return arena.module


def digest(vector: torch.Tensor) -> str:
    """BLAKE2b-256 of a float32 vector's bytes, as hexadecimal."""
    return hashlib.blake2b(vector.cpu().numpy().data, digest_size=32).hexdigest()


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT

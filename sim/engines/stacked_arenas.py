"""The arenas of several peers, as rows of one matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch

from peer.gan import Arena


class StackedArenas:
    """The arenas of several peers as one matrix: a view of them where :func:`view_of` gives one."""

    def __init__(self, arenas: Sequence[Arena]) -> None:
        self.arenas = arenas
        self.layout = arenas[0].layout
        self.template = arenas[0].template
        self.matrix, self.is_view = matrix_of([arena.vector for arena in arenas])  # (b, P)

    @cached_property
    def parameters(self) -> dict[str, torch.Tensor]:
        """By name, (b, ...) each: views of the matrix."""
        return self.views(self.matrix)

    def views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parameters, or gradients, that ``rows`` (b, trained or more) hold, by name: views."""
        return {
            slot.name: self.layout.view(rows, slot) for slot in self.layout.slots if slot.trained
        }

    def buffers(self) -> dict[str, torch.Tensor]:
        """By name, (b, ...) each, integer buffers included."""
        floating = {
            slot.name: self.layout.view(self.matrix, slot)
            for slot in self.layout.slots
            if not slot.trained
        }
        counters = {
            name: torch.stack([arena.counters[name] for arena in self.arenas])
            for name in self.arenas[0].counters
        }
        return floating | counters

    def leaves(self) -> dict[str, torch.Tensor]:
        """The parameters as leaves of the autograd graph."""
        return {name: w.detach().requires_grad_() for name, w in self.parameters.items()}

    def write_buffers(self, changed: Mapping[str, torch.Tensor]) -> None:
        """Write back :meth:`buffers` to every peer's, after a training-mode forward pass."""
        slots = {slot.name: slot for slot in self.layout.slots}
        for name, values in changed.items():
            if name in slots and self.is_view:
                self.layout.view(self.matrix, slots[name]).copy_(values)
                continue
            for arena, value in zip(self.arenas, values.unbind(), strict=True):
                if name in slots:
                    self.layout.view(arena.vector, slots[name]).copy_(value)
                else:
                    arena.counters[name].copy_(value)


def matrix_of(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, bool]:
    """Rows (P,) as a matrix (b, P), and whether it is a view of them."""
    view = view_of(rows)
    return (torch.stack(list(rows)), False) if view is None else (view, True)


def view_of(rows: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Rows (P,) as a matrix (b, P), or numbers as (b,), if they are equally far apart in memory."""
    first = rows[0].data  # autograd must not take threads' writes to other rows for a change
    if len(rows) == 1:
        return first[None]
    stride = rows[1].storage_offset() - first.storage_offset()
    start, step = first.data_ptr(), stride * first.element_size()
    # If rows are equally far apart, and the last lies in the first one's storage, all others do.
    if (
        stride >= first.numel()
        and rows[-1].untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and [row.data_ptr() for row in rows] == [start + i * step for i in range(len(rows))]
    ):
        return first.as_strided((len(rows), *first.shape), (stride, *first.stride()))
    return None

"""Linear layers of many peers as batched matrix products, without the extra steps of vmap.

Where every peer has a weight of its own, vmap turns a linear layer into a product and a separate
sum with the bias, and its backward pass into a weight gradient that comes out transposed. Here the
forward pass is one ``baddbmm``, and the backward pass two ``bmm``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class BatchedLinear(TorchFunctionMode):
    """Inside this block, ``linear`` under vmap is one product over all peers."""

    def __torch_function__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is linear and not kwargs and len(args) == 3 and args[2] is not None:
            return _Linear.apply(*args)  # type: ignore[no-untyped-call]
        return function(*args, **(kwargs or {}))


class _Linear(torch.autograd.Function):
    """``x W^T + b``, with a rule of its own for vmap."""

    @staticmethod
    def forward(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return linear(x, w, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        x, w = ctx.saved_tensors
        flat_x, flat_g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
        return g @ w, flat_g.mT @ flat_x, flat_g.sum(0)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor
    ) -> tuple[torch.Tensor, int]:
        rows = [
            value.expand(info.batch_size, *value.shape) if dim is None else value.movedim(dim, 0)
            for value, dim in zip((x, w, b), in_dims, strict=True)
        ]
        *before, width = rows[0].shape
        flat = rows[0].reshape(info.batch_size, -1, width)  # (b, n, i)
        y = _LinearOfRows.apply(flat, *rows[1:])  # type: ignore[no-untyped-call]
        return y.reshape(*before, y.shape[-1]), 0


class _LinearOfRows(torch.autograd.Function):
    """x (b, n, i), W (b, o, i), bias (b, o) -> (b, n, o), for b peers."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        if w.shape[1] == 1:  # with a vector, W x^T is four times as fast as x W^T
            return torch.baddbmm(b.unsqueeze(2), w, x.mT).mT
        return torch.baddbmm(b.unsqueeze(1), x, w.mT)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        x, w = ctx.saved_tensors
        of_x, of_w, of_b = ctx.needs_input_grad
        return (
            torch.bmm(g, w) if of_x else None,
            torch.bmm(g.mT, x) if of_w else None,
            g.sum(1) if of_b else None,
        )

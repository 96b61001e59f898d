"""Element-wise torch optimizers over an arena's flat parameter vector.

What an element-wise optimizer does to a coordinate depends on that coordinate's gradients alone,
so the arena's padding and parameter boundaries do not matter to it. Others (L-BFGS, LARS,
Adafactor...) are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from peer.gan.schedules import SETTINGS
from topology.errors import UserError
from topology.names import suggestion
from topology.settings import like_default


def _eager(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """``kind``, with the methods that torch wraps for its compiler, unwrapped.

    What they compute is the same. The wrappers import the compiler when they are first called,
    though nothing is compiled here: 70 MB and a second of every peer's start.
    """
    compute = inspect.unwrap(kind.step)

    def step(self: torch.optim.Optimizer, closure: Any = None) -> Any:
        with torch.no_grad():  # the wrapper's only other task
            return compute(self, closure)

    unwrapped = {
        "step": step,
        "add_param_group": inspect.unwrap(kind.add_param_group),
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
    }
    return type(kind.__name__, (kind,), unwrapped)


_FUSED = {"fused": True}
_LOOP = {"foreach": False}

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (_eager(torch.optim.SGD), _FUSED),
    "adam": (_eager(torch.optim.Adam), _FUSED),
    "adamw": (_eager(torch.optim.AdamW), _FUSED),
    "adagrad": (_eager(torch.optim.Adagrad), _FUSED),
    "rmsprop": (_eager(torch.optim.RMSprop), _LOOP),
    "adamax": (_eager(torch.optim.Adamax), _LOOP),
    "nadam": (_eager(torch.optim.NAdam), _LOOP),
    "radam": (_eager(torch.optim.RAdam), _LOOP),
}
"""By name: torch's class, and which of its implementations is fastest over one flat vector."""

_HIDDEN = {"self", "params", "fused", "foreach", "capturable", "differentiable"}


def make_optimizer(
    name: str,
    settings: Mapping[str, Any],
    parameters: Sequence[nn.Parameter],
    key: str = "optimizer",
) -> torch.optim.Optimizer:
    """The optimizer ``name`` over flat parameter vectors.

    Args:
        name: a key of :data:`OPTIMIZERS`.
        settings: torch's own keyword arguments, such as ``lr``; those of the schedule, which are
            :mod:`peer.gan.schedules`', are passed over.
        parameters: one leaf (layout.trained,) for each arena.
        key: where the optimizer stands in the experiment file, for errors.

    Raises:
        UserError: an unknown or not element-wise optimizer, or a setting it does not have.
    """
    if name not in OPTIMIZERS:
        raise UserError(
            f"{key}.name: '{name}' is not an element-wise optimizer that hearsay knows"
            f"{suggestion(name, OPTIMIZERS)} (optimizers: {', '.join(OPTIMIZERS)})"
        )
    kind, implementation = OPTIMIZERS[name]
    parameters_of = inspect.signature(kind.__init__).parameters
    known = set(parameters_of) - _HIDDEN | set(SETTINGS)
    for setting in settings:
        if setting not in known:
            raise UserError(
                f"{key}.{setting}: {name} has no such setting{suggestion(setting, known)} "
                f"(it has {', '.join(sorted(known))})"
            )
    given = {
        setting: like_default(f"{key}.{setting}", value, parameters_of[setting].default)
        for setting, value in settings.items()
        if setting not in SETTINGS
    }
    try:
        return kind(list(parameters), **given, **implementation)
    except (TypeError, ValueError) as problem:
        raise UserError(f"{key}: {name} refuses its settings: {problem}") from None

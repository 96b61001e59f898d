"""Element-wise torch optimizers over an arena's flat parameter vector.

Element-wise, because padding and parameter boundaries mean nothing to them: what they do to one
coordinate depends on that coordinate's gradients alone. Others (L-BFGS, LARS, Adafactor...) are
refused.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from topology.errors import UserError
from topology.settings import like_default

_FUSED = {"fused": True}
_LOOP = {"foreach": False}

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, _FUSED),
    "adam": (torch.optim.Adam, _FUSED),
    "adamw": (torch.optim.AdamW, _FUSED),
    "adagrad": (torch.optim.Adagrad, _FUSED),
    "rmsprop": (torch.optim.RMSprop, _LOOP),
    "adamax": (torch.optim.Adamax, _LOOP),
    "nadam": (torch.optim.NAdam, _LOOP),
    "radam": (torch.optim.RAdam, _LOOP),
}
"""By name: torch's class, and which of its implementations is fastest over one flat vector."""

_HIDDEN = {"self", "params", "fused", "foreach", "capturable", "differentiable"}


def make_optimizer(
    name: str,
    settings: Mapping[str, Any],
    parameters: Sequence[nn.Parameter],
    key: str = "optimizer",
) -> torch.optim.Optimizer:
    """The optimizer ``name`` over flat parameter vectors, one an arena.

    Raises:
        UserError: an unknown or not element-wise optimizer, or a setting it does not have.
    """
    if name not in OPTIMIZERS:
        close = difflib.get_close_matches(name, OPTIMIZERS, 1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UserError(
            f"{key}.name: '{name}' is not an element-wise optimizer that hearsay knows; "
            f"{hint}choose one of {', '.join(OPTIMIZERS)}"
        )
    kind, implementation = OPTIMIZERS[name]
    parameters_of = inspect.signature(kind.__init__).parameters
    known = set(parameters_of) - _HIDDEN
    for setting in settings:
        if setting not in known:
            close = difflib.get_close_matches(setting, known, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UserError(
                f"{key}.{setting}: {name} has no such setting{hint} "
                f"(it has {', '.join(sorted(known))})"
            )
    given = {
        setting: like_default(f"{key}.{setting}", value, parameters_of[setting].default)
        for setting, value in settings.items()
    }
    try:
        return kind(list(parameters), **given, **implementation)
    except (TypeError, ValueError) as problem:
        raise UserError(f"{key}: {name} refuses its settings: {problem}") from None

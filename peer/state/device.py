"""Where a peer computes."""

from __future__ import annotations

import torch

from topology.errors import UserError


def usable_device(name: str) -> torch.device:
    """The torch device of that name, tried out by making a tensor on it.

    Raises:
        UserError: there is none, or this machine or this torch cannot use it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as problem:  # torch raises either
        reason = str(problem).strip().splitlines()[0].rstrip(".")
        raise UserError(f"device: '{name}' cannot be used here ({reason}); say cpu") from None
    return device

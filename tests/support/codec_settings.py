"""Every way of compressing a combine, for the tests that all of them must pass."""

from __future__ import annotations

from typing import Any

from torch import nn

CODECS: dict[str, Any] = {
    "bf16": "bf16",
    "int8": "int8",
    "int8, stochastic": {"name": "int8", "rounding": "stochastic", "block": 64},
    "int4": "int4",
    "int4, stochastic": {"name": "int4", "rounding": "stochastic"},
    "top-k": {"name": "top-k", "share": 0.1},
    "top-k, few": {"name": "top-k", "share": 0.01},
    "top-k, no feedback": {"name": "top-k", "feedback": False},
    "choco": "choco",
    "choco of int4": {"name": "choco", "of": "int4"},
    "choco of int8, stochastic": {"name": "choco", "of": "int8", "rounding": "stochastic"},
    "choco of bf16": {"name": "choco", "of": "bf16", "gamma": 0.5},
}


def little(shape: tuple[int, int, int], z: int = 20) -> tuple[nn.Module, nn.Module]:
    """1,344 and 65 parameters, quick to combine a thousand times.

    Named as ``gan: tests.support.codec_settings:little``.
    """
    generator = nn.Sequential(nn.Linear(z, 64), nn.Tanh(), nn.Unflatten(1, shape))
    return generator, nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

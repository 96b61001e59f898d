"""Every way of compressing a combine, for the tests that all of them must pass."""

from __future__ import annotations

from typing import Any

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

"""The set-up that the two later papers share here: digits, plain SGD, both nets at once."""

from __future__ import annotations

from typing import Any

from reproductions.images import digits

ROUNDS = 3000


def peers(algorithm: dict[str, Any], count: int = 5, **more: Any) -> dict[str, Any]:
    """An experiment of one of the two systems."""
    return {
        "peers": count,
        "graph": "ring",
        "algorithm": {"rounds": ROUNDS, **algorithm},
        "gan": "mlp-digits",
        "optimizer": {"name": "sgd", "lr": 0.1},
        "data": digits("pairs"),
        "batch": 64,
        "metrics": {"every": 50, "quality_every": ROUNDS // 10},
        **more,
    }

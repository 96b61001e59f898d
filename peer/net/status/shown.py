"""What a peer's live table shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Shown:
    """How far the peer is, how it stands with its neighbours, and what it has sent."""

    round: int = 0
    phases: dict[int, str] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    score: dict[str, Any] = field(default_factory=dict)  # the newest, as in quality.jsonl
    bytes_in: int = 0
    bytes_out: int = 0

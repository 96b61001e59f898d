"""How an optimizer's learning rate changes from round to round.

A factor of the rate follows from rounds completed alone, so a run that goes on after a stop needs
no state of its own, and peers at different rounds may be computed together. ``linear`` falls to 0
(Gulrajani et al. 2017, arXiv:1704.00028, train so), ``cosine`` too (Loshchilov, Hutter 2017,
arXiv:1608.03983, equation 5, without restarts).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from topology.errors import UserError
from topology.names import suggestion

KINDS = ("constant", "linear", "cosine")

SETTINGS = ("schedule", "warmup")
"""What stands among an optimizer's settings, and is none of torch's."""


@dataclass(frozen=True)
class Schedule:
    """A factor of the learning rate by rounds completed.

    Attributes:
        kind: one of ``KINDS``.
        warmup: W, rounds in which the rate grows to its full value.
        rounds: R, in all; where the kind is not constant, the rate would be 0 after them.
    """

    kind: str = "constant"
    warmup: int = 0
    rounds: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any], rounds: object, key: str = "optimizer") -> Schedule:
        """The schedule among an optimizer's ``settings``.

        Args:
            settings: of the optimizer, torch's own included.
            rounds: of the algorithm, as the experiment file has it; None where it has none.
            key: where the optimizer stands in the experiment file, for errors.

        Raises:
            UserError: there is no such schedule, or it does not fit the rounds.
        """
        kind, warmup = settings.get("schedule", "constant"), settings.get("warmup", 0)
        if kind not in KINDS:
            raise UserError(
                f"{key}.schedule: there is no schedule {kind!r}{suggestion(str(kind), KINDS)} "
                f"(schedules: {', '.join(KINDS)})"
            )
        if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
            raise UserError(f"{key}.warmup: must be a number of rounds, 0 or more, not {warmup!r}")
        if kind == "constant":
            return cls(kind, warmup)
        if isinstance(rounds, bool) or not isinstance(rounds, int):
            raise UserError(
                f"{key}.schedule: {kind!r} needs to know how many rounds there are; set "
                "algorithm.rounds"
            )
        if warmup > rounds:
            raise UserError(
                f"{key}.warmup: {warmup} rounds of warm-up are more than all {rounds} rounds; "
                "choose fewer"
            )
        return cls(kind, warmup, rounds)

    def factor(self, round: int) -> float:
        """Of the rate in the round with that number, from 0: in (0, 1] before the last is over."""
        if round < self.warmup:
            return (round + 1) / self.warmup
        if self.kind == "constant":
            return 1.0
        over = (round - self.warmup) / max(1, self.rounds - self.warmup)
        over = min(over, 1.0)
        return 1.0 - over if self.kind == "linear" else (1.0 + math.cos(math.pi * over)) / 2


CONSTANT = Schedule()


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Let ``optimizer`` step with ``factor`` times the learning rate that it was made with."""
    for group in optimizer.param_groups:
        group["lr"] = optimizer.defaults["lr"] * factor

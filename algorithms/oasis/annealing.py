"""How much Oasis's loss-aware regulariser weighs, and when less (algorithm 2, lines 11 to 13)."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from peer.effects import StepResult
from peer.peer import Peer

EQUILIBRIUM = {"bce_ns": math.log(2), "bce_sat": -math.log(2), "lsgan": 0.25}
"""L_G where D knows nothing: below it, G is ahead."""


class Annealing(BaseModel):
    """Settings under ``regulariser:``; gamma: 0 leaves it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gamma: float = Field(0.1, ge=0, description="gamma_0: the regulariser's first weight.")
    alpha: float = Field(0.01, gt=0, le=1, description="Where gamma has fallen to, at the end.")
    annealing: Literal["closed", "literal"] = Field(
        "closed", description="gamma_0 alpha^(tau/T), or the paper's line again and again."
    )
    trigger: Literal["generator_loss", "delta_loss"] = Field(
        "generator_loss", description="What falls below, or exceeds, delta for gamma to fall."
    )
    delta: float | None = Field(None, description="By default the equilibrium's L_G, or -0.5.")


class Annealed:
    """gamma: closed, ``gamma_0 alpha^(tau/T)``; literally, gamma alpha^(t/T) again and again.

    tau counts the iterations so far in which the trigger held, and is a fact of the peer; T is all
    that are planned. The literal form begins at gamma_0 in every round, T being the round's.

    Args:
        peer: whose losses trigger it.
        how: the settings.
        steps: local iterations a round.
        planned: in all rounds together.
    """

    def __init__(self, peer: Peer, how: Annealing, steps: int, planned: int) -> None:
        self.peer = peer
        self.how = how
        self.steps = steps
        self.planned = planned
        self.literal = how.gamma
        self.t = 0

    def weight(self) -> float:
        """gamma."""
        if self.how.annealing == "literal":
            return self.literal
        tau: int = self.peer.facts.get("tau", 0)
        return float(self.how.gamma * self.how.alpha ** (tau / self.planned))

    def observe(self, d: StepResult, g: StepResult) -> None:
        """What an iteration gave."""
        self.t += 1
        if self.how.gamma and self._holds(d.loss, g.loss):
            self.peer.facts["tau"] = self.peer.facts.get("tau", 0) + 1
            self.literal *= self.how.alpha ** (self.t / self.steps)

    def _holds(self, loss_d: float, loss_g: float) -> bool:
        delta = self.how.delta
        if self.how.trigger == "delta_loss":
            return loss_d - loss_g >= (-0.5 if delta is None else delta)
        return loss_g < (EQUILIBRIUM[self.peer.loss] if delta is None else delta)

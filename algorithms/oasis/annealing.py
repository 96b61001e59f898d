"""The weight gamma of Oasis's loss-aware regulariser, and how it falls (algorithm 2, lines 11-13).

The regulariser is that of Roth, Lucchi, Nowozin, Hofmann 2017 (arXiv:1705.09367).
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from peer.effects import StepResult
from peer.peer import Peer
from peer.settings import Settings

EQUILIBRIUM = {"bce_ns": math.log(2), "bce_sat": -math.log(2), "lsgan": 0.25}
"""By loss, L_G where D cannot tell real from fake; below it, G is ahead."""


class Annealing(Settings):
    """Settings under ``regulariser:``; ``gamma: 0`` leaves the regulariser out.

    In an iteration in which the trigger holds (L_G below delta, or L_D - L_G at least delta), gamma
    falls. ``closed``: gamma = gamma_0 alpha^(tau/T), where tau counts such iterations and T all
    that are planned. ``literal``, as the paper prints it: gamma is multiplied by alpha^(t/T) in
    every such iteration t of a round of T, and starts every round at gamma_0.
    """

    gamma: float = Field(0.1, ge=0, description="gamma_0: the regulariser's first weight.")
    alpha: float = Field(
        0.01, gt=0, le=1, description="What gamma falls to, as a share of gamma_0."
    )
    annealing: Literal["closed", "literal"] = Field(
        "closed", description="gamma_0 alpha^(tau/T), or the paper's line again and again."
    )
    trigger: Literal["generator_loss", "delta_loss"] = Field(
        "generator_loss", description="What falls below, or exceeds, delta for gamma to fall."
    )
    delta: float | None = Field(None, description="By default the equilibrium's L_G, or -0.5.")


class Annealed:
    """gamma for the iterations of one round; tau is one of the peer's facts.

    Args:
        peer: the client.
        how: the settings, which say how gamma falls.
        steps: local iterations in the round.
        planned: local iterations in all rounds together.
    """

    def __init__(self, peer: Peer, how: Annealing, steps: int, planned: int) -> None:
        self.peer = peer
        self.how = how
        self.steps = steps
        self.planned = planned
        self.literal = how.gamma
        self.t = 0

    def weight(self) -> float:
        """gamma for the next iteration."""
        if self.how.annealing == "literal":
            return self.literal
        tau: int = self.peer.facts.get("tau", 0)
        return float(self.how.gamma * self.how.alpha ** (tau / self.planned))

    def observe(self, d: StepResult, g: StepResult) -> None:
        """Lower gamma if the losses of an iteration trigger it."""
        self.t += 1
        if self.how.gamma and self._holds(d.loss, g.loss):
            self.peer.facts["tau"] = self.peer.facts.get("tau", 0) + 1
            self.literal *= self.how.alpha ** (self.t / self.steps)

    def _holds(self, loss_d: float, loss_g: float) -> bool:
        delta = self.how.delta
        if self.how.trigger == "delta_loss":
            return loss_d - loss_g >= (-0.5 if delta is None else delta)
        return loss_g < (EQUILIBRIUM[self.peer.loss] if delta is None else delta)

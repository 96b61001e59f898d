"""From a device's capability to its load: E_k steps on batches of B_k (FeGAN, 3.4).

The paper says that the server uses a linear regression, and no more. Two readings:

- ``deadline``: the regression is of a device's seconds (and bytes) on its batch size. B_k is the
  largest of B, B/2, B/4... that fits its memory; E_k is as many steps as fit into the time that the
  median device takes for a full load, but at least E_min. A device that cannot do E_min steps even
  on the smallest batch is left out;
- ``linear``: a fixed linear map from a declared score in [0, 1] to E_k and B_k.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from peer.settings import Settings


class Capability(Settings):
    """What a device declares or a probe measures: t(b) = alpha + beta b, m(b) = gamma + delta b."""

    alpha: float = Field(1.0, ge=0, description="Seconds of an iteration, whatever its batch.")
    beta: float = Field(0.0, ge=0, description="Seconds more for each sample.")
    gamma: float = Field(0.0, ge=0, description="Bytes that training takes, whatever its batch.")
    delta: float = Field(0.0, ge=0, description="Bytes more for each sample.")
    memory: float = Field(math.inf, gt=0, description="Bytes there are.")
    score: float = Field(1.0, ge=0, le=1, description="For the linear map: 1 is a full device.")

    def seconds(self, batch: int) -> float:
        """t(b): seconds of an iteration on a batch of ``batch``."""
        return self.alpha + self.beta * batch

    def bytes(self, batch: int) -> float:
        """m(b): bytes of memory that training on a batch of ``batch`` takes."""
        return self.gamma + self.delta * batch


class Loads(Settings):
    """Settings under ``loads:``."""

    by: Literal["deadline", "linear"] = Field(
        "deadline", description="From a device's seconds and memory, or from its score."
    )
    deadline: float | None = Field(None, gt=0, description="tau; median of E t_k(B) if absent.")
    least_steps: int = Field(1, ge=1, description="E_min; who cannot do it is left out.")
    least_batch: int = Field(2, ge=2, description="b_min.")


def regression(batches: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """(alpha, beta) of t(b) = alpha + beta b by least squares; neither is below zero."""
    beta, alpha = np.polyfit(batches, seconds, 1)
    beta = max(0.0, float(beta))
    return max(0.0, float(alpha)), beta


def assign(
    capabilities: Mapping[int, Capability], steps: int, batch: int, how: Loads
) -> dict[int, tuple[int, int]]:
    """(E_k, B_k) by device, without the devices that cannot do the least load.

    Args:
        capabilities: by device.
        steps: E, of a full device.
        batch: B, of a full device.
        how: the settings.
    """
    if how.by == "linear":
        return {k: _linear(c.score, steps, batch, how) for k, c in capabilities.items()}
    times = [steps * c.seconds(batch) for c in capabilities.values()]
    tau = float(np.median(times)) if how.deadline is None else how.deadline
    given = {}
    for k, c in capabilities.items():
        fitting = (b for b in _halvings(batch, how.least_batch) if c.bytes(b) <= c.memory)
        b = next(fitting, None)
        if b is None or how.least_steps * c.seconds(how.least_batch) > tau * (1 + 1e-9):
            continue  # it cannot do the least load
        fit = steps if c.seconds(b) == 0 else int(tau / c.seconds(b) + 1e-9)
        given[k] = max(how.least_steps, min(steps, fit)), b
    return given


def _linear(score: float, steps: int, batch: int, how: Loads) -> tuple[int, int]:
    most = np.array([steps, batch])
    least = np.array([how.least_steps, how.least_batch])
    e, b = np.floor(least + score * (most - least) + 1e-9).astype(int)
    return int(e), int(b)


def _halvings(batch: int, least: int) -> list[int]:
    sizes = [batch]
    while sizes[-1] // 2 >= least:
        sizes.append(sizes[-1] // 2)
    return sizes

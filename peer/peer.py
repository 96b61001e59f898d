"""The peer as an algorithm sees it: its neighbours, its nets, its verbs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any

import torch

from peer.effects import Combine, Gradient, Moment, Report, Sleep, Step, StepResult, Train
from peer.state import PeerState


class Peer:
    """Peer k, in the words of the papers.

    Args:
        state: everything that outlives a round.
        weights: a_lk for every neighbour l of this peer k (without k itself).

    Every verb is awaited: it hands an effect to the driver. An algorithm keeps nothing across
    rounds but in ``peer.state``.
    """

    def __init__(self, state: PeerState, weights: Mapping[int, float]) -> None:
        self.state = state
        self.weights = dict(weights)
        self._exchange = 0
        self._results: defaultdict[str, list[StepResult]] = defaultdict(list)
        self._missing: set[int] = set()

    @property
    def id(self) -> int:
        """k."""
        return self.state.peer

    @property
    def neighbours(self) -> tuple[int, ...]:
        """The ids of this round's neighbours, in order, without k."""
        return tuple(sorted(self.weights))

    async def rounds(self, count: int) -> AsyncIterator[int]:
        """Rounds from the state's own to ``count``; each is reported when its body is done."""
        while self.state.round < count:
            self._exchange = 0
            yield self.state.round
            self.state.round += 1
            await Report(self.state.round, self._measures())

    async def adapt(self, net: str, steps: int = 1) -> None:
        """``phi_k = w_k - mu grad J_k(w_k)``: ``steps`` optimizer steps on fresh mini-batches."""
        self._results[net].append(await Train(net, net, steps))

    async def gradient(self, net: str) -> None:
        """The stochastic gradient of J_k at w_k, kept for :meth:`step`."""
        self._results[net].append(await Gradient(net, net))

    async def step(self, net: str) -> None:
        """One optimizer step with the gradient that was kept."""
        await Step(net)

    async def combine(self, net: str) -> None:
        """``w_k = sum over l in N_k of a_lk phi_l``: swap with the neighbours, and average."""
        t = Moment(self.state.round, self._exchange)
        self._exchange += 1
        self._missing.update(await Combine(net, t, self.weights))

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await Sleep(seconds)

    def _measures(self) -> dict[str, Any]:
        """What this round's steps and exchanges gave; read once, then forgotten."""
        losses, norms = {}, {}
        for net, results in self._results.items():
            losses[net] = float(torch.stack([r.loss for r in results]).mean())
            norms[net] = float(torch.stack([r.gradient_norm_sq for r in results]).mean().sqrt())
        measures = {
            "losses": losses,
            "gradient_norms": norms,
            "missing": sorted(self._missing),
        }
        self._results.clear()
        self._missing.clear()
        return measures

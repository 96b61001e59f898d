"""What a peer records of one round, and tells when the round ends."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from peer.effects import StepResult
from peer.state import PeerState


class RoundRecord:
    """Collects a round's measures; telling them begins the next round's.

    Attributes:
        facts: the algorithm's own measures.
    """

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self._results: defaultdict[str, list[StepResult]] = defaultdict(list)
        self._missing: set[int] = set()

    def trained(self, net: str, result: StepResult) -> None:
        """Local steps of ``net`` were taken."""
        self._results[net].append(result)

    def stayed_away(self, neighbours: Iterable[int]) -> None:
        """They took no part in an exchange."""
        self._missing.update(neighbours)

    def tell(self, state: PeerState) -> dict[str, Any]:
        """The round's record: losses, gradient norms, who stayed away; collecting begins anew."""
        losses, norms = {}, {}
        for net, results in self._results.items():
            losses[net], norms_sq = StepResult.mean(results)
            norms[net] = math.sqrt(norms_sq)
        measures = {
            "losses": losses,
            "gradient_norms": norms,
            "missing": sorted(self._missing),
            **self.facts,
        }
        if state.skipped:
            measures["skipped"] = dict(sorted(state.skipped.items()))
        if state.went_back:
            measures["went_back"] = state.went_back
        state.skipped.clear()
        state.went_back = ""
        self._results.clear()
        self._missing.clear()
        self.facts.clear()
        return measures

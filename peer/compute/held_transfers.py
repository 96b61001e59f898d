"""Transfers in doubt: what a neighbour's value would add to a net, until it is known to count.

Both ends of a link use what they swap, or neither does, and one of the two decides
(:mod:`peer.net.settling.commit`). The other end may have to go on before it is told. What the
neighbour's value would have added to its net is kept apart then, in the peer's state, so that it
outlives the process; once the neighbour has told, it is added, or dropped. Either way the sum over
all peers of their nets and of what is held is what it was (as in a bank, with money in transit).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from peer.effects import BEFORE_ALL, TOLD, Moment
from peer.state import PeerState

_KEY = "swaps"


@dataclass(frozen=True)
class Held:
    """What is held apart of one neighbour: Delta w of ``net`` by the exchange ``t``."""

    t: Moment
    net: str


class HeldTransfers:
    """What one peer holds apart, and the last exchanges that it decided to use; by neighbour.

    Args:
        state: of the peer; it keeps all of this.
    """

    def __init__(self, state: PeerState) -> None:
        self.state = state

    def _facts(self) -> dict[str, dict[int, Any]]:
        new: dict[str, dict[int, Any]] = {"used": {}, "in doubt": {}}
        facts: dict[str, dict[int, Any]] = self.state.facts.setdefault(_KEY, new)
        return facts

    # --- who decides ------------------------------------------------------------------------------

    def used(self, neighbour: int) -> Moment:
        """The last exchange with ``neighbour`` that this peer decided to use."""
        known = self.state.facts.get(_KEY, {}).get("used", {})
        return Moment(*known[neighbour]) if neighbour in known else BEFORE_ALL

    def note_used(self, moments: Mapping[int, Moment], neighbours: Iterable[int]) -> None:
        """These exchanges were used; those with neighbours of higher ids are ours to tell."""
        for k in neighbours:
            if k > self.state.peer:
                self._facts()["used"][k] = list(moments[k])

    # --- letters ----------------------------------------------------------------------------------

    def taken(self, neighbour: int) -> Moment:
        """The exchange of the last letter that was taken of ``neighbour``, where that is noted."""
        known = self.state.facts.get(_KEY, {}).get("taken", {})
        return Moment(*known[neighbour]) if neighbour in known else BEFORE_ALL

    def note_taken(self, moments: Mapping[int, Moment]) -> None:
        """Letters were taken in these exchanges, by sender, who may ask for that again."""
        taken = self._facts().setdefault("taken", {})
        taken.update({k: list(t) for k, t in moments.items()})

    def doubt_letter(self, neighbour: int, t: Moment) -> None:
        """Whether ``neighbour`` takes the letter of that exchange is to be told yet."""
        self._facts().setdefault("unsure", {})[neighbour] = list(t)

    def unsure(self) -> dict[int, Moment]:
        """The exchanges of which that is so, by neighbour."""
        known = self.state.facts.get(_KEY, {}).get("unsure", {})
        return {k: Moment(*t) for k, t in known.items()}

    # --- who is told ------------------------------------------------------------------------------

    def held(self) -> dict[int, Held]:
        """What is held, by neighbour."""
        known = self.state.facts.get(_KEY, {}).get("in doubt", {})
        return {k: Held(Moment(*t), net) for k, (net, t) in sorted(known.items())}

    def hold(self, neighbour: int, t: Moment, net: str, change: torch.Tensor) -> None:
        """Keep apart the change (P,) of ``net`` that ``neighbour``'s value at ``t`` would make."""
        self._facts()["in doubt"][neighbour] = (net, list(t))
        self.state.tensors[_name(neighbour)] = change

    def resolve(self, neighbour: int, t: Moment, is_used: bool) -> Held | None:
        """The neighbour has told: add what is held, or drop it; returns what it was.

        Of a letter, the algorithm is told, by its facts.
        """
        if self.unsure().get(neighbour) == t:
            del self._facts()["unsure"][neighbour]
            self.state.facts.setdefault(TOLD, {})[neighbour] = is_used
            return None
        held = self.held().get(neighbour)
        if held is None or held.t != t:
            return None
        change = self.state.tensors.pop(_name(neighbour))
        del self._facts()["in doubt"][neighbour]
        if is_used:
            self.state.nets[held.net].arena.vector.add_(change)
        return held

    def drop(self, neighbour: int) -> float:
        """It will never be known: drop what is held; returns its norm.

        If the neighbour did use what we sent, the sum over all peers has moved by so much.
        """
        change = self.state.tensors[_name(neighbour)]
        self.resolve(neighbour, self.held()[neighbour].t, is_used=False)
        return float(torch.linalg.vector_norm(change, dtype=torch.float64))


def _name(neighbour: int) -> str:
    return f"in doubt/{neighbour}"

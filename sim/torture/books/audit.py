"""What has to hold when all is over, whatever went wrong before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from peer.effects import Moment
from sim.torture.books.ledger import DOUBT, DROPPED, USED, Ledger, Swap
from sim.torture.books.sketch import Vector

CONSERVED = 1e-6
"""Of the sum over peers, relative to the sum of its parts' sizes."""

Pair = tuple[Swap | None, Swap | None]
"""What an exchange was at the two ends of a link; None where an end left it out."""


class Audit:
    """Looks through a ledger whose peers are done.

    Args:
        ledger: of one net.
        edges: the links, (a, b) with a < b.
    """

    def __init__(self, ledger: Ledger, edges: Iterable[tuple[int, int]]) -> None:
        self.ledger = ledger
        holders = ledger.accounts
        self.edges = [edge for edge in edges if edge[0] in holders and edge[1] in holders]
        self._swaps = {k: account.by_neighbour() for k, account in holders.items()}

    def disagreements(self) -> list[str]:
        """Exchanges that one end of a link used and the other did not, or that stay in doubt.

        Left out is what a crash took back at one end, and the other may have used. If both ends say
        that they used it, all the same, then one must have gained what the other lost.
        """
        return [
            f"peers {a} and {b}, round {t.round + 1}: {problem}"
            for a, b in self.edges
            for t, pair in self._exchanges(a, b)
            if (problem := self._problem(a, b, t, pair))
        ]

    def _problem(self, a: int, b: int, t: Moment, pair: Pair) -> str:
        here, there = ("left out" if each is None else each.kind for each in pair)
        said = f"{a} says {here}, {b} says {there}"
        if DOUBT in (here, there):
            return f"{said}, at the end"
        if here == there == USED:
            return "" if self._cancel(pair) else "they used two values that were not swapped"
        if t in self._uncertain(a, b):
            return ""
        return said if DROPPED in (here, there) or USED in (here, there) else ""

    def _cancel(self, pair: Pair) -> bool:
        one, other = pair
        assert one is not None
        assert other is not None
        size = 1.0 + float(np.abs(one.change).max())
        off = float(np.abs(one.change + other.change).max())
        return one.is_guess or other.is_guess or off <= self.ledger.tolerance * size

    def imbalance(self) -> float:
        """By how much the sum over peers differs from what it must be, as a share of its parts.

        It must be the sum of what all began with, of local changes, of the jumps of those who were
        left behind, and of the transfers that only one end knows of, since a crash took them back
        at the other. All other transfers add up to nothing.
        """
        accounts = self.ledger.accounts.values()
        off: Vector = sum(
            (account.known - account.own for account in accounts), np.zeros_like(self._any)
        )
        for a, b in self.edges:
            uncertain = self._uncertain(a, b)
            for t, pair in self._exchanges(a, b):
                if t in uncertain:
                    off = off - sum((e.change for e in pair if e), np.zeros_like(off))
        size = sum(float(np.abs(account.known).sum()) for account in accounts)
        return float(np.abs(off).sum()) / max(size, 1.0)

    @property
    def _any(self) -> Vector:
        return next(iter(self.ledger.accounts.values())).own

    def _exchanges(self, a: int, b: int) -> Iterator[tuple[Moment, Pair]]:
        one, other = self._swaps[a].get(b, {}), self._swaps[b].get(a, {})
        for t in sorted(one.keys() | other.keys()):
            yield t, (one.get(t), other.get(t))

    def _uncertain(self, a: int, b: int) -> set[Moment]:
        accounts = self.ledger.accounts
        return {t for k, t in accounts[a].uncertain if k == b} | {
            t for k, t in accounts[b].uncertain if k == a
        }

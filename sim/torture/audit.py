"""What has to hold when all is over, whatever went wrong before."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sim.torture.ledger import DOUBT, DROPPED, USED, Account, Ledger, Vector

CONSERVED = 1e-6
"""Of the sum over peers, relative to the sum of its parts' sizes."""


def disagreements(ledger: Ledger, edges: Iterable[tuple[int, int]]) -> list[str]:
    """Exchanges that one end of a link used and the other did not, or that nobody has told of.

    An exchange that a crash took back at one end is left out: the other end may have used it.
    """
    found = []
    for a, b in edges:
        one, other = ledger.status(a, b), ledger.status(b, a)
        uncertain = {t for k, t in ledger.accounts[a].uncertain if k == b}
        uncertain |= {t for k, t in ledger.accounts[b].uncertain if k == a}
        for t in sorted(one.keys() | other.keys()):
            here = one[t][0] if t in one else "left out"
            there = other[t][0] if t in other else "left out"
            where = f"peers {a} and {b}, round {t.round + 1}: {a} says {here}, {b} says {there}"
            if DOUBT in (here, there):
                found.append(f"{where}, at the end")
            elif t in uncertain:
                continue
            elif DROPPED in (here, there) or (here == USED) != (there == USED):
                found.append(where)
    return found


def imbalance(ledger: Ledger, edges: Iterable[tuple[int, int]]) -> float:
    """By how much the sum over peers differs from what it must be, as a share of its parts.

    It must be the sum of what all began with, of local changes, of the jumps of those who were left
    behind, and of the transfers that only one end knows of, since a crash took them back at the
    other. All other transfers add up to nothing.
    """
    accounts = ledger.accounts.values()
    total = sum((account.known for account in accounts), _zero(ledger))
    expected = sum((_of_its_own(account) for account in accounts), _zero(ledger))
    for a, b in edges:
        one, other = ledger.status(a, b), ledger.status(b, a)
        uncertain = {t for k, t in ledger.accounts[a].uncertain if k == b}
        uncertain |= {t for k, t in ledger.accounts[b].uncertain if k == a}
        for t in uncertain:
            for side in (one, other):
                if t in side:
                    expected = expected + side[t][1]
    size = sum(float(np.abs(account.known).sum()) for account in accounts)
    return float(np.abs(total - expected).sum()) / max(size, 1.0)


def _of_its_own(account: Account) -> Vector:
    """What it began with, and what changed but by swapping."""
    own = account.initial.copy()
    for entry in account.entries:
        if entry.kind in ("local", "jump"):
            own += entry.change
    return own


def _zero(ledger: Ledger) -> Vector:
    return np.zeros_like(next(iter(ledger.accounts.values())).initial)

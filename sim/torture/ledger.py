"""What every peer did to its nets, entry by entry, so that no transfer is lost or made twice.

A net's arena moves for one of these reasons: a local change; a transfer, ``a_lk (q_l - q_k)``, that
an exchange used; a transfer used late, having been held apart; a jump, where a peer that was left
behind took the others' mean. The ledger keeps them in float64, by what the peers *sent*, and checks
each move of an arena against that. A crash takes back what came after the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch

from peer.effects import Combine, Moment

TOLERANCE = 1e-5
"""Of one combine's rounding in float32, beside the size of what is combined."""

USED, UNUSED, DOUBT, DROPPED = "used", "not used", "in doubt", "dropped"

Vector = np.ndarray  # (P,) float64


class Violation(Exception):
    """A promise was broken."""


@dataclass(frozen=True)
class Entry:
    """One line: what became of an exchange with a neighbour, or another reason for a move."""

    kind: str
    change: Vector
    neighbour: int = -1
    t: Moment | None = None


@dataclass
class Account:
    """One peer's lines, and its arena as it was after the last of them, (P,) each."""

    initial: Vector
    known: Vector
    entries: list[Entry] = field(default_factory=list)
    uncertain: set[tuple[int, Moment]] = field(default_factory=set)  # a crash took it back


def as_vector(w: torch.Tensor) -> Vector:
    """A copy in float64."""
    return np.asarray(w.detach().cpu().numpy(), dtype=np.float64).copy()


class Ledger:
    """All peers' accounts of one net.

    Attributes:
        accounts: by peer.
        combines: exchanges of whole neighbourhoods that were checked.
        doubts: transfers that were held apart.
    """

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.combines = self.doubts = 0
        self._sent: dict[tuple[int, int, Moment], list[Vector]] = {}  # by sender, receiver

    def open(self, peer: int, w: torch.Tensor) -> None:
        """A peer is there for the first time."""
        self.accounts[peer] = Account(as_vector(w), as_vector(w))

    # --- what happens -----------------------------------------------------------------------------

    def changed(self, peer: int, w: torch.Tensor) -> None:
        """Whatever moved the arena since the last line was a local step."""
        account, now = self.accounts[peer], as_vector(w)
        if not np.array_equal(now, account.known):
            account.entries.append(Entry("local", now - account.known))
            account.known = now

    def sends(self, peer: int, effect: Combine, w: torch.Tensor) -> None:
        """What the peer sends to its neighbours."""
        value = as_vector(w)
        for k in effect.weights:
            self._sent.setdefault((peer, k, effect.moments[k]), []).append(value)

    def combined(
        self,
        peer: int,
        effect: Combine,
        absent: Iterable[int],
        held: Iterable[int],
        w: torch.Tensor,
    ) -> None:
        """A combine is over; ``absent`` includes those whose value is ``held`` apart.

        Raises:
            Violation: the arena moved by anything else than by what the others sent.
        """
        self.combines += 1
        account, now = self.accounts[peer], as_vector(w)
        used = sorted(effect.weights.keys() - set(absent))
        options = [self._changes(peer, k, effect) for k in used]
        moved = now - account.known
        chosen = _fitting(options, moved)
        if chosen is None:
            raise Violation(
                f"peer {peer}, round {min(effect.moments.values()).round + 1}: its net moved "
                f"by something else than what its neighbours {used} sent"
            )
        for k, change in zip(used, chosen, strict=True):
            account.entries.append(Entry(USED, change, k, effect.moments[k]))
        nothing = np.zeros_like(now)
        in_doubt = set(held)
        for k in sorted(set(absent) & effect.weights.keys() - in_doubt):
            account.entries.append(Entry(UNUSED, nothing, k, effect.moments[k]))
        rest = moved - sum(chosen, nothing)  # rounding, or the steps taken meanwhile
        account.entries.append(Entry("local" if effect.meanwhile else "rounding", rest))
        account.known = now

    def _changes(self, peer: int, k: int, effect: Combine) -> list[Vector]:
        """What ``k``'s value may add, (P,): one, but where k was started anew."""
        t, share = effect.moments[k], effect.weights[k]
        own = self._sent[peer, k, t][-1]
        return [share * (q - own) for q in reversed(self._sent.get((k, peer, t), []))]

    def jumped(self, peer: int, w: torch.Tensor) -> None:
        """A peer that was left behind has taken the others' mean."""
        account, now = self.accounts[peer], as_vector(w)
        account.entries.append(Entry("jump", now - account.known))
        account.known = now

    def held(self, peer: int, effect: Combine, k: int, change: torch.Tensor) -> None:
        """A neighbour's value is in doubt, and held apart."""
        self.doubts += 1
        if _fitting([self._changes(peer, k, effect)], as_vector(change)) is None:
            raise Violation(f"peer {peer} holds apart what peer {k} never sent")
        nothing = np.zeros(len(change))
        self.accounts[peer].entries.append(Entry(DOUBT, nothing, k, effect.moments[k]))

    def resolved(
        self, peer: int, k: int, t: Moment, status: str, change: torch.Tensor, w: torch.Tensor
    ) -> None:
        """What was held apart is used, or not, or given up; ``w`` is the arena thereafter."""
        account, now, expected = self.accounts[peer], as_vector(w), as_vector(change)
        if status != USED:
            expected = np.zeros_like(expected)
        moved = now - account.known
        if not _is_near(moved, expected, np.abs(now).max()):
            raise Violation(
                f"peer {peer}: what was in doubt with peer {k} in round {t.round + 1} is {status}, "
                "and its net did not move by that"
            )
        account.entries.append(Entry(status, expected, k, t))
        account.entries.append(Entry("rounding", moved - expected))
        account.known = now

    # --- crashes ----------------------------------------------------------------------------------

    def place(self, peer: int) -> int:
        """Where the account stands: what a checkpoint remembers."""
        return len(self.accounts[peer].entries)

    def take_back(self, peer: int, place: int, since: Moment, w: torch.Tensor) -> None:
        """The peer goes on from a checkpoint, whose arena is ``w``; its next exchange: ``since``.

        Whatever it was about to exchange, the neighbours may have used.
        """
        account = self.accounts[peer]
        lost = account.entries[place:]
        account.uncertain |= {(e.neighbour, e.t) for e in lost if e.t is not None}
        begun = {(k, t) for (p, k, t) in self._sent if p == peer and t >= since}
        account.uncertain |= begun
        del account.entries[place:]
        account.known = as_vector(w)

    # --- the end ----------------------------------------------------------------------------------

    def status(self, peer: int, neighbour: int) -> dict[Moment, tuple[str, Vector]]:
        """What became of every exchange, and what it added, (P,)."""
        found: dict[Moment, tuple[str, Vector]] = {}
        for entry in self.accounts[peer].entries:
            if entry.neighbour == neighbour and entry.t is not None:
                found[entry.t] = entry.kind, entry.change
        return found


def _fitting(options: list[list[Vector]], moved: Vector) -> list[Vector] | None:
    """One of each list, such that their sum is ``moved``, up to rounding."""
    if any(not each for each in options):
        return None
    for chosen in product(*options):
        size = max((np.abs(c).max() for c in chosen), default=0.0)
        if _is_near(moved, sum(chosen, np.zeros_like(moved)), size + np.abs(moved).max()):
            return list(chosen)
    return None


def _is_near(one: Vector, other: Vector, size: float) -> bool:
    return bool(np.abs(one - other).max() <= TOLERANCE * (1.0 + size))

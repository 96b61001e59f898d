"""What every peer did to its nets, entry by entry, so that no transfer is lost or made twice.

A net's arena moves for one of these reasons: a local change; a transfer, ``a_lk (q_l - q_k)``, that
an exchange used; a transfer used late, having been held apart; a jump, where a peer that was left
behind took the others' mean. The ledger keeps them in float64, by what the peers *sent*, and checks
each move of an arena against that. A crash takes back what came after the checkpoint.

Of nets of any size it keeps sketches (:mod:`sim.torture.books.sketch`), which add up as they do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch

from peer.effects import Combine, Moment
from sim.torture.books.sketch import Vector, sketch, spread_of_rounding

TOLERANCE = 1e-5
"""Of one combine's rounding in float32, beside the size of what is combined."""

USED, UNUSED, DOUBT, DROPPED = "used", "not used", "in doubt", "dropped"


class Violation(Exception):
    """A promise was broken."""


@dataclass(frozen=True)
class Swap:
    """What became of an exchange with a neighbour, and what it added to the net.

    ``is_guess``: it may have been another value of a neighbour that was started anew.
    """

    kind: str
    change: Vector
    neighbour: int
    t: Moment
    is_guess: bool = False


@dataclass(frozen=True)
class Place:
    """Where an account stood: what a checkpoint remembers."""

    swaps: int
    own: Vector
    known: Vector


@dataclass
class Account:
    """One peer's swaps, and sketches of its net.

    Attributes:
        own: the net that it would be by what it began with, local changes and jumps alone.
        known: the net as it was after the last entry.
        swaps: in their order.
        uncertain: exchanges that a crash took back, by neighbour.
    """

    own: Vector
    known: Vector
    swaps: list[Swap] = field(default_factory=list)
    uncertain: set[tuple[int, Moment]] = field(default_factory=set)

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(len(self.swaps), self.own.copy(), self.known)

    def by_neighbour(self) -> dict[int, dict[Moment, Swap]]:
        """What became of every exchange, with each neighbour."""
        found: dict[int, dict[Moment, Swap]] = defaultdict(dict)
        for swap in self.swaps:
            found[swap.neighbour][swap.t] = swap
        return found


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
        self.tolerance = TOLERANCE
        self._sent: dict[tuple[int, int, Moment], list[Vector]] = {}  # by sender, receiver

    def open(self, peer: int, w: torch.Tensor) -> None:
        """A peer is there for the first time."""
        value = sketch(w)
        self.tolerance = TOLERANCE * spread_of_rounding(len(w))
        self.accounts[peer] = Account(value.copy(), value)

    # --- what happens -----------------------------------------------------------------------------

    def changed(self, peer: int, w: torch.Tensor) -> None:
        """Whatever moved the arena since the last entry was a local step."""
        account, now = self.accounts[peer], sketch(w)
        account.own = account.own + (now - account.known)
        account.known = now

    jumped = changed
    """A peer that was left behind has taken the others' mean: a change of its own, too."""

    def sends(self, peer: int, effect: Combine, w: torch.Tensor) -> None:
        """What the peer sends to its neighbours."""
        value = sketch(w)
        for k in effect.weights:
            sent = self._sent.setdefault((peer, k, effect.moments[k]), [])
            if not sent or not np.array_equal(sent[-1], value):  # started anew, it may be the same
                sent.append(value)

    def begins(self, peer: int, effect: Combine) -> None:
        """The peer sends to its neighbours what only they can read."""
        for k in effect.weights:
            self._sent.setdefault((peer, k, effect.moments[k]), [])

    def combined(
        self,
        peer: int,
        effect: Combine,
        absent: Iterable[int],
        held: Iterable[int],
        w: torch.Tensor,
        decoded: Mapping[int, torch.Tensor] | None = None,
    ) -> None:
        """A combine is over; ``absent`` includes those whose value is ``held`` apart.

        ``decoded``: the changes (P,) by neighbour, where values are sent encoded.

        Raises:
            Violation: the arena moved by anything else than by what the others sent.
        """
        self.combines += 1
        account, now = self.accounts[peer], sketch(w)
        used = sorted(effect.weights.keys() - set(absent))
        if decoded is None:
            options = [self._changes(peer, k, effect) for k in used]
        else:
            options = [[sketch(decoded[k])] for k in used]
        moved = now - account.known
        if effect.meanwhile is None:
            chosen = self._fitting(options, moved)
        else:  # it moved by local steps, too, so that this is not to be checked here
            chosen = [each[0] for each in options] if all(options) else None
        if chosen is None:
            raise Violation(
                f"peer {peer}, round {min(effect.moments.values()).round + 1}: its net moved "
                f"by something else than what its neighbours {used} sent"
            )
        for k, change, each in zip(used, chosen, options, strict=True):
            is_guess = effect.meanwhile is not None and len(each) > 1
            account.swaps.append(Swap(USED, change, k, effect.moments[k], is_guess))
        if effect.meanwhile is not None:
            account.own = account.own + (moved - sum(chosen, np.zeros_like(now)))
        nothing = np.zeros_like(now)
        in_doubt = set(held)
        for k in sorted(set(absent) & effect.weights.keys() - in_doubt):
            account.swaps.append(Swap(UNUSED, nothing, k, effect.moments[k]))
        account.known = now

    def _changes(self, peer: int, k: int, effect: Combine) -> list[Vector]:
        """What ``k``'s value may add: one, but where k was started anew."""
        t, share = effect.moments[k], effect.weights[k]
        own = self._sent[peer, k, t][-1]
        return [share * (q - own) for q in reversed(self._sent.get((k, peer, t), []))]

    def held(self, peer: int, effect: Combine, k: int, change: torch.Tensor) -> None:
        """A neighbour's value is in doubt, and held apart.

        Raises:
            Violation: it is not what the neighbour sent.
        """
        self.doubts += 1
        is_known = bool(self._sent[peer, k, effect.moments[k]])  # and not encoded
        value = sketch(change)
        if is_known and self._fitting([self._changes(peer, k, effect)], value) is None:
            raise Violation(f"peer {peer} holds apart what peer {k} never sent")
        nothing = np.zeros_like(value)
        self.accounts[peer].swaps.append(Swap(DOUBT, nothing, k, effect.moments[k]))

    def resolved(
        self, peer: int, k: int, t: Moment, status: str, change: torch.Tensor, w: torch.Tensor
    ) -> None:
        """What was held apart is used, or not, or given up; ``w`` is the arena thereafter.

        Raises:
            Violation: the arena moved by anything else.
        """
        account, now, expected = self.accounts[peer], sketch(w), sketch(change)
        if status != USED:
            expected = np.zeros_like(expected)
        if not self._is_near(now - account.known, expected, np.abs(now).max()):
            raise Violation(
                f"peer {peer}: what was in doubt with peer {k} in round {t.round + 1} is {status}, "
                "and its net did not move by that"
            )
        account.swaps.append(Swap(status, expected, k, t))
        account.known = now

    # --- crashes ----------------------------------------------------------------------------------

    def take_back(
        self, peer: int, place: Place, since: Moment, w: torch.Tensor, is_exact: bool
    ) -> None:
        """The peer goes on from a checkpoint, whose arena is ``w``; its next exchange: ``since``.

        Whatever it was about to exchange, the neighbours may have used; if ``is_exact``, so does
        the peer then, once more.

        Raises:
            Violation: the checkpoint holds another net than was saved.
        """
        account, now = self.accounts[peer], sketch(w)
        if not np.array_equal(now, place.known):
            raise Violation(f"peer {peer}: its checkpoint holds another net than was saved")
        if not is_exact:
            account.uncertain |= {(each.neighbour, each.t) for each in account.swaps[place.swaps :]}
            account.uncertain |= {(k, t) for (p, k, t) in self._sent if p == peer and t >= since}
        del account.swaps[place.swaps :]
        account.own, account.known = place.own.copy(), now

    def _fitting(self, options: list[list[Vector]], moved: Vector) -> list[Vector] | None:
        """One of each list, such that their sum is ``moved``, up to rounding."""
        if any(not each for each in options):
            return None
        for chosen in product(*options):
            size = max((np.abs(c).max() for c in chosen), default=0.0)
            if self._is_near(moved, sum(chosen, np.zeros_like(moved)), size + np.abs(moved).max()):
                return list(chosen)
        return None

    def _is_near(self, one: Vector, other: Vector, size: float) -> bool:
        return bool(np.abs(one - other).max() <= self.tolerance * (1.0 + size))

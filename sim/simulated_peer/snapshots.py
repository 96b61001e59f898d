"""Values of arenas at a moment, copied only where the arena moves on before they are used."""

from __future__ import annotations

import weakref

import torch

from peer.state import Net


class Snapshot:
    """One arena's value at one moment.

    While the arena still holds it, this is the arena itself; it is copied only if somebody still
    needs it when the arena is about to change (:meth:`Snapshots.keep`).
    """

    def __init__(self, vector: torch.Tensor) -> None:
        self.tensor = vector  # (P,)
        self.is_live = True

    @classmethod
    def of_value(cls, value: torch.Tensor) -> Snapshot:
        """A value that lies in no arena, and that nobody changes."""
        snapshot = cls(value)
        snapshot.is_live = False
        return snapshot

    @property
    def nbytes(self) -> int:
        """Bytes that sending it takes."""
        return self.tensor.nbytes

    def keep(self) -> None:
        """The arena is about to change: hold a copy."""
        if self.is_live:
            self.tensor, self.is_live = self.tensor.clone(), False


class Snapshots:
    """The snapshots of one peer's nets that may still be needed."""

    def __init__(self) -> None:
        self._latest: dict[str, weakref.ref[Snapshot]] = {}

    def take(self, name: str, net: Net) -> Snapshot:
        """The value of ``net`` now: the same snapshot to all who ask before it changes."""
        known = self._latest.get(name)
        snapshot = known() if known else None
        if snapshot is None:
            snapshot = Snapshot(net.arena.vector)
            self._latest[name] = weakref.ref(snapshot)
        return snapshot

    def keep(self) -> None:
        """The peer's arenas may change from now on: copy what somebody still needs."""
        if not self._latest:
            return
        for known in self._latest.values():
            snapshot = known()
            if snapshot is not None:
                snapshot.keep()
        self._latest.clear()

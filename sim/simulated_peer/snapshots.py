"""Copy-on-write snapshots of arenas: copied only where the arena changes before they are used."""

from __future__ import annotations

import weakref

import torch

from peer.state import Net


class Snapshot:
    """One arena's value at one moment.

    As long as the arena still holds that value, this is the arena's own memory. Before the arena
    changes, :meth:`before_write` copies it, if somebody still needs it.

    Attributes:
        tensor: the value, (P,).
        is_live: whether ``tensor`` is the arena's own memory, not a copy.
    """

    def __init__(self, vector: torch.Tensor) -> None:
        self.tensor = vector
        self.is_live = True

    @classmethod
    def of_value(cls, value: torch.Tensor) -> Snapshot:
        """A value (P,) that lies in no arena, and that nobody changes."""
        snapshot = cls(value)
        snapshot.is_live = False
        return snapshot

    @property
    def nbytes(self) -> int:
        """Bytes that sending it takes."""
        return self.tensor.nbytes

    def before_write(self) -> None:
        """Copy the value: the arena is about to change."""
        if self.is_live:
            self.tensor, self.is_live = self.tensor.clone(), False


class Snapshots:
    """The snapshots of one peer's nets that may still be needed."""

    def __init__(self) -> None:
        self._latest: dict[str, weakref.ref[Snapshot]] = {}

    def of(self, name: str, net: Net) -> Snapshot:
        """The value of ``net`` now: one snapshot for all who ask before the net changes."""
        known = self._latest.get(name)
        snapshot = known() if known else None
        if snapshot is None:
            snapshot = Snapshot(net.arena.vector)
            self._latest[name] = weakref.ref(snapshot)
        return snapshot

    def before_write(self) -> None:
        """Copy the values that somebody still needs: the peer's arenas are about to change."""
        if not self._latest:
            return
        for known in self._latest.values():
            snapshot = known()
            if snapshot is not None:
                snapshot.before_write()
        self._latest.clear()

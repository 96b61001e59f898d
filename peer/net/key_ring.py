"""Whose public keys are let in, and by which key a neighbour is dialled.

A neighbour that is to change its key has two for a while: the one that it uses, and the one that it
is going to use. Both are let in until it has come by the new one; then the old one opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class KeyRing:
    """Public keys by neighbour; changed and asked by the I/O thread, asked by ZeroMQ's guard, too.

    Args:
        allowed: one key a neighbour.
    """

    def __init__(self, allowed: Mapping[int, bytes]) -> None:
        self._keys: dict[int, tuple[bytes, ...]] = {k: (key,) for k, key in allowed.items()}
        self._whose = {key: k for k, key in allowed.items()}

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the holder of ``key`` is a neighbour, in the form that zmq.auth asks."""
        return key in self._whose

    def who(self, key: bytes) -> int:
        """The neighbour that has that key; -1 for nobody."""
        return self._whose.get(key, -1)

    def used(self, neighbour: int) -> bytes:
        """The key that the neighbour uses, as far as is known."""
        return self._keys[neighbour][0]

    def knows(self, neighbour: int, key: bytes) -> bool:
        """Whether the neighbour is let in by that key."""
        return key in self._keys.get(neighbour, ())

    def expect(self, neighbour: int, key: bytes) -> None:
        """The neighbour has that key, or will; what it uses now is let in until it comes by it."""
        used = self._keys.get(neighbour, ())[:1]
        self._set(neighbour, used if used == (key,) else (*used, key))

    def replace(self, neighbour: int, key: bytes) -> None:
        """That neighbour is whoever holds that key, and nobody else."""
        self._set(neighbour, (key,))

    def came(self, neighbour: int, key: bytes) -> bool:
        """The neighbour has come by that key; returns whether it is another than before."""
        if self._keys.get(neighbour, ())[:1] == (key,):
            return False
        self._set(neighbour, (key,))
        return True

    def _set(self, neighbour: int, keys: Iterable[bytes]) -> None:
        self._keys[neighbour] = tuple(keys)
        self._whose = {key: k for k, keys in self._keys.items() for key in keys}

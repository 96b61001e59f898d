"""New keys for a peer that runs: read again at SIGHUP, or by ``peer reload``.

A neighbour's new key is let in beside the one that it uses, until it has come by it. A key of one's
own is changed once all neighbours that are there let it in: until then the old one is used. So
whoever changes a key may tell its neighbours in any order, and no exchange is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from peer.experiment import Experiment
from peer.net.keys import check_public, is_let_in, public_key, secret_of, take_next
from peer.runtime.process import PeerProcess
from topology.errors import UserError
from topology.membership import FAR

EVERY = 5.0
"""Seconds between two looks whether all neighbours let a new key in."""


class Reloading:
    """Takes up what an experiment file says of keys; nothing else of it may change.

    Args:
        process: the peer's.
        folder: of secret keys.
        read: reads the file.
    """

    def __init__(self, process: PeerProcess, folder: Path, read: Callable[[], Experiment]) -> None:
        self.process = process
        self.folder = folder
        self.me = process.state.peer
        self._read = read
        self._lock = threading.Lock()
        self._waiting: threading.Thread | None = None  # for neighbours to let our new key in
        self._wanted = ""

    def reload(self) -> str:
        """Read the file again; returns what is new, in words.

        Raises:
            UserError: it cannot be read, or its keys cannot be used.
        """
        keys = self._read().keys
        with self._lock:
            security = self.process.io.sockets.security
            if security is None:
                if keys:
                    raise UserError("keys: links have none in this run; start the peers anew")
                return "nothing to read again: links have no keys"
            for k, key in keys.items():
                check_public(key, f"keys.{k}")
            said = [*self._expect(keys), *self._change_own(keys, security.public.decode())]
        return "; ".join(said) or "no key is another one"

    def at_signal(self) -> None:
        """The same at SIGHUP; what is wrong is a line in the log, and the peer goes on."""
        try:
            self.process.log(f"SIGHUP: {self.reload()}")
        except UserError as problem:
            self.process.log(f"SIGHUP: nothing was changed: {problem}")

    def _expect(self, keys: dict[int, str]) -> list[str]:
        """Let neighbours' new keys in."""
        ring, said = self.process.io.sockets.keys, []
        for k in sorted(self.process.io.endpoint.links):
            key = keys.get(k, "").encode()
            if key and not ring.knows(k, key):
                self.process.io.expect(k, key)
                said.append(f"peer {k} may come by a new key")
        return said

    def _change_own(self, keys: dict[int, str], used: str) -> list[str]:
        """Change our own key, as soon as all neighbours let the new one in."""
        wanted = keys.get(self.me, used)
        if wanted == used or (wanted == self._wanted and self._waiting is not None):
            return []
        found = secret_of(self.me, self.folder, wanted)
        if found is None:
            raise UserError(
                f"keys.{self.me}: {self.folder} holds no secret of that public key; run 'peer keys "
                f"--id {self.me} --rotate' there and copy the line it prints"
            )
        self._wanted = wanted
        self._waiting = threading.Thread(
            target=self._change, args=(wanted, found[0]), name="new key", daemon=True
        )
        self._waiting.start()
        return ["our own key changes as soon as all neighbours let the new one in"]

    def _change(self, public: str, secret: bytes) -> None:
        """Knock at all neighbours' doors with the new pair until they open; then take it."""
        told: list[int] | None = None
        while lacking := self._refusing(public.encode(), secret):
            if lacking != told:
                who = ", ".join(map(str, lacking))
                self.process.log(f"new key: not let in yet by peers {who}; using the old one")
                told = lacking
            if self.process.finished.wait(EVERY):
                return
        if public_key(secret) != public_key(self._in_use()):
            take_next(self.me, self.folder)
        self.process.io.take_keys(public.encode(), secret)
        self.process.log("new key: all neighbours let it in; it is used from now on")

    def _in_use(self) -> bytes:
        """The secret that a start would take."""
        return (self.folder / f"peer-{self.me}.secret").read_bytes().strip()

    def _refusing(self, public: bytes, secret: bytes) -> list[int]:
        """The neighbours that are there, or may come back, and do not let that key in."""
        io = self.process.io
        found = []
        for k in sorted(io.endpoint.links):
            if io.members.departure(k, FAR) is not None or io.status.phases.get(k) == "left":
                continue
            address = io.sockets.dialled.get(k)
            server = io.sockets.keys.used(k)
            if address is None or not is_let_in(address, server, public, secret):
                found.append(k)
        return found

"""What of an election must outlive a process: its ballot, and the newest state of a host."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from peer.standby.election.messages import BEGINNING, Ballot, Position
from peer.state.checkpoint import write_json, write_whole
from peer.state.disk import REAL, Disk
from topology.errors import UserError

_HEAD = struct.Struct(">QQ32s")  # term, round, digest of the content


class Store:
    """A folder with a ballot and a state in it; either is replaced whole, or not at all.

    Used by the election's thread and by the compute thread.

    Args:
        folder: the process's own.
        tell: gets a line where what is there is damaged.
        disk: on which the folder is.

    Attributes:
        ballot: as it is on the disk.
        held: what ``content`` is the state after.
        content: the newest state, in a checkpoint's bytes; empty: what the seed says.

    Raises:
        UserError: the ballot is damaged: whom this process has voted for is not known any more.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None], disk: Disk = REAL) -> None:
        self.folder = folder
        self.disk = disk
        self._lock = threading.Lock()
        self.ballot = self._read_ballot()
        self.held, self.content = self._read_state(tell)

    def save_ballot(self, ballot: Ballot) -> None:
        """Have it on the disk. Raises OSError where the disk does not."""
        if ballot != self.ballot:
            said = {"term": ballot.term, "vote": ballot.vote, "known": list(ballot.known)}
            write_json(self._ballot_path, said, disk=self.disk)
            self.ballot = ballot

    def save_state(self, held: Position, content: bytes) -> None:
        """Have it on the disk, unless what is there is newer. Raises OSError as above."""
        with self._lock:
            if held > self.held:
                head = _HEAD.pack(*held, _digest(held, content))
                write_whole(self._state_path, head + content, disk=self.disk)
                self.held, self.content = held, content

    @property
    def _ballot_path(self) -> Path:
        return self.folder / "ballot.json"

    @property
    def _state_path(self) -> Path:
        return self.folder / "state"

    def _read_ballot(self) -> Ballot:
        try:
            with self.disk.open(self._ballot_path) as file:
                said = json.loads(file.read())
            return Ballot(int(said["term"]), said["vote"], Position(*map(int, said["known"])))
        except FileNotFoundError:
            return Ballot()
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise UserError(
                f"{self._ballot_path}: it cannot be read ({problem}), and whom this process has "
                "voted for must be known; if no server is elected meanwhile, remove it"
            ) from None

    def _read_state(self, tell: Callable[[str], None]) -> tuple[Position, bytes]:
        try:
            with self.disk.open(self._state_path) as file:
                found = file.read()
        except FileNotFoundError:
            return BEGINNING, b""
        except OSError as problem:
            raise UserError(f"{self._state_path}: {problem.strerror}") from None
        content = found[_HEAD.size :]
        if len(found) >= _HEAD.size:
            term, round, digest = _HEAD.unpack(found[: _HEAD.size])
            if _digest(Position(term, round), content) == digest:
                return Position(term, round), content
        tell(f"{self._state_path} is damaged, and left out: the server's state comes from others")
        return BEGINNING, b""


def _digest(held: Position, content: bytes) -> bytes:
    digest = hashlib.blake2b(_HEAD.pack(*held, b""), digest_size=32)
    digest.update(content)
    return digest.digest()

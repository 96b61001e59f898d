"""Where a simulation begins that asks what would have been: at a round of another run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peer.compute.held_transfers import HeldTransfers
from peer.experiment import Experiment
from peer.state import PeerState, SavedState
from peer.state.checkpoint import newest_checkpoint, saved_rounds, write_json
from sim.records.reader import peer_folders
from sim.runs.checkpoints import RECORDS, Start, cut_records_back
from topology.errors import UserError

FILE = "whatif.json"
"""In the new run's folder: the run that it comes from, the round, and what was changed."""

FIXED = {
    "peers": "the states are of so many peers",
    "gan": "the nets are the run's",
    "init": "the nets are the run's",
    "conditional": "the nets are the run's",
    "ema": "the average is one of the run's nets",
    "data": "what each peer holds is part of its state",
    "seed": "what each peer holds follows from it, and its random streams go on",
}
"""Keys that cannot change in the middle of a run, and why."""


@dataclass(frozen=True)
class Origin:
    """A round of a run, which another simulation goes on from.

    Attributes:
        folder: of the run.
        round: that all its peers had completed.
        states: of its peers after that round.
        totals: what the run's records had added up by then, by peer, where that is known.
        changes: ``key=value`` of what differs from the run.
        tell: gets a line for what is not taken along.
    """

    folder: Path
    round: int
    states: Mapping[int, SavedState]
    totals: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    changes: Sequence[str] = ()
    tell: Callable[[str], None] = print

    def enter(self, states: Mapping[int, PeerState]) -> Start:
        """Put ``states``, just made, where the run had them.

        Raises:
            UserError: a peer's state is of other nets, optimizers or data.
        """
        for k, state in states.items():
            try:
                state.load(self.states[k])
            except ValueError as problem:
                raise UserError(
                    f"{self.folder} cannot be gone on from with these changes: peer {k}: {problem}"
                ) from None
            held = HeldTransfers(state)
            for neighbour in held.held():
                held.drop(neighbour)
                self.tell(f"peer {k}: what was in doubt with peer {neighbour} is left out")
        nothing: dict[str, Any] = {"now": 0.0, "gone": False, "bytes_in": 0, "bytes_out": 0}
        nothing |= {"missed": {}, "participants": []}
        peers = {k: nothing | dict(self.totals.get(k, {})) for k in states}
        return Start(self.round, peers=peers)

    def write(self, folder: Path) -> None:
        """Note in the new run's folder where it comes from; a simulation's records so far go along.

        Raises:
            OSError: it cannot be written.
        """
        note = {"run": os.path.relpath(self.folder, folder), "round": self.round}
        write_json(folder / FILE, note | {"changes": list(self.changes)})
        for pattern in RECORDS:
            for path in self.folder.glob(pattern):
                shutil.copyfile(path, folder / path.name)
        cut_records_back(folder, self.round)


def check_may_change(was: Experiment, now: Experiment) -> None:
    """Refuse changes of what a run's states are made of.

    Raises:
        UserError: naming the key, and why it cannot change.
    """
    ours, theirs = now.resolved(), was.resolved()
    for keys in (ours, theirs):
        keys["data"].pop("path", None)  # the same images may lie elsewhere
    for key, why in FIXED.items():
        if ours.get(key) != theirs.get(key):
            raise UserError(f"--set {key}: cannot change in the middle of a run: {why}")
    if now.algorithm.name != was.algorithm.name:
        raise UserError(
            "--set algorithm.name: cannot change in the middle of a run: peers' states hold what "
            f"'{was.algorithm.name}' keeps"
        )
    for role in ("generator", "discriminator"):
        if now.optimizer_for(role).name != was.optimizer_for(role).name:
            raise UserError(
                "--set optimizer: its kind cannot change in the middle of a run: the moments are "
                f"those of '{was.optimizer_for(role).name}'; its settings can"
            )


def common_checkpoints(folder: Path, peers: int) -> list[int]:
    """The rounds of which all peers of a run have a checkpoint, newest first."""
    folders = peer_folders(folder, peers)
    if len(folders) < peers:
        return []
    rounds = [set(saved_rounds(of)) for of in folders.values()]
    return sorted(set.intersection(*rounds), reverse=True)


def from_checkpoints(
    folder: Path, peers: int, round: int
) -> tuple[dict[int, SavedState], dict[int, Mapping[str, Any]]]:
    """The states of all peers in their checkpoints of that round, and the records' totals.

    Raises:
        UserError: one is damaged.
    """
    states: dict[int, SavedState] = {}
    totals: dict[int, Mapping[str, Any]] = {}
    for k, of in peer_folders(folder, peers).items():
        found = newest_checkpoint(of, round)
        if found is None:
            raise UserError(f"{folder}: the checkpoint of round {round} of peer {k} is damaged")
        states[k] = found.saved
        if "now" in found.totals:  # a simulation's
            totals[k] = found.totals
    return states, totals

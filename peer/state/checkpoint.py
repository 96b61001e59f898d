"""A peer's disk: checkpoints that are whole or not there, and generators that anybody can load.

A checkpoint says of which peer, round and experiment it is. One that is damaged, be it by one bit,
is set aside as ``*.damaged`` and an older one is taken; one of another experiment is refused.

A power cut leaves the old file or the new one (:mod:`peer.state.disk`). Only safetensors is read:
nothing on a disk is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from safetensors.torch import load as tensors_in
from torch import nn

from peer.experiment.traits import differences
from peer.state import PeerState, SavedState
from peer.state.disk import REAL, Disk, remove_parts, replacing
from topology.errors import UserError

KEPT = 3
"""How many checkpoints are kept: where the newest is damaged, an older one is read."""

NAME = re.compile(r"checkpoint-([0-9]+)\.safetensors")


def write_whole(path: Path, content: bytes, *, durable: bool = True, disk: Disk = REAL) -> None:
    """Replace ``path`` by ``content``, all at once; if ``durable``, it is on the disk then."""
    with replacing(path, durable=durable, disk=disk) as file:
        file.write(content)


def write_json(path: Path, value: Any, *, durable: bool = True, disk: Disk = REAL) -> None:
    """Write ``value`` as a JSON file, whole or not at all."""
    content = (json.dumps(value, indent=2) + "\n").encode()
    write_whole(path, content, durable=durable, disk=disk)


def save_generator(
    tensors: Mapping[str, torch.Tensor], path: Path, *, durable: bool = True, disk: Disk = REAL
) -> None:
    """Save a net's state dict as safetensors: usable without hearsay."""
    # As NumPy's arrays, which may share memory, as views of an arena do.
    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in tensors.items()}
    write_whole(path, safetensors.numpy.save(arrays), durable=durable, disk=disk)


def load_generator(module: nn.Module, path: Path) -> None:
    """Load what :func:`save_generator` wrote into a module of the same kind."""
    module.load_state_dict(safetensors.torch.load_file(path))


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, read and found sound.

    Attributes:
        path: where it was read.
        round: completed in it.
        saved: the peer's state.
        traits: of the experiment that it is of (see :mod:`peer.experiment.traits`).
        totals: what the run's records had added up by then.
    """

    path: Path
    round: int
    saved: SavedState
    traits: Mapping[str, Any] = field(default_factory=dict)
    totals: Mapping[str, Any] = field(default_factory=dict)


def save_state(
    state: PeerState,
    folder: Path,
    traits: Mapping[str, Any] | None = None,
    totals: Mapping[str, Any] | None = None,
    *,
    durable: bool = True,
    disk: Disk = REAL,
) -> Path:
    """Write ``state`` as ``folder/checkpoint-<round>.safetensors``; keep the newest three.

    Of later rounds there is none any more: a run that goes on from here has given them up.

    Raises:
        OSError: it could not be written; the older ones are still there.
    """
    path = checkpoint_path(folder, state.round)
    write_whole(path, content_of(state, traits, totals), durable=durable, disk=disk)
    found = saved_rounds(folder, disk)
    kept = [round for round in found if round <= state.round][:KEPT]
    for round in found:
        if round not in kept:
            remove_checkpoint(folder, round, disk)
    if durable and any(round > state.round for round in found):
        disk.sync_folder(folder)  # a power cut must not bring back what was given up as the newest
    return path


def content_of(
    state: PeerState, traits: Mapping[str, Any] | None, totals: Mapping[str, Any] | None
) -> bytes:
    """The bytes of a checkpoint of ``state``."""
    saved = state.dump()
    metadata = {
        "facts": saved.facts.hex(),
        "traits": json.dumps(traits or {}),
        "totals": json.dumps(totals or {}),
    }
    metadata["blake2b"] = _digest(saved, metadata)
    return safetensors.torch.save(saved.tensors, metadata)


def load_state(
    state: PeerState,
    folder: Path,
    traits: Mapping[str, Any] | None = None,
    *,
    at: int | None = None,
    anyway: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    disk: Disk = REAL,
) -> Checkpoint | None:
    """Put ``state`` where the newest undamaged checkpoint of ``folder`` left it.

    What was being written when the peer was cut off is taken away.

    Args:
        state: just made; it is changed as a whole, or not at all.
        folder: the peer's own, and nobody else writes into it.
        traits: of the experiment at hand; the checkpoint's must be the same.
        at: the round of the checkpoint to take, instead of the newest.
        anyway: take one of another experiment, too, if the state fits.
        tell: gets a line for each damaged checkpoint that is set aside, and each difference.
        disk: on which the folder is.

    Returns:
        The checkpoint; None where there is none.

    Raises:
        UserError: it is another peer's or another experiment's.
    """
    remove_parts(folder, disk=disk)
    checkpoint = newest_checkpoint(folder, at, tell, disk)
    if checkpoint is None:
        return None
    different = differences(checkpoint.traits, traits or {})
    if different and not anyway:
        raise UserError(
            f"{checkpoint.path}: it is of another experiment: {'; '.join(different)} (give the "
            "same file, start anew with --fresh, or say --resume-anyway)"
        )
    try:
        state.load(checkpoint.saved)
    except ValueError as problem:
        why = "; ".join([str(problem), *different])
        raise UserError(f"{checkpoint.path}: cannot be gone on from: {why}") from None
    for each in different:
        tell(f"going on all the same: {each}")
    return checkpoint


def newest_checkpoint(
    folder: Path,
    at: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
    disk: Disk = REAL,
) -> Checkpoint | None:
    """The newest sound checkpoint of ``folder``, or that of round ``at``; None if there is none."""
    for round in saved_rounds(folder, disk):
        if at not in (None, round):
            continue
        path = checkpoint_path(folder, round)
        checkpoint = read_checkpoint(path, disk)
        if checkpoint is not None:
            return checkpoint
        aside = path.with_name(f"{path.name}.damaged")
        try:
            disk.rename(path, aside)
            tell(f"{path} is damaged; set aside as {aside.name}")
        except OSError as problem:
            tell(f"{path} is damaged, and cannot be set aside ({problem.strerror})")
    return None


def recalled(
    folder: Path,
    tell: Callable[[Checkpoint], None] = lambda checkpoint: None,
    disk: Disk = REAL,
) -> Iterator[SavedState]:
    """The states in the undamaged checkpoints of ``folder``, newest first; each is told before."""
    for round in saved_rounds(folder, disk):
        checkpoint = read_checkpoint(checkpoint_path(folder, round), disk)
        if checkpoint is not None:
            tell(checkpoint)
            yield checkpoint.saved


def saved_rounds(folder: Path, disk: Disk = REAL) -> list[int]:
    """The rounds of a folder's checkpoints, newest first; damaged ones that were found are not."""
    found = map(NAME.fullmatch, disk.names(folder))
    return sorted((int(name[1]) for name in found if name), reverse=True)


def checkpoint_path(folder: Path, round: int) -> Path:
    """Where the checkpoint of that round is, or would be."""
    return folder / f"checkpoint-{round:08d}.safetensors"


def remove_checkpoint(folder: Path, round: int, disk: Disk = REAL) -> None:
    """Take the checkpoint of that round away, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        disk.remove(checkpoint_path(folder, round))


def read_checkpoint(path: Path, disk: Disk = REAL) -> Checkpoint | None:
    """The checkpoint in ``path``; None where the file is damaged, be it by one bit."""
    try:
        with disk.open(path) as file:
            content = file.read()
        tensors, metadata = tensors_in(content), _metadata(content)
        saved = SavedState(tensors, bytes.fromhex(metadata["facts"]))
        if _digest(saved, metadata) != metadata["blake2b"]:
            return None
        traits, totals = json.loads(metadata["traits"]), json.loads(metadata["totals"])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        return None
    return Checkpoint(path, saved.round, saved, traits, totals)


def _metadata(content: bytes) -> dict[str, str]:
    """What a safetensors file, found to be one, says beside its tensors."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return metadata


def _digest(saved: SavedState, metadata: Mapping[str, str]) -> str:
    digest = hashlib.blake2b(saved.facts, digest_size=32)
    digest.update(f"{metadata['traits']}\n{metadata['totals']}".encode())
    for name, tensor in sorted(saved.tensors.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def common_round(
    run_dir: Path, peers: int, tell: Callable[[str], None], but: int | None = None
) -> int | None:
    """The newest round that every peer ``but`` one has saved soundly; None where there is none."""
    folders = [run_dir / f"peer-{peer}" for peer in range(peers) if peer != but]
    while True:
        rounds = [set(saved_rounds(folder)) for folder in folders]
        common = set.intersection(*rounds)
        if not common:
            return None
        newest = max(common)
        if all(newest_checkpoint(folder, newest, tell) for folder in folders):
            return newest  # else one is damaged, and is not among them any more

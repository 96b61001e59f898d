"""A peer's disk: checkpoints that are whole or not there, and generators that anybody can load.

A checkpoint says of which peer, round and experiment it is. One that is damaged, be it by one bit,
is set aside as ``*.damaged`` and an older one is taken; one of another experiment is refused.

Files are written beside their place, flushed to the disk, renamed, and the folder flushed: a power
cut leaves the old file or the new one. Only safetensors is read: nothing on a disk is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

from peer.experiment.traits import differences
from peer.state import PeerState, SavedState
from topology.errors import UserError

KEPT = 3
"""How many checkpoints are kept: where the newest is damaged, an older one is read."""

PATTERN = "checkpoint-*.safetensors"


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace ``path`` by ``content``, all at once; if ``durable``, it is on the disk then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: peers of one machine may write the same file at the same time.
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as problem:
        Path(beside).unlink(missing_ok=True)
        if isinstance(problem, OSError) and problem.filename is None:
            problem.filename = str(path)  # a descriptor's problem does not tell whose
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write ``value`` as a JSON file, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode(), durable=durable)


def save_generator(
    tensors: Mapping[str, torch.Tensor], path: Path, *, durable: bool = True
) -> None:
    """Save a net's state dict as safetensors: usable without hearsay."""
    # As NumPy's arrays, which may share memory, as views of an arena do.
    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in tensors.items()}
    write_whole(path, safetensors.numpy.save(arrays), durable=durable)


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
) -> Path:
    """Write ``state`` as ``folder/checkpoint-<round>.safetensors``; keep the newest three.

    Of later rounds there is none any more: a run that goes on from here has given them up.

    Raises:
        OSError: it could not be written; the older ones are still there.
    """
    saved = state.dump()
    path = checkpoint_path(folder, state.round)
    metadata = {
        "facts": saved.facts.hex(),
        "traits": json.dumps(traits or {}),
        "totals": json.dumps(totals or {}),
    }
    metadata["blake2b"] = _digest(saved, metadata)
    write_whole(path, safetensors.torch.save(saved.tensors, metadata), durable=durable)
    kept = [round for round in saved_rounds(folder) if round <= state.round][:KEPT]
    for round in saved_rounds(folder):
        if round not in kept:
            checkpoint_path(folder, round).unlink(missing_ok=True)
    return path


def load_state(
    state: PeerState,
    folder: Path,
    traits: Mapping[str, Any] | None = None,
    *,
    at: int | None = None,
    anyway: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Checkpoint | None:
    """Put ``state`` where the newest undamaged checkpoint of ``folder`` left it.

    Args:
        state: just made; it is changed as a whole, or not at all.
        folder: the peer's own.
        traits: of the experiment at hand; the checkpoint's must be the same.
        at: the round of the checkpoint to take, instead of the newest.
        anyway: take one of another experiment, too, if the state fits.
        tell: gets a line for each damaged checkpoint that is set aside, and each difference.

    Returns:
        The checkpoint; None where there is none.

    Raises:
        UserError: it is another peer's or another experiment's.
    """
    checkpoint = newest_checkpoint(folder, at, tell)
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
    folder: Path, at: int | None = None, tell: Callable[[str], None] = lambda line: None
) -> Checkpoint | None:
    """The newest sound checkpoint of ``folder``, or that of round ``at``; None if there is none."""
    for round in saved_rounds(folder):
        if at not in (None, round):
            continue
        path = checkpoint_path(folder, round)
        checkpoint = read_checkpoint(path)
        if checkpoint is not None:
            return checkpoint
        aside = path.with_name(f"{path.name}.damaged")
        try:
            path.replace(aside)
            tell(f"{path} is damaged; set aside as {aside.name}")
        except OSError as problem:
            tell(f"{path} is damaged, and cannot be set aside ({problem.strerror})")
    return None


def recalled(
    folder: Path, tell: Callable[[Checkpoint], None] = lambda checkpoint: None
) -> Iterator[SavedState]:
    """The states in the undamaged checkpoints of ``folder``, newest first; each is told before."""
    for round in saved_rounds(folder):
        checkpoint = read_checkpoint(checkpoint_path(folder, round))
        if checkpoint is not None:
            tell(checkpoint)
            yield checkpoint.saved


def saved_rounds(folder: Path) -> list[int]:
    """The rounds of a folder's checkpoints, newest first; damaged ones that were found are not."""
    found = []
    for path in folder.glob(PATTERN):
        digits = path.name.removeprefix("checkpoint-").removesuffix(".safetensors")
        if digits.isdecimal():
            found.append(int(digits))
    return sorted(found, reverse=True)


def checkpoint_path(folder: Path, round: int) -> Path:
    """Where the checkpoint of that round is, or would be."""
    return folder / f"checkpoint-{round:08d}.safetensors"


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint in ``path``; None where the file is damaged, be it by one bit."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        saved = SavedState(tensors, bytes.fromhex(metadata["facts"]))
        if _digest(saved, metadata) != metadata["blake2b"]:
            return None
        traits, totals = json.loads(metadata["traits"]), json.loads(metadata["totals"])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        return None
    return Checkpoint(path, saved.round, saved, traits, totals)


def _digest(saved: SavedState, metadata: Mapping[str, str]) -> str:
    digest = hashlib.blake2b(saved.facts, digest_size=32)
    digest.update(f"{metadata['traits']}\n{metadata['totals']}".encode())
    for name, tensor in sorted(saved.tensors.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()

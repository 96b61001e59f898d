"""A peer's files: checkpoints, and generators that load without hearsay.

A file is written under a temporary name, flushed to the disk and renamed, and the folder is
flushed, so that a power cut leaves the old file or the new one, never a part. Only safetensors is
read, so nothing from a disk is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

from peer.state import PeerState, SavedState

KEPT = 3
"""How many checkpoints are kept: where the newest is damaged, an older one is read."""


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace ``path`` by ``content`` atomically; if ``durable``, return when it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A random name: peers of one machine may write the same file at the same time.
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write ``value`` as a JSON file, atomically."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode(), durable=durable)


def save_generator(
    tensors: Mapping[str, torch.Tensor], path: Path, *, durable: bool = True
) -> None:
    """Save a net's state dict as safetensors: usable without hearsay."""
    # As NumPy arrays, which may share memory as views of an arena do; safetensors.torch refuses it.
    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in tensors.items()}
    write_whole(path, safetensors.numpy.save(arrays), durable=durable)


def load_generator(module: nn.Module, path: Path) -> None:
    """Load what :func:`save_generator` wrote into a module of the same kind."""
    module.load_state_dict(safetensors.torch.load_file(path))


def save_state(state: PeerState, folder: Path) -> Path:
    """Write ``state`` as ``folder/checkpoint-<round>.safetensors``; keep the newest three."""
    saved = state.dump()
    path = folder / f"checkpoint-{state.round:08d}.safetensors"
    metadata = {"facts": saved.facts.hex(), "blake2b": _digest(saved)}
    write_whole(path, safetensors.torch.save(saved.tensors, metadata))
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_state(state: PeerState, folder: Path) -> bool:
    """Put ``state`` where the newest undamaged checkpoint of ``folder`` left it.

    Returns whether there was one. Damaged files are passed over.
    """
    for path in _newest_first(folder):
        saved = _read(path)
        if saved is None:
            continue
        try:
            state.load(saved)
        except (ValueError, KeyError, RuntimeError):
            continue  # of another experiment: other nets or another peer
        return True
    return False


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.safetensors"), reverse=True)


def _read(path: Path) -> SavedState | None:
    """The state in ``path``; None where the file is damaged, be it by one bit."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        saved = SavedState(tensors, bytes.fromhex(metadata["facts"]))
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        return None
    return saved if _digest(saved) == metadata["blake2b"] else None


def _digest(saved: SavedState) -> str:
    digest = hashlib.blake2b(saved.facts, digest_size=32)
    for name, tensor in sorted(saved.tensors.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()

"""Where images come from: a table of sources, and the one way from each of them to `Images`.

A source only finds: how many images there are, how to read them, what labels stand beside them.
Classes, the limit, ranges, channels and sizes mean the same for all, and are worked out here.
Pixels stay as small as their source has them; `Images.take` makes floats of those asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from peer.data.classes import (
    by_number_then_text,
    first_in_turn,
    fit_classes,
    keep_present,
    number_classes,
    shown,
)
from peer.data.description import refuse_mixture
from peer.data.formats.arrays import find_cifar10, find_npz, in_range, reader
from peer.data.formats.digits import read_digits
from peer.data.formats.folder import find_pictures
from peer.data.formats.hub import find_on_hub
from peer.data.formats.idx import PREFIXES, find_file, read_idx
from peer.data.images import Found, Images
from peer.data.spec import DataSpec, Own
from peer.data.synthetic import make_images
from topology.errors import UserError, note

__all__ = ["SOURCES", "Images", "common_classes", "load_source", "public_digits", "resolve_path"]


def load_source(spec: DataSpec, peer_id: int | None = None, folder: Path | None = None) -> Images:
    """Load the images that `spec` names, `spec.limit` of them where that is set.

    Args:
        spec: the experiment's `data`.
        peer_id: replaces `{id}` in `spec.path`.
        folder: where a relative path starts; the working directory by default.

    Raises:
        UserError: nothing at the path, or not what the source reads.
    """
    found = _find(spec, peer_id, folder)
    kept, labels, names = _classify(spec, found)
    pixels = found.read(kept)
    if isinstance(spec.classes, tuple):
        if labels is None:
            raise UserError(
                f"data.classes: {found.name} has no labels; give it some (folder: one folder a "
                "class, npz: an array `labels`), or leave data.classes out"
            )
        labels, names = fit_classes(labels, names, spec.classes, found.name)
    unit, offset = found.unit, -1.0
    if unit is None:
        pixels, unit, offset = in_range(pixels, spec.range, found.where)
    images = Images(pixels, labels, found.name, unit, offset, names)
    if spec.channels is not None and images.shape[0] != spec.channels:
        images = replace(images, pixels=_recolour(images.pixels, spec.channels, found.name))
    if spec.size is not None and images.shape[1:] != (spec.size, spec.size):
        pixels = images.pixels if images.unit == 127.5 else images.pixels.astype(np.float32)
        images = replace(images, pixels=resize(pixels, spec.size))
    return images


def common_classes(
    spec: DataSpec, peers: Iterable[int], folder: Path | None = None
) -> tuple[str, ...] | None:
    """The classes that several peers' own images have together, in order of number, then of text.

    None where `data.classes` says them, or where nobody's images have labels.

    Raises:
        UserError: a peer's images are not here, or have no labels where others' have.
    """
    if spec.source == "synthetic" or isinstance(spec.classes, tuple):
        return None
    named = {k: _classify(spec, _find(spec, k, folder))[1:] for k in peers}
    labelled = {k: labels is not None for k, (labels, _) in named.items()}
    refuse_mixture(labelled)
    if not any(labelled.values()):
        return None
    return tuple(sorted({x for _, names in named.values() for x in names}, key=by_number_then_text))


def _find(spec: DataSpec, peer_id: int | None, folder: Path | None) -> Found:
    path = None
    if spec.path and spec.source != "hub":
        path = resolve_path(spec.path, peer_id, folder)
    return SOURCES[spec.source](spec, path, peer_id)


def _classify(
    spec: DataSpec, found: Found
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None, tuple[str, ...]]:
    """Which images a limit keeps (None: all), and their classes: numbers, and names of those."""
    labels, names = (None, ()) if found.labels is None else number_classes(found)
    kept = None
    if spec.limit is not None and spec.limit < found.count:
        kept = first_in_turn(labels, found.count, spec.limit)
    if labels is None or kept is None:
        return kept, labels, names
    labels, present = keep_present(labels[kept], names)
    lost = [name for name in names if name not in present]
    if lost:
        note(
            f"data.limit: {spec.limit} images leave out {len(lost)} of {len(names)} classes "
            f"({shown(lost)}); raise it to {len(names)} to have one of each"
        )
    return kept, labels, present


def resolve_path(path: str, peer_id: int | None = None, folder: Path | None = None) -> Path:
    """Return `path` with `{id}` and `~` filled in, starting at `folder` where it is relative.

    Raises:
        UserError: `{id}` without a peer, or `~` without a home folder.
    """
    if "{id}" in path:
        if peer_id is None:
            raise UserError(
                f"data.path: {path} is each peer's own, and no peer was named; "
                "name one, or give a path without {id}"
            )
        path = path.replace("{id}", str(peer_id))
    if "\0" in path:
        raise UserError(f"data.path: {path!r} holds a null byte; write the path as it is")
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"data.path: {path} has no home folder to start from; write it out in full"
        ) from None
    found = (folder or Path()) / expanded
    try:
        found.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # each source says what it would need there
    except OSError as problem:
        raise UserError(f"data.path: {found} cannot be read: {problem.strerror}") from None
    return found


def public_digits(height: int, width: int) -> NDArray[np.float64]:
    """The embedded digits, which anybody may know, resized: (1797, height, width) in [0, 1]."""
    digits = torch.from_numpy(read_digits()[0] / 16)  # (n, 8, 8)
    resized = torch.nn.functional.interpolate(
        digits[:, None], size=(height, width), mode="bilinear"
    )
    return np.asarray(resized[:, 0].numpy())


def resize(pixels: NDArray[Any], size: int) -> NDArray[Any]:
    """Images (n, c, h, w) as squares of ``size``: the middle, scaled bilinearly."""
    n, c, h, w = pixels.shape
    if (h, w) == (size, size):
        return pixels
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    out = np.empty((n, c, size, size), dtype=pixels.dtype)
    for start in range(0, n, 1024):
        part = pixels[start : start + 1024, :, top : top + side, left : left + side]
        scaled = torch.nn.functional.interpolate(
            torch.from_numpy(part.astype(np.float32)),
            size=(size, size),
            mode="bilinear",
            antialias=True,
        ).numpy()
        if pixels.dtype == np.uint8:
            scaled = np.clip(np.rint(scaled), 0, 255)
        out[start : start + 1024] = scaled
    return out


def _recolour(pixels: NDArray[Any], channels: int, name: str) -> NDArray[Any]:
    """Images (n, 1 or 3, h, w) with the channels asked for; grey is luma, as Pillow's (BT.601)."""
    found = pixels.shape[1]
    if found not in (1, 3):
        raise UserError(
            f"data.channels: {name} has {found} channels, which are neither grey (1) nor colour "
            "(3); leave data.channels out, or save what it should show"
        )
    if channels == 3:
        return np.repeat(pixels, 3, axis=1)
    if pixels.dtype == np.float32:
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        return np.asarray((pixels * weights[:, None, None]).sum(axis=1, keepdims=True))
    luma = (pixels * np.array([19595, 38470, 7471])[:, None, None]).sum(axis=1, keepdims=True)
    return np.asarray((luma + 0x8000) >> 16, dtype=pixels.dtype)


def _find_digits(_spec: DataSpec, _path: Path | None, _peer: int | None) -> Found:
    """The 1,797 handwritten 8x8 digits that come with scikit-learn (values 0 to 16)."""
    images, labels = read_digits()
    pixels = images.astype(np.uint8)[:, None]
    return Found(len(pixels), reader(pixels), "digits", "data", labels, unit=8.0)


def _find_idx(spec: DataSpec, path: Path | None, _peer: int | None) -> Found:
    """One split of a folder of IDX files; the labels file may be missing."""
    assert path is not None  # DataSpec sees to it
    wanted = f"{PREFIXES[spec.split]}-images-idx3-ubyte (plain or .gz)"
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(f"data.path: {path} {what}; give the folder that holds {wanted}")
    file = find_file(path, spec.split, "images", 3)
    if file is None:
        raise UserError(
            f"data.path: {path} holds no {spec.split} images; "
            f"put {wanted} there, or change data.split"
        )
    pixels = read_idx(file, 3)
    if pixels.size == 0:
        raise UserError(f"data.path: {file} holds no image; put one with images there")
    labels_file = find_file(path, spec.split, "labels", 1)
    labels = None if labels_file is None else read_idx(labels_file, 1)
    if labels is not None and len(labels) != len(pixels):
        raise UserError(
            f"data.path: {labels_file} has {len(labels)} labels for the {len(pixels)} images of "
            f"{file.name}; put the files of one data set there"
        )
    where, blamed = f"data.path: {file}", f"data.path: {labels_file}"
    return Found(len(pixels), reader(pixels[:, None]), path.name, where, labels, blamed)


def _find_synthetic(spec: DataSpec, _path: Path | None, peer: int | None) -> Found:
    """A peer's own images, or those that all share."""
    owner = peer if isinstance(spec.partition, Own) else None
    pixels, labels = make_images(spec, owner)
    return Found(len(pixels), reader(pixels), "synthetic", "data", labels, unit=127.5)


def _at(find: Callable[[DataSpec, Path], Found]) -> Callable[..., Found]:
    def found(spec: DataSpec, path: Path | None, _peer: int | None) -> Found:
        assert path is not None  # DataSpec sees to it
        return find(spec, path)

    return found


SOURCES: dict[str, Callable[[DataSpec, Path | None, int | None], Found]] = {
    "digits": _find_digits,
    "idx": _find_idx,
    "npz": _at(find_npz),
    "folder": _at(find_pictures),
    "cifar10": _at(find_cifar10),
    "hub": lambda spec, _path, _peer: find_on_hub(spec),
    "synthetic": _find_synthetic,
}

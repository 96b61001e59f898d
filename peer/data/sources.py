"""Where images come from: a table of sources, each a function from spec, path and peer to `Images`.

Pixels stay as small as their source has them; `Images.take` makes floats of those that are asked
for.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from peer.data.idx import PREFIXES, find_file, read_idx
from peer.data.pictures import read_cifar10, read_folder, read_hub, resize
from peer.data.spec import DataSpec, Own
from peer.data.synthetic import make_images
from topology.errors import UserError


@dataclass(frozen=True, eq=False)
class Images:
    """Raw pixels, and how to read them: value = pixel / unit + offset, in [-1, 1].

    Attributes:
        pixels: uint8 or float32, (n, c, h, w).
        labels: int64 (n,), from 0; None where the source has none.
        name: for messages and reports.
        unit: what a pixel is divided by. Dividing is exact at both ends of the range, where
            multiplying by a rounded 2/255 is not.
        offset: what is added then.
    """

    pixels: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    name: str = "images"
    unit: float = 1.0
    offset: float = 0.0

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def classes(self) -> int:
        """The largest label + 1; 0 where there are no labels."""
        return 0 if self.labels is None else int(self.labels.max(initial=-1)) + 1

    def take(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> torch.Tensor:
        """Return the images at `indices`: contiguous float32 (n, c, h, w), in [-1, 1]."""
        chosen = self.pixels.take(np.asarray(indices, dtype=np.int64), axis=0)
        # torch's memory starts on a 64-byte boundary and NumPy's need not: how a matrix product
        # rounds may depend on it.
        images = torch.empty(chosen.shape, dtype=torch.float32)
        values = images.numpy()
        np.divide(chosen, np.float32(self.unit), out=values)
        values += np.float32(self.offset)
        return images


def load_source(spec: DataSpec, peer_id: int | None = None, folder: Path | None = None) -> Images:
    """Load the images that `spec` names, the first `spec.limit` of them where that is set.

    Args:
        spec: the experiment's `data`.
        peer_id: replaces `{id}` in `spec.path`.
        folder: where a relative path starts; the working directory by default.

    Raises:
        UserError: nothing at the path, or not what the source reads.
    """
    path = None
    if spec.path and spec.source != "hub":
        path = resolve_path(spec.path, peer_id, folder)
    images = SOURCES[spec.source](spec, path, peer_id)
    if spec.size is not None and images.shape[1:] != (spec.size, spec.size):
        pixels = images.pixels if images.unit == 127.5 else images.pixels.astype(np.float32)
        images = replace(images, pixels=resize(pixels, spec.size))
    if spec.limit is None or spec.limit >= len(images):
        return images
    first = slice(spec.limit)
    labels = None if images.labels is None else images.labels[first].copy()
    # Copies, so that the memory of the rest is given back.
    return Images(images.pixels[first].copy(), labels, images.name, images.unit, images.offset)


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
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"data.path: {path} has no home folder to start from; write it out in full"
        ) from None
    return (folder or Path()) / expanded


def _load_digits(_spec: DataSpec, _path: Path | None, _peer: int | None) -> Images:
    """Return the 1,797 handwritten 8x8 digits that come with scikit-learn (values 0 to 16)."""
    from sklearn.datasets import load_digits  # a second to import, and only this source needs it

    digits = load_digits()
    pixels = digits.images.astype(np.uint8)[:, None]
    return Images(pixels, digits.target.astype(np.int64), "digits", unit=8.0, offset=-1.0)


def public_digits(height: int, width: int) -> NDArray[np.float64]:
    """The embedded digits, which anybody may know, resized: (1797, height, width) in [0, 1]."""
    from sklearn.datasets import load_digits

    digits = torch.from_numpy(load_digits().images / 16)  # (n, 8, 8)
    resized = torch.nn.functional.interpolate(
        digits[:, None], size=(height, width), mode="bilinear"
    )
    return np.asarray(resized[:, 0].numpy())


def _load_idx(spec: DataSpec, path: Path | None, _peer: int | None) -> Images:
    """Return one split of a folder of IDX files; the labels file may be missing."""
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
    labels = None if labels_file is None else read_idx(labels_file, 1).astype(np.int64)
    if labels is not None and len(labels) != len(pixels):
        raise UserError(
            f"data.path: {labels_file} has {len(labels)} labels for the {len(pixels)} images of "
            f"{file.name}; put the files of one data set there"
        )
    return Images(pixels[:, None], labels, path.name, unit=127.5, offset=-1.0)


def _load_npz(_spec: DataSpec, path: Path | None, _peer: int | None) -> Images:
    """Return the arrays `images` and, where there is one, `labels` of an .npz file."""
    assert path is not None  # DataSpec sees to it
    arrays = _read_npz(path)
    if "images" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(f"data.path: {path} holds {found}; save the pixels as an array `images`")
    pixels = _check_pixels(arrays["images"], path)
    labels = _check_labels(arrays["labels"], len(pixels), path) if "labels" in arrays else None
    if pixels.dtype == np.uint8:
        return Images(pixels, labels, path.stem, unit=127.5, offset=-1.0)
    return Images(pixels, labels, path.stem)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return every array of the archive by name, `images` and `labels` read, the others empty."""
    if not path.is_file():
        what = "is a folder" if path.exists() else "does not exist"
        raise UserError(f"data.path: {path} {what}; give an .npz file with an array `images`")
    try:
        # Opened here, because np.load leaves its own file open when the archive is damaged.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UserError(
                    f"data.path: {path} is a single array; "
                    "save it with numpy.savez(file, images=array)"
                )
            wanted = ("images", "labels")
            return {name: archive[name] if name in wanted else np.empty(0) for name in archive}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"data.path: {path} cannot be read as .npz without pickles ({error}); "
            "save plain arrays with numpy.savez(file, images=..., labels=...)"
        ) from None


def _check_pixels(images: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return `images` as uint8 or float32 (n, c, h, w), or say what is wrong with them."""
    where = f"data.path: `images` of {path}"
    if images.ndim not in (3, 4):
        raise UserError(f"{where} has shape {images.shape}; save it as (n, h, w) or (n, c, h, w)")
    if images.size == 0:
        raise UserError(f"{where} is empty, of shape {images.shape}; save at least one image")
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] > 4 and images.shape[3] <= 4:
        raise UserError(
            f"{where} has shape {images.shape}, channels last; save images.transpose(0, 3, 1, 2)"
        )
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(
            f"{where} is of type {images.dtype}; save uint8 (0 to 255) or floats in [-1, 1]"
        )
    low, high = float(images.min()), float(images.max())  # NaN if there is one anywhere
    if not (low >= -1.0 and high <= 1.0):
        found = "holds NaN" if np.isnan(low) else f"runs from {low:g} to {high:g}"
        raise UserError(f"{where} {found}; scale floats to [-1, 1], or save uint8 (0 to 255)")
    return np.ascontiguousarray(images, dtype=np.float32)


def _check_labels(labels: NDArray[Any], count: int, path: Path) -> NDArray[np.int64]:
    """Return `labels` as int64 (count,), or say what is wrong with them."""
    where = f"data.path: `labels` of {path}"
    if labels.shape != (count,):
        raise UserError(
            f"{where} has shape {labels.shape} for {count} images; save one label an image, "
            f"shape ({count},)"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise UserError(f"{where} must be classes counted from 0; save integers, none below 0")
    return labels.astype(np.int64)


def _load_pictures(spec: DataSpec, path: Path | None, _peer: int | None) -> Images:
    """Images that lie in files of their own."""
    if spec.source == "hub":
        pixels, labels = read_hub(spec)
        return Images(pixels, labels, str(spec.path), unit=127.5, offset=-1.0)
    assert path is not None  # DataSpec sees to it
    read = read_folder if spec.source == "folder" else read_cifar10
    pixels, labels = read(spec, path)
    return Images(pixels, labels, path.name, unit=127.5, offset=-1.0)


def _make_synthetic(spec: DataSpec, _path: Path | None, peer: int | None) -> Images:
    """A peer's own images, or those that all share."""
    owner = peer if isinstance(spec.partition, Own) else None
    pixels, labels = make_images(spec, owner)
    return Images(pixels, labels, "synthetic", unit=127.5, offset=-1.0)


SOURCES: dict[str, Callable[[DataSpec, Path | None, int | None], Images]] = {
    "digits": _load_digits,
    "idx": _load_idx,
    "npz": _load_npz,
    "folder": _load_pictures,
    "cifar10": _load_pictures,
    "hub": _load_pictures,
    "synthetic": _make_synthetic,
}

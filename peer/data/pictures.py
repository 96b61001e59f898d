"""Images that lie in files of their own, or in a hub: folders, CIFAR-10's binary files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from peer.data.spec import DataSpec
from topology.errors import UserError

Pixels = NDArray[np.uint8]
Found = tuple[Pixels, NDArray[np.int64] | None]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
CIFAR = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def read_folder(spec: DataSpec, path: Path) -> Found:
    """Every image below ``path``: a class for each sub-folder, in order of their names.

    A folder of images without sub-folders (CelebA, LSUN) has no labels.

    Raises:
        UserError: nothing there, a file that is no image, or images of several sizes and no
            ``data.size``.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(f"data.path: {path} {what}; give a folder of images, or of such folders")
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir())
    flat = _images_in(path)
    files: list[tuple[Path, int]] = [(file, 0) for file in flat[: spec.limit]]
    if not flat:
        files = [(file, x) for x, folder in enumerate(classes) for file in _images_in(folder)]
    if not files:
        raise UserError(f"data.path: {path} holds no images ({', '.join(SUFFIXES[:4])}...)")
    pixels: list[Pixels] = []
    for file, _ in files:
        pixels.append(_read_image(file, spec))
        if pixels[-1].shape != pixels[0].shape:
            raise UserError(
                f"data.size is missing: {files[0][0].name} is {_size(pixels[0])} and {file.name} "
                f"{_size(pixels[-1])}; say data.size: 64, and they are cropped and scaled"
            )
    labels = None if flat else np.array([x for _, x in files], dtype=np.int64)
    return np.stack(pixels), labels


def read_cifar10(spec: DataSpec, path: Path) -> Found:
    """CIFAR-10's own binary files: records of a label byte and 3 x 32 x 32 pixels.

    Raises:
        UserError: the files are not there, or cut short.
    """
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if spec.split == "train" else []
    names = names or ["test_batch.bin"]
    inside = path / "cifar-10-batches-bin"
    folder = inside if inside.is_dir() else path
    records = []
    for name in names:
        try:
            raw = np.fromfile(folder / name, dtype=np.uint8)
        except OSError:
            raise UserError(
                f"data.path: {folder} holds no {name}; fetch the binary version: "
                f"curl -O {CIFAR} && tar xzf cifar-10-binary.tar.gz"
            ) from None
        if not len(raw) or len(raw) % 3073:
            raise UserError(f"data.path: {folder / name} is cut short; fetch it again from {CIFAR}")
        records.append(raw.reshape(-1, 3073))
    whole = np.concatenate(records)
    return whole[:, 1:].reshape(-1, 3, 32, 32), whole[:, 0].astype(np.int64)


def read_hub(spec: DataSpec) -> Found:
    """A data set of the Hugging Face hub, by the ``datasets`` package: path is its name.

    Raises:
        UserError: the package is not installed, or the set has no column of images.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            "data.source: hub needs the package datasets; pip install 'hearsay[hub]'"
        ) from None
    try:
        rows: Any = datasets.load_dataset(spec.path, split=spec.split)
    except Exception as problem:  # the hub's own errors are of many kinds
        first = str(problem).strip().splitlines() or [type(problem).__name__]
        raise UserError(f"data.path: the hub gives no '{spec.path}': {first[0]}") from None
    columns = list(rows.features)
    image = next((name for name in columns if name in ("image", "img")), None)
    if image is None:
        raise UserError(f"data.path: '{spec.path}' has no column image, only {', '.join(columns)}")
    label = next((name for name in columns if name in ("label", "labels")), None)
    count = len(rows) if spec.limit is None else min(spec.limit, len(rows))
    pixels = [_as_pixels(rows[i][image], spec) for i in range(count)]
    if len({each.shape for each in pixels}) > 1:
        raise UserError("data.size is missing: the images are of several sizes; say data.size: 64")
    labels = None if label is None else np.array([rows[i][label] for i in range(count)])
    return np.stack(pixels), labels


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


def _images_in(folder: Path) -> list[Path]:
    files: Iterable[Path] = folder.iterdir()
    return sorted(f for f in files if f.suffix.lower() in SUFFIXES and f.is_file())


def _read_image(file: Path, spec: DataSpec) -> Pixels:
    try:
        with Image.open(file) as image:
            return _as_pixels(image, spec)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise UserError(f"data.path: {file} is no image that can be read: {reason}") from None


def _as_pixels(image: Any, spec: DataSpec) -> Pixels:
    """(c, h, w), the middle square at ``data.size`` where one is asked for."""
    image = image.convert("L" if spec.channels == 1 else "RGB")
    if spec.size is not None:
        image = ImageOps.fit(image, (spec.size, spec.size), Image.Resampling.BILINEAR)
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[2]}x{pixels.shape[1]}"

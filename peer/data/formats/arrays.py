"""Images that lie in arrays: `.npz` files, and CIFAR-10's binary files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peer.data.images import Found
from peer.data.spec import DataSpec
from topology.errors import UserError, note
from topology.names import first_line
from topology.npy import MAGIC, read_npy

CIFAR = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

_WANTED = ("images", "labels")
_ZIP = b"PK\x03\x04"
_LARGE, _DENSE = 1 << 28, 100
"""Above so many bytes, what unpacks to more than so many times its size is no picture."""


def find_npz(spec: DataSpec, path: Path) -> Found:
    """The arrays `images` and, where there is one, `labels` of an .npz file.

    Raises:
        UserError: it cannot be read, holds no `images`, or they are not laid out as images.
    """
    arrays = _read_npz(path)
    if "images" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(f"data.path: {path} holds {found}; save the pixels as an array `images`")
    others = sorted(set(arrays) - set(_WANTED))
    if others:
        note(
            f"data.path: of what {path} holds, {', '.join(others[:4])} "
            f"{'is' if len(others) == 1 else 'are'} left out; `images` and `labels` are read"
        )
    where = f"data.path: `images` of {path}"
    labels = arrays.get("labels")
    pixels = _laid_out(arrays["images"], spec.axes, where, labels)
    blamed = f"data.path: `labels` of {path}"
    return Found(len(pixels), reader(pixels), path.stem, where, labels, blamed)


def find_cifar10(spec: DataSpec, path: Path) -> Found:
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
    pixels, where = whole[:, 1:].reshape(-1, 3, 32, 32), f"data.path: {folder}"
    return Found(len(pixels), reader(pixels), path.name, where, whole[:, 0], where, CIFAR_CLASSES)


def reader(pixels: NDArray[Any]) -> Callable[[NDArray[np.int64] | None], NDArray[Any]]:
    """What reads pixels that are in memory already; of a choice, a copy, so that the rest goes."""
    return lambda chosen: pixels if chosen is None else pixels[chosen]


def in_range(
    pixels: NDArray[Any], given: str | None, where: str
) -> tuple[NDArray[Any], float, float]:
    """The pixels as uint8 or float32, and the unit and offset that bring them to [-1, 1].

    Args:
        pixels: of any type of numbers.
        given: `data.range`: `bytes` (0 to 255), `unit` (0 to 1), `signed` (-1 to 1); without it,
            uint8 is bytes and floats are signed, unless they look like something else.
        where: the place to blame.

    Raises:
        UserError: values that are not finite or lie outside of the range, or such as make another
            range likelier.
    """
    kind = pixels.dtype.kind
    if kind not in "bfiu" or (given is None and kind != "f" and pixels.dtype != np.uint8):
        raise UserError(
            f"{where} is of type {pixels.dtype}; save uint8 (0 to 255) or floats in [-1, 1]"
            + (", or say data.range: bytes (0 to 255) or unit (0 to 1)" if kind in "biu" else "")
        )
    if not pixels.size:
        raise UserError(f"{where} is empty, of shape {pixels.shape}; save at least one image")
    low, high = float(pixels.min()), float(pixels.max())  # NaN if there is one anywhere
    bottom, top = _ENDS[given or ("bytes" if kind == "u" else "signed")]
    slack = (top - bottom) * 1e-3 if kind == "f" else 0.0  # what rounding may do
    if not (low >= bottom - slack and high <= top + slack):
        found = "holds NaN" if np.isnan(low) else f"runs from {low:.9g} to {high:.9g}"
        raise UserError(f"{where} {found}; {_remedy(given, low, high)}")
    if given is None and kind == "u" and high == 1:
        raise UserError(
            f"{where} holds bytes of only 0 and 1, which would be black; say data.range: unit, "
            "where white is 1, or save white as 255"
        )
    if given is None and kind == "f" and low >= 0 < high:
        raise UserError(
            f"{where} runs from {low:.9g} to {high:.9g}, with nothing below 0; say data.range: "
            "unit, where black is 0, or signed, where it is -1 and these are all bright"
        )
    unit, offset = {"bytes": (127.5, -1.0), "unit": (0.5, -1.0), "signed": (1.0, 0.0)}[
        given or ("bytes" if kind == "u" else "signed")
    ]
    if kind != "f":
        whole = np.int8 if low < 0 else np.uint8
        return np.ascontiguousarray(pixels, dtype=whole), unit, offset
    floats = np.ascontiguousarray(pixels, dtype=np.float32)
    if low < bottom or high > top:
        floats = np.clip(floats, bottom, top)
    return floats, unit, offset


_ENDS = {"bytes": (0.0, 255.0), "unit": (0.0, 1.0), "signed": (-1.0, 1.0)}


def _remedy(given: str | None, low: float, high: float) -> str:
    if given is not None:
        bottom, top = _ENDS[given]
        return f"data.range: {given} means {bottom:g} to {top:g}; scale them, or name another range"
    if low >= 0 and 1 < high <= 255:
        return "scale floats to [-1, 1], save uint8 (0 to 255), or say data.range: bytes"
    return "scale floats to [-1, 1], or save uint8 (0 to 255)"


def _laid_out(images: NDArray[Any], axes: str | None, where: str, labels: Any) -> NDArray[Any]:
    """The images as (n, c, h, w), by `data.axes` or as they stand, where that is plausible."""
    if axes is not None:
        if images.ndim != len(axes):
            raise UserError(
                f"{where} has shape {images.shape}, and data.axes: {axes} has {len(axes)} letters; "
                f"name its {images.ndim} axes"
            )
        images = images.transpose([axes.index(letter) for letter in "nchw" if letter in axes])
        return images[:, None] if images.ndim == 3 else images
    if images.ndim not in (3, 4):
        raise UserError(f"{where} has shape {images.shape}; save it as (n, h, w) or (n, c, h, w)")
    if images.size == 0:
        raise UserError(f"{where} is empty, of shape {images.shape}; save at least one image")
    count = len(labels) if isinstance(labels, np.ndarray) and labels.ndim == 1 else None
    guess = (_guess_flat if images.ndim == 3 else _guess_deep)(images.shape, count)
    if guess is not None:
        raise UserError(f"{where} has shape {images.shape}, {guess}")
    return images[:, None] if images.ndim == 3 else images


def _guess_deep(shape: tuple[int, ...], labels: int | None) -> str | None:
    """What is odd about images (n, c, h, w) of that shape, and what would be right."""
    n, channels, height, width = shape
    if channels > 4 and width <= 4:
        return (
            "channels last; save images.transpose(0, 3, 1, 2), or say data.axes: nhwc"
            + " (nchw if it is right as it is)"
        )
    if channels > 4 and height <= 4:
        return (
            f"which would be {n} images of {channels} channels; say data.axes: hwcn if the images "
            "come last, nchw if it is right as it is"
        )
    if channels > 4:
        return (
            f"which would be {n} images of {channels} channels; save grey (1) or colour (3) as "
            "(n, c, h, w), or say data.axes: nchw if it is right as it is"
        )
    if labels == width != n and width > 4:
        return f"and there are {width} labels; say data.axes: hwcn, where the images come last"
    square = channels == height > 1 and width in (1, 3, 4)
    if square and height != width:
        return (
            f"which may be {n} images of {channels} channels or, channels last, of {width}; say "
            "data.axes: nchw or nhwc"
        )
    return None


def _guess_flat(shape: tuple[int, ...], labels: int | None) -> str | None:
    """The same of images (n, h, w)."""
    n, height, width = shape
    if labels == width != n and width > 4:
        return f"and there are {width} labels; say data.axes: hwn, where the images come last"
    if labels == n:
        return None
    if n == height >= 8 and width in (3, 4):
        return (
            "which may be one colour image; save images[None] and say data.axes: nhwc, or say "
            "data.axes: nhw if it is right as it is"
        )
    if n == height >= 8 and width >= 4 * height:
        return (
            f"which may be {n} images of {width}x{height}, or {width} of {n}x{height}; say "
            "data.axes: nhw or hwn"
        )
    return None


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of the archive by name, `images` and `labels` read, the others empty."""
    if not path.is_file():
        what = "is a folder" if path.exists() else "does not exist"
        raise UserError(f"data.path: {path} {what}; give an .npz file with an array `images`")
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
            if start == MAGIC:
                raise UserError(
                    f"data.path: {path} is a single array; "
                    "save it with numpy.savez(file, images=array)"
                )
            if not start.startswith(_ZIP):
                raise ValueError("it is no zip archive")
            with zipfile.ZipFile(file) as archive:
                return {
                    info.filename.removesuffix(".npy"): _read_member(archive, info)
                    for info in archive.infolist()
                }
    except UserError:
        raise
    except Exception as error:  # damaged archives fail in many ways
        raise UserError(
            f"data.path: {path} cannot be read as .npz without pickles ({first_line(error)}); "
            "save plain arrays with numpy.savez(file, images=..., labels=...)"
        ) from None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    if info.filename.removesuffix(".npy") not in _WANTED:
        return np.empty(0)
    if info.file_size > max(_LARGE, _DENSE * info.compress_size):
        raise ValueError(
            f"{info.filename} would unpack to {info.file_size >> 20} MiB, more than {_DENSE} times "
            "its size"
        )
    with archive.open(info) as stream:
        array = read_npy(stream, info.file_size)
        stream.read(1)  # the end, where its checksum is looked at
    return array

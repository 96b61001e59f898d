"""Data sets of the Hugging Face hub, by the package `datasets`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peer.data.formats.pictures import Look, Pixels, as_pixels
from peer.data.images import Found
from peer.data.spec import DataSpec
from topology.errors import UserError
from topology.names import first_line


def find_on_hub(spec: DataSpec) -> Found:
    """A data set of the hub, whose name is `data.path`.

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
        raise UserError(
            f"data.path: the hub gives no '{spec.path}': {first_line(problem)}"
        ) from None
    columns = list(rows.features)
    image = next((name for name in columns if name in ("image", "img")), None)
    if image is None:
        raise UserError(f"data.path: '{spec.path}' has no column image, only {', '.join(columns)}")
    label = next((name for name in columns if name in ("label", "labels")), None)
    if not len(rows):
        raise UserError(f"data.path: '{spec.path}' holds no image; name another data set")
    look = Look(spec.channels or 3, spec.size, spec.background or "white")

    def read(chosen: NDArray[np.int64] | None) -> Pixels:
        places = range(len(rows)) if chosen is None else chosen.tolist()
        return np.stack(_alike([_pixels(rows, i, image, spec.path, look) for i in places]))

    labels = None if label is None else _column(rows, label)
    names = None
    if label is not None and isinstance(rows.features, Mapping):
        names = getattr(rows.features[label], "names", None)
    return Found(
        len(rows),
        read,
        str(spec.path),
        f"data.path: '{spec.path}'",
        labels,
        f"data.path: column {label} of '{spec.path}'",
        None if names is None else tuple(map(str, names)),
        is_text=labels is not None and all(isinstance(each, str) for each in labels),
    )


def _column(rows: Any, name: str) -> list[Any]:
    """A column's values, without the pictures beside them where rows can leave them out."""
    if hasattr(rows, "select_columns"):
        rows = rows.select_columns([name])
    return [rows[i][name] for i in range(len(rows))]


def _pixels(rows: Any, i: int, column: str, name: str | None, look: Look) -> Pixels:
    where = f"data.path: row {i} of '{name}'"
    try:
        picture = rows[i][column]
        if not isinstance(picture, Image.Image):
            raise TypeError(f"its {column} is of type {type(picture).__name__}")
        return as_pixels(picture, where, look)
    except UserError:
        raise
    except Exception as problem:  # rows are decoded as they are asked for, by whatever decoder
        raise UserError(f"{where} is no image that can be read: {first_line(problem)}") from None


def _alike(pixels: list[Pixels]) -> list[Pixels]:
    if len({each.shape for each in pixels}) > 1:
        raise UserError("data.size is missing: the images are of several sizes; say data.size: 64")
    return pixels

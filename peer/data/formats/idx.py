"""IDX files, the format of MNIST and its family.

Two zero bytes, a type code (8: unsigned byte), the number of dimensions, then each dimension as a
big-endian 32-bit count, then the values in row-major order (LeCun, Cortes and
Burges, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topology.errors import UserError
from topology.names import first_line

# What the names of a split's files begin with.
PREFIXES = {"train": "train", "test": "t10k"}

_LARGE, _DENSE = 1 << 28, 100
"""Above so many bytes, what unpacks to more than so many times its size is no picture."""


def find_file(folder: Path, split: str, kind: str, dimensions: int) -> Path | None:
    """Return the file of `folder` that holds this split's `kind` (`images`, `labels`), if any.

    Both usual spellings count, `train-images-idx3-ubyte` and `train-images.idx3-ubyte`, each plain
    or with `.gz`.
    """
    stem = f"{PREFIXES[split]}-{kind}"
    names = [
        f"{stem}{mark}idx{dimensions}-ubyte{suffix}" for mark in "-." for suffix in ("", ".gz")
    ]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the values of an IDX file of unsigned bytes, read-only, in its own shape.

    A file is unpacked where its content is gzip, whatever its name says: browsers and archives
    like to unpack a download and leave the suffix, or the other way round.

    Raises:
        UserError: the file cannot be read, is damaged, is of another kind, or its size is not what
            its header promises.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = _unpack(content, dimensions)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise UserError(
            f"data.path: {path} cannot be read ({first_line(error)}); fetch the file again"
        ) from None
    return parse_idx(content, dimensions, path)


def _unpack(packed: bytes, dimensions: int) -> bytes:
    """What a gzip file holds, as far as its IDX header says and a byte more, its checksum checked.

    Raises:
        OSError: it would unpack to far more than pictures ever do.
    """
    with gzip.open(io.BytesIO(packed)) as file:
        start = 4 + 4 * dimensions
        header = file.read(start)
        if len(header) < start or header[:4] != bytes([0, 0, 8, dimensions]):
            return header
        promised = math.prod(struct.unpack(f">{dimensions}I", header[4:]))
        if promised > max(_LARGE, _DENSE * len(packed)):
            raise OSError(f"its header promises {promised} bytes in a file of {len(packed)}")
        return header + file.read(promised + 1)


def parse_idx(content: bytes, dimensions: int, path: Path) -> NDArray[np.uint8]:
    """Return the values of an IDX file's (unpacked) content; `path` is for the message only."""
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        raise UserError(
            f"data.path: {path} begins with {content[:4].hex() or 'nothing'}, and an IDX file of "
            f"bytes in {dimensions} dimension{'s' if dimensions > 1 else ''} with {magic.hex()}; "
            "put the right file there"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise UserError(f"data.path: {path} ends within its header; fetch the file again")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise UserError(
            f"data.path: {path} has {len(content)} bytes, and its header "
            f"({' x '.join(map(str, shape))}) promises {expected}; fetch the file again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)

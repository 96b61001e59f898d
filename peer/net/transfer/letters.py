"""A letter as bytes, and back: what point-to-point messages carry over a link.

``[length of the header, 4 bytes][msgpack header][padding][tensors, each on a 64-byte boundary]``;
the header is ``[name, facts, [[tensor's name, dtype, shape], ...]]``. Whatever does not fit
exactly, or holds NaN or infinities, is a :class:`WireError`.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgpack
import numpy as np
import torch

from peer.effects import Letter
from peer.machine.memory import ALIGNMENT
from peer.net.header.seal import WireError

PREFIX = "@"
"""Begins the name under which a letter is offered, where an arena's is the net's name."""

FACTS_LIMIT = 64 * 1024
"""Bytes of a letter's header, at most."""

NAME_LIMIT = 63
"""Characters of a letter's name, at most: an offer's longest word, without the prefix."""

AXES_LIMIT = 8
"""Axes of a tensor, at most."""

_DTYPES: dict[Any, np.dtype[Any]] = {name: np.dtype(name) for name in ("<f4", "<f8", "<i8")}
_LARGEST = 2**40
_LENGTH = struct.Struct("<I")


def pack(letter: Letter) -> memoryview:
    """The letter's bytes.

    Raises:
        ValueError: what the other end would not read: a tensor is of another type, the
            facts take more than 64 KiB or are not what msgpack knows, the name is no short word.
    """
    if len(letter.name) > NAME_LIMIT or not letter.name.isprintable():
        raise ValueError(f"{letter.name[:80]!r} is no name for a letter")
    for name, tensor in letter.tensors.items():
        if tensor.dtype not in (torch.float32, torch.float64, torch.int64):
            raise ValueError(f"letter '{letter.name}': tensor '{name}' is {tensor.dtype}")
        if tensor.dim() > AXES_LIMIT:
            raise ValueError(f"letter '{letter.name}': tensor '{name}' has {tensor.dim()} axes")
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in letter.tensors.items()}
    table = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    try:
        header = msgpack.packb([letter.name, dict(letter.facts), table])
    except (TypeError, ValueError, OverflowError) as problem:
        raise ValueError(f"letter '{letter.name}': its facts: {problem}") from None
    if len(header) > FACTS_LIMIT:
        raise ValueError(f"letter '{letter.name}': {len(header)} bytes of facts; at most 64 KiB")
    offset = _padded(_LENGTH.size + len(header))
    packed = np.zeros(offset + sum(_padded(a.nbytes) for a in arrays.values()), dtype=np.uint8)
    packed[: _LENGTH.size] = np.frombuffer(_LENGTH.pack(len(header)), dtype=np.uint8)
    packed[_LENGTH.size : _LENGTH.size + len(header)] = np.frombuffer(header, dtype=np.uint8)
    for array in arrays.values():
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        packed[offset : offset + array.nbytes] = flat
        offset += _padded(array.nbytes)
    return packed.data


def unpack(buffer: memoryview) -> Letter:
    """The letter in ``buffer``; its tensors are views of that memory.

    Raises:
        WireError: it is none, or a number in it is NaN or infinite.
    """
    if len(buffer) < _LENGTH.size:
        raise WireError("a letter without a header")
    (length,) = _LENGTH.unpack(buffer[: _LENGTH.size])
    if length > FACTS_LIMIT or _LENGTH.size + length > len(buffer):
        raise WireError("a letter with a header too long")
    try:
        name, facts, table = msgpack.unpackb(
            buffer[_LENGTH.size : _LENGTH.size + length], strict_map_key=False
        )
        entries = [_entry(*entry) for entry in table]
    except WireError:
        raise
    except Exception:  # msgpack raises a dozen kinds for hostile bytes; all mean the same
        raise WireError("a letter's header that is none") from None
    if type(name) is not str or type(facts) is not dict or not _sound(facts):
        raise WireError("a letter's header that is none")
    if len({key for key, *_ in entries}) < len(entries):
        raise WireError("a letter with two tensors of one name")
    tensors = {}
    offset = _padded(_LENGTH.size + length)
    for key, dtype, shape, nbytes in entries:
        if offset + nbytes > len(buffer):
            raise WireError("a letter shorter than it says")
        array = np.frombuffer(buffer[offset : offset + nbytes], dtype=dtype).reshape(shape)
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise WireError("a letter with NaN or Inf in it")
        tensors[key] = torch.from_numpy(array)
        offset += _padded(nbytes)
    if offset != len(buffer):
        raise WireError("a letter longer than it says")
    return Letter(name, tensors, facts)


def _entry(key: Any, dtype: Any, shape: Any) -> tuple[str, np.dtype[Any], tuple[int, ...], int]:
    if type(key) is not str or dtype not in _DTYPES or type(shape) is not list:
        raise WireError("a letter's table that is none")
    if len(shape) > AXES_LIMIT or any(type(side) is not int or side < 0 for side in shape):
        raise WireError("a letter's table that is none")
    if math.prod(max(1, side) for side in shape) > _LARGEST:  # NumPy multiplies so, beside a 0, too
        raise WireError("a letter's table that is none")
    return key, _DTYPES[dtype], tuple(shape), math.prod(shape) * _DTYPES[dtype].itemsize


def _sound(facts: dict[Any, Any]) -> bool:
    """Whether every number in the facts is finite: NaN compares false, and would hide.

    They may be nested deeper than Python calls can be.
    """
    left: list[Any] = [facts]
    while left:
        match left.pop():
            case float() as number if not math.isfinite(number):
                return False
            case dict() as table:
                left.extend(table)
                left.extend(table.values())
            case list() as several:
                left.extend(several)
    return True


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT

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
from peer.net.wire import WireError

PREFIX = "@"
"""Begins the name under which a letter is offered, where an arena's is the net's name."""

FACTS_LIMIT = 64 * 1024
"""Bytes of a letter's header, at most."""

_DTYPES: dict[Any, np.dtype[Any]] = {"<f4": np.dtype("<f4"), "<i8": np.dtype("<i8")}
_LENGTH = struct.Struct("<I")
_ALIGNMENT = 64


def pack(letter: Letter) -> memoryview:
    """The letter's bytes.

    Raises:
        ValueError: a tensor is neither float32 nor int64, or the facts take more than 64 KiB.
    """
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in letter.tensors.items()}
    for name, array in arrays.items():
        if array.dtype.str not in _DTYPES:
            raise ValueError(f"letter '{letter.name}': tensor '{name}' is {array.dtype}")
    table = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = msgpack.packb([letter.name, dict(letter.facts), table])
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
    if type(key) is not str or dtype not in _DTYPES or type(shape) is not list or len(shape) > 8:
        raise WireError("a letter's table that is none")
    if any(type(side) is not int or not 0 <= side < 2**40 for side in shape):
        raise WireError("a letter's table that is none")
    return key, _DTYPES[dtype], tuple(shape), math.prod(shape) * _DTYPES[dtype].itemsize


def _sound(fact: Any) -> bool:
    """Whether every number in a fact is finite: NaN compares false, and would hide."""
    match fact:
        case float():
            return math.isfinite(fact)
        case dict():
            return all(_sound(value) for value in fact.values())
        case list():
            return all(_sound(value) for value in fact)
        case _:
            return True


def _padded(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT

"""Arrays in numpy's format, read without trusting what their header promises.

``numpy.load`` makes room for as many values as a header declares before it sees whether they are
there: a few damaged or hostile bytes ask for terabytes. Here the promise must fit what is there.
"""

from __future__ import annotations

import math
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from topology.names import first_line

MAGIC = b"\x93NUMPY"


def read_npy(stream: IO[bytes], size: int) -> NDArray[Any]:
    """The array in ``stream``, which holds ``size`` bytes of numpy's format.

    Raises:
        ValueError: it is another format, of Python objects, or not of the size that its header
            promises.
    """
    version = np.lib.format.read_magic(stream)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        raise ValueError(f"version {version[0]}.{version[1]} of numpy's format is not known")
    try:
        shape, fortran, dtype = header(stream)
    except Exception as problem:  # it is Python text, and fails in as many ways
        raise ValueError(f"its header does not parse: {first_line(problem)}") from None
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    if any(n < 0 for n in shape) or not dtype.itemsize:
        raise ValueError(f"its header promises the shape {shape} of {dtype}")
    promised = math.prod(shape) * dtype.itemsize
    there = size - stream.tell()
    if promised != there:
        raise ValueError(f"its header promises {promised} bytes, and {there} follow")
    content = stream.read(promised)
    if len(content) != promised:
        raise ValueError(f"its header promises {promised} bytes, and {len(content)} follow")
    array = np.frombuffer(content, dtype=dtype)
    if fortran:
        return array.reshape(shape[::-1]).transpose()
    return array.reshape(shape)

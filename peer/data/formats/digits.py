"""scikit-learn's handwritten digits, read without scikit-learn.

Its `load_digits` reads one file that lies in the package. Importing the package for that costs a
peer 40 MB and a second, most of which is pandas and scipy.stats.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topology.errors import UserError

FILE = "datasets/data/digits.csv.gz"
"""In the package: a line an image, 64 values from 0 to 16 row by row, and its digit."""


def read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 1,797 images (n, 8, 8) from 0 to 16 and their digits (n,), bit for bit `load_digits`'.

    Raises:
        UserError: scikit-learn is not installed as usual, or its file is damaged.
    """
    package = find_spec("sklearn")  # looks for the package, and does not run it
    places = [] if package is None else list(package.submodule_search_locations or [])
    file = Path(*places[:1], FILE)
    try:
        with gzip.open(file, "rt", encoding="ascii") as opened:
            lines = opened.readlines()
        table = np.loadtxt(lines or ["it is empty"], delimiter=",")  # numpy only warns of nothing
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    except (OSError, EOFError, ValueError, IndexError) as problem:
        raise UserError(
            f"data.source: the digits of scikit-learn cannot be read from {file} ({problem}); "
            "install scikit-learn again"
        ) from None

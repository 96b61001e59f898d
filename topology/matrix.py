"""A matrix of weights that the user gives, in the experiment file or in a file of its own."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from topology.errors import UserError
from topology.laplacian import joined
from topology.npy import read_npy

FloatArray = NDArray[np.float64]

ROUNDED = 1e-5
"""How far a column's sum may be from 1, so that decimals of six digits are accepted."""

EXACT = 1e-12
"""By how much neighbours' weights may exceed 1 in sum, or equal weights may differ."""


def given_matrix(spec: Mapping[str, Any]) -> FloatArray:
    """The matrix under ``{matrix: [[...], ...]}`` or in ``{file: path}``, checked by itself.

    A file is ``.npy``, or text: a row a line, numbers between commas or spaces, ``#`` before a
    comment.

    Returns:
        (K, K), ``a[l, k]`` from peer l to peer k, read-only. Nothing in it is negative; columns sum
        to 1, up to the rounding of decimals, which the weight on oneself (the diagonal) takes up.

    Raises:
        UserError: where it is anything else, or the file cannot be read.
    """
    if "matrix" in spec:
        where, rows = "weights.matrix", spec["matrix"]
        try:
            matrix = np.array([list(row) for row in rows], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise UserError(
                f"{where}: must be rows of numbers, as many rows as columns, "
                f"not {reprlib.repr(rows)}"
            ) from None
        return _checked(where, matrix)
    path = spec["file"]
    if not isinstance(path, str | Path) or not str(path):
        raise UserError(f"weights.file: must be a path, not {reprlib.repr(path)}")
    try:
        file = Path(path).expanduser()
        return _read(file, file.stat().st_mtime_ns)
    except (OSError, ValueError, RuntimeError) as error:  # no file, no path, no home folder
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        shown = str(path).replace("\0", "\\0")
        raise UserError(f"weights.file: cannot read {shown}: {reason}") from error


def refuse_off_links(spec: Mapping[str, Any], matrix: FloatArray, graph: nx.Graph[int]) -> None:
    """Refuse a matrix of another size than the graph, or one that weighs what no link joins.

    Args:
        spec: where the matrix is from.
        matrix: (K, K)
        graph: on the nodes 0 to K - 1.

    Raises:
        UserError: naming the first such weight.
    """
    where = _where(spec)
    if len(matrix) != len(graph):
        raise UserError(f"{where}: is of {len(matrix)} peers, and peers is {len(graph)}")
    for sender, receiver in np.argwhere((matrix != 0) & ~joined(graph)).tolist():
        raise UserError(
            f"{where}: a[{sender}][{receiver}] is {matrix[sender, receiver]:.6g}, and graph has no "
            f"link between peers {sender} and {receiver}"
        )


def anchored_weights(spec: Any, folder: Path) -> Any:
    """``spec``, found under ``weights:``, with a relative ``file`` resolved against ``folder``.

    Anything else is returned unchanged, be it right or wrong.
    """
    if isinstance(spec, Mapping) and isinstance(spec.get("file"), str) and spec["file"]:
        if spec["file"].startswith("~") and not _has_home(spec["file"]):
            return spec  # refused where it is read
        return {**spec, "file": str(folder / Path(spec["file"]).expanduser())}
    return spec


def _has_home(path: str) -> bool:
    try:
        Path(path).expanduser()
    except RuntimeError:
        return False
    return True


def weights_facts(spec: str | Mapping[str, Any]) -> Any:
    """What peers must agree on of ``weights:``, in types that JSON knows; a file as its numbers."""
    if isinstance(spec, Mapping) and ("matrix" in spec or "file" in spec):
        return given_matrix(spec).tolist()
    return spec if isinstance(spec, str) else dict(spec)


@lru_cache(maxsize=4)
def _read(file: Path, changed: int) -> FloatArray:
    """The matrix in a file, cached until the file changes: each simulated peer asks for it."""
    del changed
    where = f"weights.file: {file}"
    if file.suffix.lower() == ".npy":
        try:
            with file.open("rb") as opened:
                matrix = read_npy(opened, file.stat().st_size)
        except (ValueError, MemoryError):
            raise UserError(f"{where}: is not an array of numbers in numpy's format") from None
        if matrix.dtype.kind not in "fiu":
            raise UserError(f"{where}: must hold one array of real numbers")
        return _checked(where, matrix.astype(np.float64))
    rows = []
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{where}: is not a text file; binary ones end in .npy") from None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").replace(";", " ").split()
        try:
            rows.append([_decimal(word) for word in words])
        except ValueError:
            raise UserError(
                f"{where}, line {number}: must be numbers, not {reprlib.repr(line.strip())}"
            ) from None
    rows = [row for row in rows if row]
    if len({len(row) for row in rows}) > 1:
        raise UserError(f"{where}: its rows must be of one length")
    return _checked(where, np.array(rows, dtype=np.float64))


def _checked(where: str, matrix: FloatArray) -> FloatArray:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        shape = " by ".join(map(str, matrix.shape))
        raise UserError(f"{where}: must have as many rows as columns, one a peer, not {shape}")
    for sender, receiver in np.argwhere(~(np.isfinite(matrix) & (matrix >= 0))).tolist():
        raise UserError(
            f"{where}: a[{sender}][{receiver}] is {matrix[sender, receiver]:.6g}; weights are "
            f"finite and not negative"
        )
    sums = matrix.sum(axis=0)
    for k in np.flatnonzero(np.abs(sums - 1) > ROUNDED).tolist():
        rows_do = np.abs(matrix.sum(axis=1) - 1).max() <= ROUNDED
        raise UserError(
            f"{where}: column {k}, what peer {k} takes, sums to {sums[k]:.6g}, not 1"
            + ("; the rows do, so transpose it: a[l][k] is from l to k" if rows_do else "")
        )
    others = sums - np.diag(matrix)
    for k in np.flatnonzero(others > 1 + EXACT).tolist():
        raise UserError(
            f"{where}: what peer {k} takes of others sums to {float(others[k])}, above 1"
        )
    matrix.flags.writeable = False
    return matrix


def _decimal(word: str) -> float:
    if "_" in word:  # 1_0 is 10 to Python and a slip to everybody else
        raise ValueError(word)
    return float(word)


def _where(spec: Mapping[str, Any]) -> str:
    return "weights.matrix" if "matrix" in spec else f"weights.file: {spec['file']}"

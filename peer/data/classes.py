"""Classes: from the labels that a source has to numbers from 0, and the names of those numbers.

Only what is there counts. Labels that are numbers are put in order of their numbers; names that are
numbers (folders `2` and `10`) by number too, before all others, and those by code point. So labels
1 to 26 are 26 classes, named `1` to `26`, and a label 202599000 is one class more, not 202,599,000.
"""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peer.data.images import Found
from topology.errors import UserError

Labels = NDArray[np.int64]

_SHOWN = 8
_LARGEST = 2**63 - 1
_NUMERIC = re.compile(r"[0-9]{1,30}")


def number_classes(found: Found) -> tuple[Labels, tuple[str, ...]]:
    """The class of each image, int64 (n,) from 0, and the classes' names.

    Raises:
        UserError: a label that can be none: negative, a fraction, text among numbers, a list, above
            2^63 - 1, without a name in a source that names its labels; or not one an image.
    """
    if found.is_text:
        names = [clean_name(str(name)) for name in _one_each(found, np.asarray(found.labels, str))]
        in_order = sorted(set(names), key=by_number_then_text)
        number = {name: place for place, name in enumerate(in_order)}
        return np.array([number[name] for name in names], dtype=np.int64), tuple(in_order)
    values = _whole(found)
    present, labels = np.unique(values, return_inverse=True)
    if found.label_names is None:
        return labels.astype(np.int64), tuple(str(value) for value in present.tolist())
    if present.size and present[-1] >= len(found.label_names):
        place = int(np.argmax(values >= len(found.label_names)))
        raise UserError(
            f"{found.labels_where}: label {values[place]} of image {place} (from 0) is none of the "
            f"{len(found.label_names)} classes there; fetch the data again"
        )
    names = [clean_name(found.label_names[value]) for value in present.tolist()]
    if len(set(names)) < len(names):
        raise UserError(
            f"{found.labels_where}: two classes have the name {_twice(names)}; rename one"
        )
    return labels.astype(np.int64), tuple(names)


def fit_classes(
    labels: Labels, names: Sequence[str], wanted: Sequence[str], where: str
) -> tuple[Labels, tuple[str, ...]]:
    """The same labels as numbers of the classes `wanted`, in its order, whether or not all occur.

    Raises:
        UserError: an image's class is not among them.
    """
    number = {name: place for place, name in enumerate(wanted)}
    counts = np.bincount(labels, minlength=len(names))
    missing = [name for name, count in zip(names, counts, strict=True) if count]
    missing = [name for name in missing if name not in number]
    if missing:
        lost = sum(int(counts[x]) for x, name in enumerate(names) if name in missing)
        raise UserError(
            f"data.classes: {where} has {lost} image{'s' * (lost != 1)} of {shown(missing)}, which "
            f"the list ({shown(wanted)}) lacks; add the class, or take its images away"
        )
    renumbered = np.array([number.get(name, 0) for name in names], dtype=np.int64)
    return renumbered[labels], tuple(wanted)


def keep_present(labels: Labels, names: Sequence[str]) -> tuple[Labels, tuple[str, ...]]:
    """Only the classes that have an image, numbered anew in the same order."""
    present, renumbered = np.unique(labels, return_inverse=True)
    return renumbered.astype(np.int64), tuple(names[x] for x in present.tolist())


def first_in_turn(labels: Labels | None, count: int, limit: int) -> NDArray[np.int64]:
    """Which `limit` of `count` images a limit keeps, in their order.

    The first ones; where images lie sorted by class, or where the first would leave a class out,
    the first of each class in turn.
    """
    first = np.arange(limit)
    if labels is None:
        return first
    kept = len(np.unique(labels[:limit]))
    is_sorted = bool((np.diff(labels) >= 0).all()) and labels[0] != labels[-1]
    if not is_sorted and kept == len(np.unique(labels)):
        return first
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order], side="left")
    turn = np.empty(count, dtype=np.int64)  # 0 for the first image of a class, 1 for its second...
    turn[order] = np.arange(count) - starts
    return np.sort(np.lexsort((labels, turn))[:limit])


def find_class(given: int | str, names: Sequence[str], classes: int) -> int | None:
    """The number of the class that a user calls `given`; None where there is none.

    A class goes by its name. Where no class's name is a number, a number is a class's place.
    """
    if str(given) in names:
        return list(names).index(str(given))
    numeric = any(_NUMERIC.fullmatch(name) for name in names)
    if isinstance(given, int) and 0 <= given < classes and not numeric:
        return given
    return None


def clean_name(name: str) -> str:
    """A class's name as all machines write it: composed letters, and text that can be printed.

    One system writes an accented letter as one sign and another as two: to a user it is one name.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in unicodedata.normalize("NFC", text))


def by_number_then_text(name: str) -> tuple[int, int, str]:
    """The order of names: numbers by number, then the rest by code point."""
    return (0, int(name), name) if _NUMERIC.fullmatch(name) else (1, 0, name)


def shown(names: Sequence[str]) -> str:
    """Names for a message: the first few, and how many more there are."""
    listed = ", ".join(reprlib.repr(name) for name in names[:_SHOWN]) or "nothing"
    return listed + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _one_each(found: Found, values: NDArray[Any]) -> NDArray[Any]:
    if values.shape != (found.count,):
        raise UserError(
            f"{found.labels_where} has shape {values.shape} for {found.count} images; save one "
            f"label an image, shape ({found.count},)"
        )
    return values


def _whole(found: Found) -> Labels:
    """The labels as whole numbers from 0 to 2^63 - 1."""
    try:
        values = np.asarray(found.labels)
    except (ValueError, OverflowError):  # lists of several lengths
        raise UserError(
            f"{found.labels_where} holds lists; save one whole number an image"
        ) from None
    values = _one_each(found, values)
    if values.dtype.kind == "f":
        odd = ~(np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2.0**63))
        _refuse_first(found, values, odd)
    elif values.dtype.kind == "O":
        wrong = [not isinstance(x, int) or not -1 < x <= _LARGEST for x in values.tolist()]
        _refuse_first(found, values, np.array(wrong, dtype=np.bool_))
    elif values.dtype.kind not in "biu":
        _refuse_first(found, values, np.ones(len(values), dtype=np.bool_))
    _refuse_first(found, values, values < 0)
    _refuse_first(found, values, values > _LARGEST)
    return values.astype(np.int64)


def _refuse_first(found: Found, values: NDArray[Any], wrong: NDArray[np.bool_]) -> None:
    if wrong.any():
        place = int(np.argmax(wrong))
        value = values[place].tolist() if isinstance(values[place], np.generic) else values[place]
        raise UserError(
            f"{found.labels_where} must be classes, counted from 0 or by any other whole numbers, "
            f"and image {place} (from 0) has {reprlib.repr(value)}; save integers, none below 0"
        )


def _twice(names: Sequence[str]) -> str:
    return repr(next(name for place, name in enumerate(names) if name in names[:place]))

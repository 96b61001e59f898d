"""Checks of what stands under ``graph:`` and ``weights:``; every error names the key at fault."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from topology.errors import UserError
from topology.names import plain, suggestion


def whole(where: str, value: object, least: int | None = None) -> int:
    """A whole number, at least ``least``; ``where`` is the key to blame.

    Raises:
        UserError: where value is anything else, a bool or a float included.
    """
    at_least = "" if least is None else f", at least {least}"
    wrong = UserError(f"{where}: must be a whole number{at_least}, not {reprlib.repr(value)}")
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise wrong
    if least is not None and value < least:
        raise wrong
    return int(value)


def number(where: str, value: object) -> float:
    """A number, or a string that holds one: YAML reads 1e-3, without a dot, as a string.

    Raises:
        UserError: where value is not a number.
    """
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise UserError(f"{where}: must be a number, not {reprlib.repr(value)}")
    return float(value)


def known_name(
    where: str, name: object, known: Iterable[str], one: str, many: str, otherwise: str = ""
) -> str:
    """The name as the table ``known`` spells it.

    Args:
        where: the key to blame.
        name: what the user wrote.
        known: the names that there are, plain ones.
        one: what they are names of, such as "family".
        many: the same in the plural.
        otherwise: what else the user may do, behind the list of names.

    Raises:
        UserError: where it is no string, or not among them.
    """
    names = sorted(known)
    if not isinstance(name, str):
        raise UserError(f"{where}: must be a name, not {reprlib.repr(name)}")
    if plain(name) not in names:
        raise UserError(
            f"{where}: there is no {one} {reprlib.repr(name)}{suggestion(name, names)} "
            f"({many}: {', '.join(names)}{otherwise})"
        )
    return plain(name)


def kind_and_settings(
    part: str, spec: object, kinds: Iterable[str], of: str
) -> tuple[str, dict[str, Any]]:
    """Which of ``kinds`` a mapping is, and all that is in it.

    Args:
        part: the key to blame.
        spec: what the user wrote.
        kinds: keys, exactly one of which must be there.
        of: what might stand in place of the mapping, such as "a family's name".

    Raises:
        UserError: where it is no mapping, or not of exactly one kind.
    """
    kinds = list(kinds)
    if not isinstance(spec, Mapping):
        raise UserError(
            f"{part}: must be {of} or a mapping with one of {', '.join(kinds)}, "
            f"not {reprlib.repr(spec)}"
        )
    settings = {str(key): value for key, value in spec.items()}
    return one_kind(part, settings, kinds), settings


def like_default(where: str, value: object, default: object) -> Any:
    """A setting of a function, of the kind that its default shows.

    Text such as 1e-3 becomes a number where the default is one; true and false do not.

    Raises:
        UserError: where value is of another kind.
    """
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise UserError(f"{where}: must be true or false, not {reprlib.repr(value)}")
    elif isinstance(default, int | float):
        found = number(where, value)
        if not math.isfinite(found):
            raise UserError(f"{where}: must be a finite number, not {reprlib.repr(value)}")
        if isinstance(value, str):
            return int(value) if value.strip().lstrip("+-").isdecimal() else found
    elif isinstance(default, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(default):
            raise UserError(f"{where}: must be {len(default)} values, not {reprlib.repr(value)}")
        pairs = zip(value, default, strict=True)
        return [like_default(f"{where}[{i}]", x, of) for i, (x, of) in enumerate(pairs)]
    return value


def refuse_unknown(part: str, settings: Iterable[str], known: Iterable[str], of: str) -> None:
    """Refuse the first of ``settings`` that is not known, such as ``graph.k ... of ring``.

    Raises:
        UserError: naming ``part.setting``, and what may have been meant.
    """
    for key in settings:
        if key not in known:
            there = f"; there is {', '.join(known)}" if known else ""
            raise UserError(
                f"{part}.{key}: there is no such setting {of}{suggestion(key, known) or there}"
            )


def one_kind(part: str, settings: Iterable[str], kinds: Iterable[str]) -> str:
    """Which of the kinds is among the settings of ``part``.

    Raises:
        UserError: where none is, or more than one.
    """
    settings, kinds = list(settings), list(kinds)
    given = [kind for kind in kinds if kind in settings]
    if len(given) != 1:
        near = next(filter(None, (suggestion(key, kinds) for key in settings)), "")
        found = " and ".join(given) or ", ".join(settings) or "nothing"
        raise UserError(
            f"{part}: needs exactly one of {', '.join(kinds)}, found {found}{'' if given else near}"
        )
    return given[0]

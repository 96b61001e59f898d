"""Names that people type: how they are forgiven, and what is suggested when they are wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def plain(name: str) -> str:
    """The name as tables hold it: lower case, words joined by single hyphens.

    >>> plain("Erdos_Renyi")
    'erdos-renyi'
    """
    return "-".join(name.lower().replace("_", " ").replace("-", " ").split())


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error's sentence: "; did you mean 'ring'?", or nothing where none is near."""
    near = difflib.get_close_matches(plain(name), sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def first_line(problem: object) -> str:
    """What an error of somebody else's says, in one line; its type where it says nothing.

    >>> first_line(ValueError())
    'ValueError'
    """
    words = " ".join(str(problem).split())
    return words[:200].rstrip(" .") or type(problem).__name__

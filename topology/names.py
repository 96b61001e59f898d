"""Names that people type: how they are forgiven, and what is suggested when they are wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILAR = 0.6
"""How much of two names must agree (0 to 1, :mod:`difflib`'s ratio) for one to be suggested."""


def plain(name: str) -> str:
    """The name in lower case, its words joined by single hyphens: as topology's tables hold it.

    >>> plain("Erdos_Renyi")
    'erdos-renyi'
    """
    return "-".join(name.lower().replace("_", " ").replace("-", " ").split())


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error's sentence: "; did you mean 'ring'?", or "" where no name is similar.

    Case, underscores and hyphens do not count.
    """
    spelt = {plain(each): each for each in sorted(known)}
    near = difflib.get_close_matches(plain(name), spelt, n=1, cutoff=SIMILAR)
    return f"; did you mean {spelt[near[0]]!r}?" if near else ""


def first_line(problem: object) -> str:
    """What an error of somebody else's says, in one line; its type where it says nothing.

    >>> first_line(ValueError())
    'ValueError'
    """
    words = " ".join(str(problem).split())
    return words[:200].rstrip(" .") or type(problem).__name__

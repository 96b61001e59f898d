"""What may stand in a header's fields: a check for each kind.

Each returns the value, or raises :class:`~peer.net.header.seal.WireError` for whatever is not
exactly right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peer.effects import Moment
from peer.net.header.seal import HEADER_LIMIT, WireError

U64 = 2**64 - 1
U32 = 2**32 - 1


def integer(low: int, high: int) -> Callable[[Any], Any]:
    """A number from ``low`` to ``high``."""

    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise WireError("a number out of its range")
        return value

    return check


def short_word(longest: int) -> Callable[[Any], Any]:
    """Of so many printable characters at most: words end up in log lines."""

    def check(value: Any) -> str:
        if type(value) is not str or len(value) > longest or not value.isprintable():
            raise WireError("not a short word")
        return value

    return check


def words(value: Any) -> list[str]:
    """A short list of short words."""
    if type(value) is not list or len(value) > 32:
        raise WireError("not a short list of words")
    return [short_word(64)(word) for word in value]


def table(value: Any) -> dict[str, str]:
    """A short table of short words."""
    if type(value) is not dict or len(value) > 32:
        raise WireError("not a short table of words")
    return {short_word(64)(key): short_word(64)(word) for key, word in value.items()}


def description(value: Any) -> dict[str, Any]:
    """Numbers, text and short lists of numbers; what they mean, the session looks at."""
    if type(value) is not dict or len(value) > 8:
        raise WireError("not a description of data")
    for key, each in value.items():
        short_word(16)(key)
        if type(each) is str:
            short_word(HEADER_LIMIT)(each)
        elif type(each) is list and len(each) <= 3:
            for number in each:
                integer(0, U32)(number)
        else:
            integer(-(2**31), U32)(each)
    return value


_place = integer(-1, U32)  # made once: each message has several numbers
number = integer(0, U64)


def moment(value: Any) -> Moment:
    """A round and an exchange."""
    if type(value) is not list or len(value) != 2:
        raise WireError("not a moment")
    return Moment(_place(value[0]), _place(value[1]))


def ids(value: Any) -> list[int]:
    """A short list of peers."""
    if type(value) is not list or len(value) > 256:
        raise WireError("not a short list of ids")
    return [integer(0, U32)(each) for each in value]


def one_of(words: tuple[str, ...], what: str) -> Callable[[Any], Any]:
    """One of these words; ``what`` they are."""

    def check(value: Any) -> str:
        if type(value) is not str or value not in words:
            raise WireError(f"not a {what}")
        return value

    return check

"""What is said to the user: an error that the user can put right, and a note that nothing stops."""

from __future__ import annotations

import warnings


class UserError(Exception):
    """A mistake of the user's, in one line: what is wrong, where, and what would be right.

    The commands print it without a traceback and exit with code 2. Everything below a command
    raises it rather than printing or exiting.
    """


class Isolation(UserError):
    """A peer reached none of its neighbours: exit code 3, since training alone is no success."""


class InputNote(UserWarning):
    """Something in the user's files that was left out or read in one way of several, in one line.

    The commands print each once, to standard error; to a program that imports hearsay it is a
    warning like any other, which ``warnings`` can silence, count or turn into an error.
    """


def note(line: str) -> None:
    """Say ``line``, in the form ``key.path: what was found; what would be right``."""
    warnings.warn(line, InputNote, stacklevel=3)

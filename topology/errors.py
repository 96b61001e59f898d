"""The one exception that means: the user can put this right."""


class UserError(Exception):
    """A mistake of the user's, in one line: what is wrong, where, and what would be right.

    The commands print it without a traceback and exit with code 2. Everything below a command
    raises it rather than printing or exiting.
    """


class Isolation(UserError):
    """A peer reached none of its neighbours: exit code 3, since training alone is no success."""

"""The one exception that means: the user can put this right."""


class UserError(Exception):
    """Something that the user got wrong, said in one line: what, where, and what would be right.

    The commands print it without a traceback and leave with exit code 2. Everything below a
    command raises it rather than printing or exiting.
    """

"""A server's place on a link: which process may speak for it, and that it is never left empty.

Where a server has backups, its place is a seat that an election fills
(:mod:`peer.standby.election`). Pure, as the link whose part it is.
"""

from __future__ import annotations


class Seat:
    """What a worker's link knows of the seat at its other end.

    Attributes:
        moves: another process may take it: who sits there is waited for, however long it is silent.
        session: of the one process that is heard; None: whoever greets us as that neighbour.
    """

    def __init__(self) -> None:
        self.moves = False
        self.session: int | None = None

    def empty(self) -> None:
        """From now on nobody is heard, until it is known who was elected."""
        self.moves = True
        self.session = 0

    def hears(self, session: int) -> bool:
        """Whether a message of that session counts; one of another term's server does not."""
        return self.session in (None, session)

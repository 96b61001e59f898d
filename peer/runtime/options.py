"""How a peer's process is to run, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Options:
    """How one process is to run, beside what the experiment says.

    Attributes:
        keys: the folder of secret keys.
        resume: there must be a checkpoint to go on from; otherwise there may be.
        resume_at: its round, where it is not to be the newest.
        resume_anyway: from another experiment's, too, if the state fits.
        agrees_on_classes: peers with images of their own agree on their classes before they begin;
            otherwise the program has no use for them.
        join: ask to take part, where the others have begun.
        links: neighbours beyond those that the file names.
        address: of a peer that the file does not list.
        host: whose address and keys these are, where a backup is the server; the peer's if None.
        acknowledge: is given each round and its state, in a checkpoint's bytes, and returns when
            the next may begin.
        tells_pictures: what the generator draws is told to all peers, too.
    """

    keys: Path | None = None
    resume: bool = False
    resume_at: int | None = None
    resume_anyway: bool = False
    agrees_on_classes: bool = True
    join: bool = False
    links: tuple[int, ...] = ()
    address: str | None = None
    host: int | None = None
    acknowledge: Callable[[int, bytes], None] | None = None
    tells_pictures: bool = False


@dataclass(frozen=True)
class Ending:
    """How a peer's run ended.

    Attributes:
        completed: it got to the last round.
        round: rounds completed.
        saved: the round of the newest state on the disk; None where there is none.
        problem: why what it ends with is not on the disk; empty where it is.
        has_left: it was told to leave.
    """

    completed: bool
    round: int
    saved: int | None
    problem: str = ""
    has_left: bool = False

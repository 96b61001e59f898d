"""Who takes part in an election, and its times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Electorate:
    """Who takes part.

    Attributes:
        hosts: ids of those that can be the server: the one that the experiment names, its backups.
        workers: ids of the workers.
    """

    hosts: tuple[int, ...]
    workers: tuple[int, ...]

    @property
    def voters(self) -> tuple[int, ...]:
        """Workers and backups."""
        return (*self.workers, *self.hosts[1:])

    @property
    def majority(self) -> int:
        """Of all voters, whether they are there or not."""
        return len(self.voters) // 2 + 1


@dataclass(frozen=True)
class Timing:
    """The election's times, in seconds.

    Attributes:
        beat: between two signs of life of the server.
        silence: without one, after which a host may stand for election.
        spread: and a random time up to that on top, so that they do not all stand at once.
        first: the same for backups before any term, in which the server that the file names begins.
        retry: after which a question is asked again.
        campaign: after which a candidate gives up.
        away: after which a host that says nothing is not waited for, and a server that hears no
            majority resigns.
    """

    beat: float = 0.5
    silence: float = 3.0
    spread: float = 2.0
    first: float = 30.0
    retry: float = 0.5
    campaign: float = 2.0
    away: float = 10.0

"""What happens to a network, as data that can be written to a file and run again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sim.torture.network import Rates
from topology.errors import UserError

KINDS = ("partition", "clog", "cut", "freeze", "crash")
"""What a fault may be: a direction in which all is lost; one in which nothing moves, and all comes
later; a connection that breaks; a process that stands still; one that crashes and is started anew.
"""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at a time, for some seconds.

    Attributes:
        kind: one of :data:`KINDS`.
        at: when it begins, in seconds.
        seconds: how long it lasts.
        peer: whom it hits; of a direction, who sends.
        to: of a direction or a connection, who receives; -1 otherwise.
    """

    kind: str
    at: float
    seconds: float
    peer: int
    to: int = -1


@dataclass(frozen=True)
class Scenario:
    """One seed's network, and what happens to it.

    Attributes:
        seed: of everything that is drawn while it runs.
        peers: how many there are.
        graph: a family of :mod:`topology.families`.
        rounds: of the program.
        program: its name.
        deadline: the experiment's.
        catch_up: the experiment's.
        durability: the experiment's.
        checkpoint: rounds between two checkpoints.
        heals_at: when everything that goes wrong is over.
        jitter: seconds within which a compute thread goes on that may, at most.
        compute: seconds of a round's local step, by peer.
        rates: of what happens to messages.
        faults: one by one.
    """

    seed: int
    peers: int
    graph: str = "ring"
    rounds: int = 24
    program: str = "consensus"
    deadline: float = 4.0
    catch_up: int = 400
    durability: str = "interval"
    checkpoint: int = 3
    heals_at: float = 30.0
    jitter: float = 0.0
    compute: tuple[float, ...] = ()
    rates: Rates = field(default_factory=Rates)
    faults: tuple[Fault, ...] = ()

    @property
    def crashes(self) -> bool:
        """Whether a process crashes."""
        return any(fault.kind == "crash" for fault in self.faults)

    def write(self, path: Path) -> None:
        """Write it for :meth:`read`."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Scenario:
        """What :meth:`write` wrote.

        Raises:
            UserError: it is not there, or is anything else.
        """
        try:
            words: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            faults = tuple(Fault(**each) for each in words.pop("faults"))
            rates, compute = Rates(**words.pop("rates")), tuple(words.pop("compute"))
            return cls(**words, compute=compute, rates=rates, faults=faults)
        except OSError as problem:
            raise UserError(f"{path}: cannot be read: {problem.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise UserError(f"{path}: no scenario of the torture chamber: {problem}") from None

"""What happens to a network, as data that can be written to a file and run again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from topology.errors import UserError

KINDS = (
    "partition",
    "clog",
    "cut",
    "freeze",
    "crash",
    "power",
    "full",
    "failing",
    "leap",
)
"""What a fault may be: a direction in which all is lost; one in which nothing moves, and all comes
later; a connection that breaks; a process that stands still; one that is killed and started anew;
the same by a power cut, by which its disk forgets what was not synced; a disk that is full; one
that fails half of what it is asked for; a clock that leaps ahead by so many seconds.
"""

SAID = ("offer", "chunk", "vote", "commit")
"""Messages at which a process may be killed."""

POINTS = (
    *(f"{when} {said}" for when in ("sending", "sent", "got") for said in SAID),
    "combine begins",
    "combined",
    "held apart",
    "resolved",
    "saving",
    "saved",
)
"""Where a process may be killed: just before a message leaves, just after, or as one has come; by a
place in what the compute thread does; ``saving``: before any one operation of the disk.
"""


@dataclass(frozen=True)
class Rates:
    """How often what happens to a message, as a share of all; ``late`` is delayed, so reordered."""

    loss: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    flip: float = 0.0  # one bit, of the header or of the body


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at a time, for some seconds.

    Attributes:
        kind: one of :data:`KINDS`.
        at: when it begins, in seconds.
        seconds: how long it lasts.
        peer: whom it hits; of a direction, who sends.
        to: of a direction or a connection, who receives; -1 otherwise.
        point: of a crash or power cut, where it strikes, the first time after ``at`` that the
            process comes there (one of :data:`POINTS`); empty: at once.
    """

    kind: str
    at: float
    seconds: float
    peer: int
    to: int = -1
    point: str = ""

    @property
    def ends_process(self) -> bool:
        """Whether a process is started anew after it."""
        return self.kind in ("crash", "power")


@dataclass(frozen=True)
class Scenario:
    """One seed's network, and what happens to it.

    Attributes:
        seed: of everything that is drawn while it runs.
        peers: how many there are.
        graph: a family of :mod:`topology.families`.
        rounds: of the program.
        program: its name, or ``module:coroutine``.
        file: an experiment file whose peers, graph, nets and algorithm are used; empty: none.
        deadline: the experiment's.
        catch_up: the experiment's.
        durability: the experiment's.
        compression: the experiment's.
        exchanges: combines in a round.
        letters: that every peer sends to its neighbours of higher ids in a round.
        floats: of the net.
        checkpoint: rounds between two checkpoints.
        heals_at: when everything that goes wrong is over.
        jitter: seconds within which a compute thread goes on that may, at most.
        compute: seconds of a round's local step, by peer.
        clocks: how quickly each peer's clock goes; empty: all go right.
        rates: of what happens to messages.
        faults: one by one.
        is_silent: nobody is told that a connection of its own broke, and is there again.
    """

    seed: int
    peers: int
    graph: str = "ring"
    rounds: int = 24
    program: str = "consensus"
    file: str = ""
    deadline: float = 4.0
    catch_up: int = 400
    durability: str = "interval"
    compression: str = "none"
    exchanges: int = 1
    letters: int = 0
    floats: int = 32
    checkpoint: int = 3
    heals_at: float = 30.0
    jitter: float = 0.0
    compute: tuple[float, ...] = ()
    clocks: tuple[float, ...] = ()
    rates: Rates = field(default_factory=Rates)
    faults: tuple[Fault, ...] = ()
    is_silent: bool = False

    @property
    def crashes(self) -> bool:
        """Whether a process crashes."""
        return any(fault.ends_process for fault in self.faults)

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
            words["faults"] = tuple(Fault(**each) for each in words["faults"])
            words["rates"] = Rates(**words["rates"])
            words |= {key: tuple(words.get(key, ())) for key in ("compute", "clocks")}
            return cls(**words)
        except OSError as problem:
            raise UserError(f"{path}: cannot be read: {problem.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise UserError(f"{path}: no scenario of the torture chamber: {problem}") from None

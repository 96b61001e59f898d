"""A simulation's checkpoints: all its peers after the same round, and what time it is for each.

Between two rounds that all peers wait for nothing is under way, so a simulation that goes on from
there does what it would have done: with the same bits, at the same virtual times. There is one case
in which waiting itself changes virtual times: where values of several senders go through the same
channel, in the order in which peers come to send. So there it goes on from checkpoints that were
planned, and a run without a stop makes the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from peer.experiment import Experiment
from peer.experiment.traits import differences, traits
from peer.state import PeerState
from peer.state.checkpoint import (
    KEPT,
    load_state,
    newest_checkpoint,
    recalled,
    save_state,
    write_json,
)
from peer.state.json_lines import cut_back
from peer.state.recorder import Recorder, shard_digest
from sim.environment.network import NetworkModel
from sim.events.driver import EventDriver
from topology.errors import UserError

SHARED = (
    "values of several peers share a channel, and there a simulation can only be gone on with from "
    "checkpoints that were planned (--checkpoint)"
)

RECORDS = ("metrics*.jsonl", "network.jsonl", "quality*.jsonl")


class Interrupted(Exception):
    """A simulation was asked to stop, and has.

    Args:
        folder: the run's.
        round: after which it can be gone on with; None where it cannot.
        why: in that case.
    """

    def __init__(self, folder: Path, round: int | None, why: str = "") -> None:
        super().__init__(folder, round, why)
        self.folder = folder
        self.round = round
        self.why = why


@dataclass
class Stops:
    """When a simulation saves its peers, and whether it is to stop.

    Attributes:
        every: rounds between two checkpoints; 0 for none but that of a stop.
        asked: whether it is to stop.
    """

    every: int = 0
    asked: Callable[[], bool] = bool


@dataclass
class Start:
    """Where a simulation goes on.

    Attributes:
        round: completed by all peers; 0 where it begins.
        every: the checkpoints that it was planned to make.
        seconds: of this machine that it has taken.
        peers: virtual time, bytes, records and patience of every peer.
        network: when channels are busy.
    """

    round: int = 0
    every: int = 0
    seconds: float = 0.0
    peers: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self, driver: EventDriver, recorder: Recorder, everybody: int) -> None:
        """Let the simulation of some of the peers go on from here."""
        if not self.round:
            return
        driver.network.load(self.network)
        driver.exchanges.go_on_from(self.round, range(everybody))
        for k, peer in driver.peers.items():
            of = self.peers[k]
            peer.now, peer.is_gone = of["now"], of["gone"]
            peer.bytes_in, peer.bytes_out = of["bytes_in"], of["bytes_out"]
            driver.exchanges.go_on_from(peer.facade.round, [k])
            if driver.exchanges.impatience is not None and "patience" in of:
                driver.exchanges.impatience.load({k: of["patience"]})
            recorder.go_on_from(k, of)


class Checkpoints:
    """Saves the peers of one process of a simulation.

    Args:
        folder: the run's.
        experiment: what is simulated.
        recorder: has added up what happened to each peer.
        driver: has the peers.
        engine: the name of the engine that computes.
        stops: when to save them.
        seconds: that the run has taken so far, when asked.
        rank: which of the run's processes this is.
    """

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        recorder: Recorder,
        driver: EventDriver,
        engine: str,
        stops: Stops,
        seconds: Callable[[], float],
        rank: int = 0,
    ) -> None:
        self.folder = folder
        self.experiment = experiment
        self.recorder = recorder
        self.driver = driver
        self.engine = engine
        self.stops = stops
        self.seconds = seconds
        self.rank = rank
        for k, peer in driver.peers.items():
            peer.state.recall = partial(recalled, folder / f"peer-{k}")

    def run(self, start: Start, rounds: int) -> None:
        """Carry the simulation out, with its checkpoints.

        Raises:
            Interrupted: it was asked to stop, and has.
        """
        driver, any_process = self.driver, self.driver.synchroniser.any_process
        driver.pauses.is_asked = self._is_to_pause

        def after(round: int) -> int | None:
            following = (round // self.stops.every + 1) * self.stops.every
            return following if following < rounds else None

        def paused(round: int) -> int | None:
            problem = ""
            try:
                self._save(round)
            except OSError as caught:
                problem = caught.strerror or str(caught)
                print(f"round {round} cannot be saved ({problem}); the simulation goes on")
            if any_process(self.stops.asked()):
                if any_process(bool(problem)):
                    raise Interrupted(self.folder, None, f"it could not be saved ({problem})")
                raise Interrupted(self.folder, round)
            return after(round) if self.stops.every else None

        driver.pauses.after = after(start.round) if self.stops.every else None
        driver.run(paused)

    def _is_to_pause(self) -> bool:
        """Whether to stop before the next checkpoint that was planned."""
        if not self.driver.network.is_shared:
            return self.stops.asked()
        if self.stops.asked() and not self.stops.every:
            raise Interrupted(self.folder, None, SHARED)
        return False  # a pause that was not planned would change virtual times

    def _save(self, round: int) -> None:
        """All peers of this process, and last what says that they are all there."""
        for k, peer in self.driver.peers.items():
            totals = self.recorder.totals(k) | {
                "now": peer.now,
                "bytes_in": peer.bytes_in,
                "bytes_out": peer.bytes_out,
                "gone": peer.is_gone,
            }
            if self.driver.exchanges.impatience is not None:
                totals["patience"] = self.driver.exchanges.impatience.dump(k)
            of = _traits(self.experiment, peer.state)
            save_state(peer.state, self.folder / f"peer-{k}", of, totals, durable=False)
        mine = {
            "round": round,
            "every": self.stops.every,
            "seconds": self.seconds(),
            "engine": self.engine,
            # who is away for ever has stayed behind
            "peers": {str(k): peer.facade.round for k, peer in self.driver.peers.items()},
            "network": self.driver.network.dump(),
        }
        write_json(self.folder / f"simulation-{round:08d}-{self.rank}.json", mine)
        files = sorted(self.folder.glob(f"simulation-*-{self.rank}.json"), reverse=True)
        for old in files[KEPT:]:
            old.unlink(missing_ok=True)


def sound_rounds(
    folder: Path, everybody: int, own: Collection[int], notify: Callable[[str], None]
) -> list[int]:
    """The rounds, newest first, that all peers have saved and ``own`` ones have soundly."""
    found = []
    for round, mine in sorted(_read(folder).items(), reverse=True):
        at = {int(k): int(r) for of in mine for k, r in of["peers"].items()}
        if at.keys() >= set(range(everybody)) and all(
            newest_checkpoint(folder / f"peer-{k}", at[k], notify) for k in own
        ):
            found.append(round)
    return found


def check_same_run(
    folder: Path, experiment: Experiment, round: int, engine: str, every: int
) -> None:
    """Refuse what :func:`go_on` would refuse, but for other images, without making any peer.

    Raises:
        UserError: it was another experiment, or would not go on as it would have without the stop.
    """
    mine = _read(folder)[round]
    was, planned = mine[0]["engine"], int(mine[0]["every"])
    if was != engine:
        raise UserError(f"--resume: the run's engine was '{was}'; say --engine {was}")
    if every not in (0, planned) and NetworkModel(experiment).is_shared:
        raise UserError(
            f"--checkpoint {every}: the run pauses every {planned} rounds, and where values "
            "share a channel, other pauses would change its times"
        )
    k, at = next(iter(mine[0]["peers"].items()))
    found = newest_checkpoint(folder / f"peer-{k}", int(at))
    assert found is not None, f"peer {k} was there a moment ago"
    different = differences(found.traits, traits(experiment, found.traits["images"]))
    if different:
        raise UserError(f"--resume: {folder} is of another experiment: {'; '.join(different)}")


def go_on(
    folder: Path,
    experiment: Experiment,
    states: Mapping[int, PeerState],
    round: int,
    engine: str,
    every: int,
) -> Start:
    """Put ``states`` where the simulation in ``folder`` had them after ``round``.

    Args:
        folder: the run's.
        experiment: the same that was simulated.
        states: some of the peers, just made.
        round: one of :func:`sound_rounds`.
        engine: that is to compute.
        every: rounds between two checkpoints from now on; 0 for as many as before.

    Raises:
        UserError: it was another experiment, or would not go on as it would have without the stop.
    """
    check_same_run(folder, experiment, round, engine, every)
    mine = _read(folder)[round]
    start = Start(round, int(mine[0]["every"]), max(of["seconds"] for of in mine))
    for of in mine:
        start.network = {**start.network, **of["network"]}
    at = {int(k): int(r) for of in mine for k, r in of["peers"].items()}
    peers: dict[int, Mapping[str, Any]] = {}
    for k, state in states.items():
        found = load_state(state, folder / f"peer-{k}", _traits(experiment, state), at=at[k])
        assert found is not None, f"peer {k} was there a moment ago"
        peers[k] = found.totals
    start.peers = peers
    return start


def nothing_to_go_on_from(folder: Path) -> str:
    """What to say where there is none."""
    return (
        f"--resume: in {folder} there is no round that all peers have saved; a simulation saves "
        "them when it is stopped (Ctrl-C), and with --checkpoint N every N rounds"
    )


def cut_records_back(folder: Path, round: int) -> None:
    """Forget what was recorded after ``round``."""
    for pattern in RECORDS:
        for path in folder.glob(pattern):
            cut_back(path, round)


def _read(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """What every process of the run said of its checkpoints, by round."""
    found: dict[int, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("simulation-*-*.json")):
        try:
            of = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(int(of["round"]), []).append(of)
        except (ValueError, KeyError, TypeError, OSError):
            continue  # not written to its end
    return found


def _traits(experiment: Experiment, state: PeerState) -> dict[str, Any]:
    return traits(experiment, shard_digest(state))
